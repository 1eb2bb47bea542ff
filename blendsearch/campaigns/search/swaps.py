"""A plan improved filter by filter: one that stays for one that goes, as long as the proxy says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from blendsearch.campaigns.search.finals import Candidate
from blendsearch.evolution.problem import SearchProblem
from blendsearch.experiment.contenders import Contender, enter_first_criterion
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.records.retraining import CRITERION, RIVAL, SWAPPED
from blendsearch.results.records.search import SwapsRecord, SwapsSummary
from blendsearch.structure import Plan

AT_ONCE = 6
"""Swaps that are judged side by side, whatever the number of workers; those that help are made, see `_helpful`."""

NEAR = 0.25
"""How soon to look farther: each filter farther from the border is that much less likely to be swapped."""


def swap_filters(
    experiment: Experiment, name: str, problem: SearchProblem, start: Candidate, scores: Mapping[str, Tensor]
) -> Candidate:
    """Return a candidate with the plan that `search.swaps` evaluations of single swaps lead to, and its proxy.

    scores: group -> [C], by which filters are near the border between those that stay and those that go; swaps begin
    there. Writes records/swaps-NAME.json, from which a stopped run's plan is read.
    Source: the swaps of OSSCAR (Meng et al., 2024), judged by the proxy in place of a layer's error.
    """
    count = experiment.space.search.swaps
    if count is None:
        return start
    record = experiment.folder.cached(
        _file(name), SwapsRecord, lambda: _climb(experiment, name, problem, start, scores, count)
    )
    return replace(start, plan=Plan.from_dict(record.plan), proxy=record.proxy)


def summarise_swaps(experiment: Experiment, name: str) -> SwapsSummary | None:
    """Return what the swaps of a plan came to; None where there were none."""
    folder = experiment.folder
    if experiment.space.search.swaps is None or not folder.has(_file(name)):
        return None
    return SwapsSummary(**folder.read_record(_file(name), SwapsRecord).model_dump(exclude={"plan"}))


def _file(name: str) -> str:
    return f"records/swaps-{name}.json"


def enter_swapped_choice(experiment: Experiment, seen: SearchProblem, judged: SearchProblem) -> Contender:
    """Return the rival without a blend: the criterion that the proxy puts first, after as many swaps."""
    name, chosen = enter_first_criterion(seen, list(seen.planner.scores), CRITERION)
    planner, scores = seen.planner, seen.planner.scores[name]
    plan = chosen.allocation.plan(planner.structure, scores, chosen.budget)
    start = Candidate(number=-1, genome={}, plan=plan, proxy=chosen.proxy)
    swapped = swap_filters(experiment, "criterion", seen, start, scores)
    value = judged.value(swapped.plan, SWAPPED)
    return replace(chosen, plan=swapped.plan, proxy=value, kind=RIVAL)


def _climb(
    experiment: Experiment,
    name: str,
    problem: SearchProblem,
    start: Candidate,
    scores: Mapping[str, Tensor],
    count: int,
) -> SwapsRecord:
    rng = np.random.default_rng(experiment.seed("swaps", name))
    plan, value, seen, made, evaluations = start.plan, start.proxy, {start.plan.digest}, 0, 0
    while evaluations < count:
        found = _neighbours(plan, scores, rng, seen, min(AT_ONCE, count - evaluations))
        if not found:
            break
        seen |= {one.digest for one in found}
        evaluations += len(found)
        helpful = _helpful(plan, value, found, problem.values(found))
        if helpful:
            (better, best), swaps = helpful[0], 1
            if len(helpful) > 1 and evaluations < count:
                together = _together(plan, [one for one, _ in helpful])
                seen.add(together.digest)
                evaluations += 1
                (joint,) = problem.values([together])
                if joint > best:
                    better, best, swaps = together, joint, len(helpful)
            plan, value, made = better, best, made + swaps
        experiment.progress("swaps", evaluations, count, f"{made} made, proxy {value:.4f}")
    return SwapsRecord(start=start.proxy, proxy=value, plan=plan.to_dict(), evaluations=evaluations, made=made)


def _helpful(plan: Plan, value: float, found: Sequence[Plan], values: Sequence[float]) -> list[tuple[Plan, float]]:
    """Return the plans, each one swap away, that are better than the plan, best first, with their values.

    Of each group's the best alone, so that all of them can be made together.
    """
    best: dict[str, tuple[Plan, float]] = {}
    for one, own in sorted(zip(found, values, strict=True), key=lambda pair: -pair[1]):
        if own > value:
            (group,) = _changed(plan, one)
            best.setdefault(group, (one, own))
    return list(best.values())


def _together(plan: Plan, swapped: Sequence[Plan]) -> Plan:
    """Return a plan with the swaps of several, each of which differs from it in a group of its own."""
    keep = dict(plan.keep)
    for one in swapped:
        keep |= _changed(plan, one)
    return Plan(keep, plan.widths)


def _changed(plan: Plan, other: Plan) -> dict[str, tuple[int, ...]]:
    """Return what another plan keeps of the groups in which it differs."""
    return {group: kept for group, kept in other.keep.items() if kept != plan.keep[group]}


def _neighbours(
    plan: Plan, scores: Mapping[str, Tensor], rng: np.random.Generator, seen: set[str], count: int
) -> list[Plan]:
    """Return up to `count` new plans, each with one swap; groups are drawn by how many filters they keep."""
    groups = [group for group, kept in plan.keep.items() if len(kept) < plan.widths[group]]
    if not groups:
        return []
    sizes = np.array([len(plan.keep[group]) for group in groups], dtype=float)
    found: dict[str, Plan] = {}
    for _ in range(50 * count):
        group = groups[rng.choice(len(groups), p=sizes / sizes.sum())]
        order = scores[group].argsort(stable=True).tolist()
        inside = [filter for filter in order if filter in plan.keep[group]]
        outside = [filter for filter in reversed(order) if filter not in plan.keep[group]]
        gone, come = _draw(inside, rng), _draw(outside, rng)
        kept = tuple(sorted({*plan.keep[group], come} - {gone}))
        swapped = Plan({**plan.keep, group: kept}, plan.widths)
        if swapped.digest not in seen:
            found[swapped.digest] = swapped
        if len(found) == count:
            break
    return list(found.values())


def _draw(ordered: list[int], rng: np.random.Generator) -> int:
    return ordered[min(int(rng.geometric(NEAR)) - 1, len(ordered) - 1)]
