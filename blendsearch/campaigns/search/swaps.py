"""A plan improved filter by filter: one that stays for one that goes, as long as the proxy says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from blendsearch.allocation.evolved import weights_of
from blendsearch.campaigns.search.finals import Candidate
from blendsearch.campaigns.search.reallocation import reallocate_filters
from blendsearch.campaigns.search.worths import Swap, Worths, revised
from blendsearch.evolution.fitness import Evaluation
from blendsearch.evolution.problem import SearchProblem
from blendsearch.experiment.contenders import Contender, enter_first_criterion
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.records.retraining import CRITERION, RIVAL, SWAPPED
from blendsearch.results.records.search import SwapsRecord, SwapsSummary
from blendsearch.structure import Plan

AT_ONCE = 6
"""Swaps that are judged side by side, whatever the number of workers; those that help are made, see `_helpful`."""
FORESEEN = 10
"""Evaluations after which a forecast is made anew, if the plan is another one by then."""


def improve_plan(
    experiment: Experiment, name: str, problem: SearchProblem, start: Candidate, scores: Mapping[str, Tensor]
) -> Candidate:
    """Return a candidate with its shares improved, and then its filters, as far as the space asks for it."""
    moved = reallocate_filters(experiment, name, problem, start)
    return swap_filters(experiment, name, problem, moved, scores)


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
        _file(name), SwapsRecord, lambda: _climb(experiment, problem, start, scores, count)
    )
    return replace(start, plan=Plan.from_dict(record.plan), proxy=record.proxy)


def summarise_swaps(experiment: Experiment, name: str) -> SwapsSummary | None:
    """Return what the swaps of a plan came to; None where there were none."""
    if experiment.space.search.swaps is None or not experiment.folder.has(_file(name)):
        return None
    return experiment.folder.read_record(_file(name), SwapsSummary)


def _file(name: str) -> str:
    return f"records/swaps-{name}.json"


def enter_swapped_choice(experiment: Experiment, seen: SearchProblem, judged: SearchProblem) -> Contender:
    """Return the rival without a blend: the criterion that the proxy puts first, its plan improved as much."""
    name, chosen = enter_first_criterion(seen, list(seen.planner.scores), CRITERION)
    planner, scores = seen.planner, seen.planner.scores[name]
    plan = chosen.allocation.plan(planner.structure, scores, chosen.budget)
    start = Candidate(number=-1, genome={}, plan=plan, proxy=chosen.proxy)
    swapped = improve_plan(experiment, "criterion", seen, start, scores)
    value = judged.value(swapped.plan, SWAPPED)
    if swapped.plan.counts != plan.counts:
        blend = replace(chosen.blend, keep=weights_of(swapped.plan.counts, planner.structure.widths))
        chosen = replace(chosen, allocation=planner.allocation_of(blend))
    return replace(chosen, plan=swapped.plan, proxy=value, kind=RIVAL)


def _climb(
    experiment: Experiment, problem: SearchProblem, start: Candidate, scores: Mapping[str, Tensor], count: int
) -> SwapsRecord:
    climb = _Climb(problem, start, Worths(scores))
    while climb.evaluations < count and climb.step(count - climb.evaluations):
        experiment.progress("swaps", climb.evaluations, count, f"{climb.made} made, proxy {climb.value:.4f}")
    # Among swaps that chance could have helped or harmed some are made for their forecast; all may come to nothing.
    better = climb.value > start.proxy
    return SwapsRecord(
        start=start.proxy,
        proxy=climb.value if better else start.proxy,
        plan=(climb.plan if better else start.plan).to_dict(),
        evaluations=climb.evaluations,
        made=climb.made if better else 0,
    )


class _Climb:
    """The plan so far, what it is worth, and what swaps have told."""

    def __init__(self, problem: SearchProblem, start: Candidate, worths: Worths) -> None:
        self.problem, self.worths = problem, worths
        self.plan, self.value, self.seen = start.plan, start.proxy, {start.plan.digest}
        self.made = self.evaluations = 0
        self.foreseen: tuple[str, int] | None = None

    def step(self, room: int) -> bool:
        """Judge a few swaps, and make those that help; return whether there were any. room: evaluations left."""
        swaps = self._proposed(min(AT_ONCE, room))
        if not swaps:
            return False
        tried = []
        for swap, one in zip(swaps, self._judge([swap.made(self.plan) for swap in swaps]), strict=True):
            if one.failure is None:
                change = one.value - self.value
                self.worths.learn(swap, change, one.error)
                tried.append((revised(swap, change, one.error), one))
        helpful = _helpful(tried)
        if helpful:
            swap, found, together = *helpful[0], 1
            if len(helpful) > 1 and len(swaps) < room:
                parts = [one for one, _ in helpful]
                (joint,) = self._judge([_made(parts, self.plan)])
                believed = revised(_joint(parts, swaps), joint.value - self.value, joint.error)
                if joint.failure is None and not joint.stopped and believed.mean > swap.mean:
                    found, together = joint, len(helpful)
            self.plan, self.value, self.made = found.plan, found.value, self.made + together
        return True

    def _proposed(self, count: int) -> list[Swap]:
        """Return the swaps to judge next, by a forecast for this plan or one of which little was seen yet."""
        before, at = self.foreseen or ("", -FORESEEN)
        moved = before != self.plan.digest
        swaps = []
        if not moved or self.evaluations - at < FORESEEN:
            swaps = self.worths.propose(self.plan, self.seen, count)
        if not swaps and moved:
            self.worths.forecast(self.problem.forecast(self.plan))
            self.foreseen = self.plan.digest, self.evaluations
            swaps = self.worths.propose(self.plan, self.seen, count)
        return swaps

    def _judge(self, plans: Sequence[Plan]) -> list[Evaluation]:
        self.seen |= {plan.digest for plan in plans}
        self.evaluations += len(plans)
        return self.problem.compare(plans, self.plan)


def _helpful(tried: Sequence[tuple[Swap, Evaluation]]) -> list[tuple[Swap, Evaluation]]:
    """Return the swaps that are believed to lead to more, with what they led to, best first.

    Of each group's the best alone, so that all of them can be made together.
    """
    best: dict[str, tuple[Swap, Evaluation]] = {}
    for swap, one in sorted(tried, key=lambda pair: -pair[0].mean):
        if swap.mean > 0 and not one.stopped:
            best.setdefault(swap.group, (swap, one))
    return list(best.values())


def _joint(parts: Sequence[Swap], swaps: Sequence[Swap]) -> Swap:
    """Return what is expected of several swaps made together: the sum, as uncertain as it was before they were seen."""
    chosen = {(one.group, one.gone, one.come) for one in parts}
    variance = sum(one.variance for one in swaps if (one.group, one.gone, one.come) in chosen)
    return replace(parts[0], mean=sum(one.mean for one in parts), variance=variance)


def _made(swaps: Sequence[Swap], plan: Plan) -> Plan:
    """Return a plan after several swaps, each in a group of its own."""
    for swap in swaps:
        plan = swap.made(plan)
    return plan
