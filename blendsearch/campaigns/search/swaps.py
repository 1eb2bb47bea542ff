"""A plan improved filter by filter: one that stays for one that goes, as long as the proxy says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from blendsearch.campaigns.search.finals import Candidate
from blendsearch.campaigns.search.worths import Swap, Worths
from blendsearch.evolution.failure import succeeded
from blendsearch.evolution.problem import SearchProblem
from blendsearch.experiment.contenders import Contender, enter_first_criterion
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.records.retraining import CRITERION, RIVAL, SWAPPED
from blendsearch.results.records.search import SwapsRecord, SwapsSummary
from blendsearch.structure import Plan

AT_ONCE = 6
"""Swaps that are judged side by side, whatever the number of workers; those that help are made, see `_helpful`."""


def swap_filters(
    experiment: Experiment, name: str, problem: SearchProblem, start: Candidate, scores: Mapping[str, Tensor]
) -> Candidate:
    """Return a candidate with the plan that `search.swaps` evaluations of single swaps lead to, and its proxy.

    scores: group -> [C], in whose order filters are taken to be worth something; what they are worth is learned from
    the swaps that were judged, see `Worths`. Writes records/swaps-NAME.json, from which a stopped run's plan is read.
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
    worths, problem = Worths(scores), problem.racing_from(start.plan)
    plan, value, seen, made, evaluations = start.plan, start.proxy, {start.plan.digest}, 0, 0
    while evaluations < count:
        swaps = worths.propose(plan, seen, min(AT_ONCE, count - evaluations))
        if not swaps:
            break
        found = [swap.made(plan) for swap in swaps]
        seen |= {one.digest for one in found}
        evaluations += len(found)
        values = problem.raced(found)
        for swap, own in zip(swaps, values, strict=True):
            if succeeded(own):
                worths.learn(swap, own - value)
        helpful = _helpful(value, swaps, values)
        if helpful:
            (first, best), together = helpful[0], 1
            better = first.made(plan)
            if len(helpful) > 1 and evaluations < count:
                every = _made([swap for swap, _ in helpful], plan)
                seen.add(every.digest)
                evaluations += 1
                (joint,) = problem.raced([every])
                if joint > best:
                    better, best, together = every, joint, len(helpful)
            plan, value, made = better, best, made + together
        experiment.progress("swaps", evaluations, count, f"{made} made, proxy {value:.4f}")
    return SwapsRecord(start=start.proxy, proxy=value, plan=plan.to_dict(), evaluations=evaluations, made=made)


def _helpful(value: float, swaps: Sequence[Swap], values: Sequence[float]) -> list[tuple[Swap, float]]:
    """Return the swaps that lead to more than the value, with what they lead to, best first.

    Of each group's the best alone, so that all of them can be made together.
    """
    best: dict[str, tuple[Swap, float]] = {}
    for swap, own in sorted(zip(swaps, values, strict=True), key=lambda pair: -pair[1]):
        if own > value:
            best.setdefault(swap.group, (swap, own))
    return list(best.values())


def _made(swaps: Sequence[Swap], plan: Plan) -> Plan:
    """Return a plan after several swaps, each in a group of its own."""
    for swap in swaps:
        plan = swap.made(plan)
    return plan
