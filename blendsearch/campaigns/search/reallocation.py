"""Shares improved filter by filter: some layers give up filters for those of others, as long as the proxy says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from blendsearch.allocation import Budget, Limits
from blendsearch.allocation.evolved import weights_of
from blendsearch.blending import Blend
from blendsearch.campaigns.search.finals import Candidate
from blendsearch.campaigns.search.worths import ERROR, SLOPE
from blendsearch.evolution.fitness import Evaluation, Planner
from blendsearch.evolution.problem import SearchProblem
from blendsearch.evolution.swap_forecast import Ends
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.records.search import ReallocationRecord, ReallocationSummary
from blendsearch.structure import Plan, Structure

SIZES = (0.03, 0.06, 0.12, 0.24)
"""Steps that are judged side by side at first: a group gives up or gains up to such a share of its filters, or one."""
FINEST, COARSEST = 0.0075, 0.48
BUDGET_MOVED = 2.0
"""So many times the size of a step is the share of the budget that it moves at most."""


def reallocate_filters(experiment: Experiment, name: str, problem: SearchProblem, start: Candidate) -> Candidate:
    """Return a candidate with the plan that `search.reallocation` evaluations of other shares lead to, and its proxy.

    Each step takes, under the same budget, the filters that cost least for what they use and brings those that promise
    most, as a forecast of all of them has it, see `SearchProblem.forecast_ends`; steps of several sizes are judged, and
    the best is made. Writes records/reallocation-NAME.json, from which a stopped run's plan is read.
    Source: the allocation by first-order terms per FLOP of Molchanov et al., 2017, anew after each step and both ways.
    """
    count = experiment.space.search.reallocation
    if count is None:
        return start
    record = experiment.folder.cached(
        _file(name), ReallocationRecord, lambda: _climb(experiment, problem, start, count)
    )
    return replace(start, plan=Plan.from_dict(record.plan), proxy=record.proxy)


def with_shares_of(plan: Plan, blend: Blend, planner: Planner) -> Blend:
    """Return a blend with the shares of a plan, where it has others of its own."""
    if not blend.keep or plan.counts == planner.plan(blend).counts:
        return blend
    return replace(blend, keep=weights_of(plan.counts, planner.structure.widths))


def summarise_reallocation(experiment: Experiment, name: str) -> ReallocationSummary | None:
    """Return what other shares of a plan came to; None where none were tried."""
    folder = experiment.folder
    if experiment.space.search.reallocation is None or not folder.has(_file(name)):
        return None
    return ReallocationSummary(**folder.read_record(_file(name), ReallocationRecord).model_dump(exclude={"plan"}))


def _file(name: str) -> str:
    return f"records/reallocation-{name}.json"


def _climb(experiment: Experiment, problem: SearchProblem, start: Candidate, count: int) -> ReallocationRecord:
    climb = _Climb(problem, start)
    while climb.evaluations < count and climb.step(count - climb.evaluations):
        told = f"{climb.made} steps made, proxy {climb.value:.4f}"
        experiment.progress("reallocation", climb.evaluations, count, told)
    return ReallocationRecord(
        start=start.proxy,
        proxy=climb.value,
        plan=climb.plan.to_dict(),
        evaluations=climb.evaluations,
        made=climb.made,
        moved=sum(max(0, kept - start.plan.counts[group]) for group, kept in climb.plan.counts.items()),
    )


class _Climb:
    """The plan so far, what it is worth, and how large a step to try next."""

    def __init__(self, problem: SearchProblem, start: Candidate) -> None:
        self.problem = problem
        self.plan, self.value, self.seen = start.plan, start.proxy, {start.plan.digest}
        self.sizes: Sequence[float] = SIZES
        self.made = self.evaluations = 0
        self.ends: Mapping[str, Ends] | None = None

    def step(self, room: int) -> bool:
        """Judge steps of a few sizes and make the best if it helps; return whether there is more to try.

        room: evaluations left.
        """
        if self.ends is None:
            self.ends = self.problem.forecast_ends(self.plan)
        tried = self._proposed(room)
        found = self._judge([plan for _, plan in tried])
        size, best = max(zip((size for size, _ in tried), found, strict=True), key=_worth, default=(0.0, None))
        # The best of a few is best by luck, too: it must be better by what chance has in it.
        if best is not None and _worth((size, best)) > self.value + (best.error or 0.0):
            self.plan, self.value, self.made, self.ends = best.plan, best.value, self.made + 1, None
            self.sizes = [one for one in (size / 2, size, size * 2) if FINEST <= one <= COARSEST]
        else:
            self.sizes = [one / 2 for one in self.sizes if one / 2 >= FINEST]
        return bool(self.sizes)

    def _proposed(self, room: int) -> list[tuple[float, Plan]]:
        """Return the sizes that lead to new plans, with these."""
        planner = self.problem.planner
        found: dict[float, Plan] = {}
        for size in self.sizes:
            plan = exchanged(planner.structure, planner.budget, self.plan, self.ends or {}, size)
            if plan.digest not in self.seen and plan.digest not in {other.digest for other in found.values()}:
                found[size] = plan
        return list(found.items())[:room]

    def _judge(self, plans: Sequence[Plan]) -> list[Evaluation]:
        self.seen |= {plan.digest for plan in plans}
        self.evaluations += len(plans)
        return self.problem.compare(plans, self.plan) if plans else []


def _worth(tried: tuple[float, Evaluation]) -> float:
    """Return the proxy of a plan that was judged in full, else less than any."""
    _, one = tried
    return -np.inf if one.failure is not None or one.stopped else one.value


@dataclass(frozen=True)
class _Step:
    """One step of a group to its next count up or down: which filters, what they are worth, what share they use.

    price: worth by use; those of a group never rise on the way up, nor fall on the way down.
    """

    group: str
    count: int
    filters: tuple[int, ...]
    worth: float
    use: float
    price: float


def exchanged(structure: Structure, budget: Budget, plan: Plan, ends: Mapping[str, Ends], size: float) -> Plan:
    """Return a plan within the budget with other shares: what promises most for its use in place of what does least.

    size: of its filters the share that a group gives up or gains at most, at least one step between counts that the
    budget allows; BUDGET_MOVED times that share of the budget is moved. A group does not both give and gain.
    """
    limits, cost = Limits.of(budget, structure), structure.cost
    gains = [step for group in ends for step in _steps(group, ends, limits, budget, structure, plan, size, up=True)]
    losses = [step for group in ends for step in _steps(group, ends, limits, budget, structure, plan, size, up=False)]
    gains.sort(key=lambda step: -step.price)
    waiting = iter(sorted(losses, key=lambda step: step.price))
    counts, keep = dict(plan.counts), {group: set(kept) for group, kept in plan.keep.items()}
    grown: set[str] = set()
    shrunk: set[str] = set()
    moved = 0.0
    for gain in gains:
        if gain.group in shrunk:
            continue
        given: list[_Step] = []
        trial = {**counts, gain.group: gain.count}
        while not budget.allows(trial, cost):
            loss = next((one for one in waiting if one.group not in grown | {gain.group}), None)
            if loss is None or loss.price >= gain.price:
                break
            given.append(loss)
            trial[loss.group] = loss.count
        moved += gain.use
        if gain.worth <= 0 or not budget.allows(trial, cost) or (grown and moved > BUDGET_MOVED * size):
            break  # what follows promises less
        counts = trial
        for loss in given:
            keep[loss.group] -= set(loss.filters)
        keep[gain.group] |= set(gain.filters)
        grown.add(gain.group)
        shrunk |= {loss.group for loss in given}
    return Plan({group: tuple(sorted(kept)) for group, kept in keep.items()}, plan.widths)


def _steps(
    group: str,
    ends: Mapping[str, Ends],
    limits: Limits,
    budget: Budget,
    structure: Structure,
    plan: Plan,
    size: float,
    *,
    up: bool,
) -> Iterator[_Step]:
    """Yield the steps of a group up or down, in the order in which its filters come or leave."""
    counts, one = plan.counts, ends[group]
    worths, filters = (one.gained, one.out) if up else (one.lost, one.stay)
    worth = worths @ (SLOPE, ERROR)
    order = np.argsort(-worth, kind="stable")
    first, price = counts[group], np.inf if up else -np.inf
    count, most = first, size * structure.widths[group]
    while (new := (limits.above if up else limits.below)(group, count)) is not None:
        if count != first and abs(new - first) > most:
            return
        taken = order[abs(count - first) : abs(new - first)]
        before, after = (budget.use({**counts, group: number}, structure.cost) for number in (count, new))
        value, use = float(worth[taken].sum()), abs(after - before)
        own = (value if up else -value) / max(use, 1e-12)
        price = min(price, own) if up else max(price, own)
        yield _Step(group, new, tuple(filters[taken].tolist()), value, use, price)
        count = new
