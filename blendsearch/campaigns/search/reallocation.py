"""Shares improved filter by filter: some layers give up filters for those of others, as long as the proxy says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, permutations, takewhile

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
COARSEST = 0.48
"""The size of a step at most."""
BUDGET_MOVED = 2.0
"""So many times the size of a step is the share of the budget that it moves at most."""
AT_ONCE = 6
"""Moves between two groups that are judged side by side, where no larger step helps."""
ROUNDS = 3
"""Rounds of such moves in a row without one that helps, after which it ends."""
MOST_GIVEN = 8
"""Steps down, at most, by which one group makes room for a step of another."""


def reallocate_filters(experiment: Experiment, name: str, problem: SearchProblem, start: Candidate) -> Candidate:
    """Return a candidate with the plan that `search.reallocation` evaluations of other shares lead to, and its proxy.

    Each step takes, under the same budget, the filters that cost least for what they use and brings those that promise
    most, as a forecast of all of them has it, see `SearchProblem.forecast_ends`; steps of several sizes are judged, and
    the best is made. Where none helps, small moves between two groups are, and those that help are made. A group of
    which all filters are in has no forecast, and gives none. Writes records/reallocation-NAME.json, from which a run
    that was stopped takes the plan.
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
    if experiment.space.search.reallocation is None or not experiment.folder.has(_file(name)):
        return None
    return experiment.folder.read_record(_file(name), ReallocationSummary)


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
    """The plan so far, what it is worth, and which sizes of steps to try next; none: moves between two groups are."""

    def __init__(self, problem: SearchProblem, start: Candidate) -> None:
        self.problem = problem
        self.exchanges = Exchanges(problem.planner.structure, problem.planner.budget)
        self.plan, self.value, self.seen = start.plan, start.proxy, {start.plan.digest}
        self.sizes: Sequence[float] = SIZES
        self.made = self.evaluations = self.failed = 0
        self.ends: Mapping[str, Ends] | None = None

    def step(self, room: int) -> bool:
        """Judge steps of a few sizes, or moves between two groups, and make what helps; return whether to go on.

        room: evaluations left.
        """
        if self.ends is None:
            self.ends = self.problem.forecast_ends(self.plan)
        if self.sizes:
            self._step_of_a_size(room)
            return True
        return self._small_moves(room)

    def _step_of_a_size(self, room: int) -> None:
        tried: dict[str, tuple[float, Plan]] = {}
        for size in self.sizes:
            plan = self.exchanges.of_a_size(self.plan, self.ends or {}, size)
            if plan.digest not in self.seen:
                tried.setdefault(plan.digest, (size, plan))
        helpful = self._helpful([plan for _, plan in tried.values()][:room])
        if helpful:
            size, _ = tried[helpful[0].plan.digest]
            self.sizes = [one for one in (size / 2, size, size * 2) if SIZES[0] / 2 <= one <= COARSEST]
            self._make(helpful[0])
        else:
            self.sizes = ()

    def _small_moves(self, room: int) -> bool:
        """Judge the most promising moves between two groups, each about the least that the budget allows."""
        plans = self._moves_of_two(min(AT_ONCE, room))
        if not plans:
            return False
        helpful = self._helpful(plans)
        if helpful:
            joint = self._joint([one.plan for one in helpful]) if len(helpful) > 1 and len(plans) < room else None
            self._make(max([*helpful, *(self._judge([joint]) if joint else [])], key=_worth))
            self.sizes, self.failed = SIZES[:-1], 0
        else:
            self.failed += 1
        return self.failed < ROUNDS

    def _moves_of_two(self, count: int) -> list[Plan]:
        """Return new plans in which one group gave to another, most promising first, those of groups apart ahead."""
        moves = [one for one in self.exchanges.of_two(self.plan, self.ends or {}) if one.worth > 0]
        moves.sort(key=lambda one: -one.worth)
        found: dict[str, Plan] = {}
        used: set[str] = set()
        for apart in (True, False):
            for one in moves:
                if len(found) == count:
                    break
                if apart and not used.isdisjoint(one.pair):
                    continue
                plan = one.made(self.plan)
                if plan.digest not in self.seen and plan.digest not in found:
                    found[plan.digest] = plan
                    used |= set(one.pair)
        return list(found.values())

    def _joint(self, plans: Sequence[Plan]) -> Plan | None:
        """Return the moves of plans together, of groups apart, what the budget allows; None for one alone."""
        within, keep, moved, count = self.exchanges, dict(self.plan.keep), set[str](), 0
        for plan in plans:
            own = {group: kept for group, kept in plan.keep.items() if kept != self.plan.keep[group]}
            counts = {group: len(kept) for group, kept in {**keep, **own}.items()}
            if not moved & set(own) and within.budget.allows(counts, within.cost):
                keep, moved, count = {**keep, **own}, moved | set(own), count + 1
        return Plan(keep, self.plan.widths) if count > 1 else None

    def _helpful(self, plans: Sequence[Plan]) -> list[Evaluation]:
        """Judge plans; return those that are better by more than what chance has in it, the best first."""
        found = sorted(self._judge(plans), key=_worth, reverse=True)
        return [one for one in found if _worth(one) > self.value + (one.error or 0.0)]

    def _judge(self, plans: Sequence[Plan]) -> list[Evaluation]:
        self.seen |= {plan.digest for plan in plans}
        self.evaluations += len(plans)
        return self.problem.compare(plans, self.plan) if plans else []

    def _make(self, one: Evaluation) -> None:
        self.plan, self.value, self.made, self.ends = one.plan, one.value, self.made + 1, None


def _worth(one: Evaluation) -> float:
    """Return the proxy of a plan that was judged in full, else less than any."""
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


@dataclass(frozen=True)
class Exchange:
    """Steps by which one group gives to another; pair: who gives and who takes."""

    pair: tuple[str, str]
    steps: Sequence[_Step]

    @property
    def worth(self) -> float:
        """What all its steps promise."""
        return sum(step.worth for step in self.steps)

    def made(self, plan: Plan) -> Plan:
        """Return the plan after it."""
        return _after(plan, self.steps)


class Exchanges:
    """Plans of other shares within one budget."""

    def __init__(self, structure: Structure, budget: Budget) -> None:
        self.budget, self.cost = budget, structure.cost
        self.limits = Limits.of(budget, structure)

    def of_a_size(self, plan: Plan, ends: Mapping[str, Ends], size: float) -> Plan:
        """Return the plan that has what promises most for its use in place of what does least.

        size: of its filters the share that a group gives up or gains at most, at least one step between counts that the
        budget allows; BUDGET_MOVED times that share of the budget is moved. A group does not both give and gain.
        """
        gains, losses = (
            [step for group in ends for step in self._steps(group, ends[group], plan, size, up=up)]
            for up in (True, False)
        )
        gains.sort(key=lambda step: -step.price)
        waiting = iter(sorted(losses, key=lambda step: step.price))
        counts, made = dict(plan.counts), list[_Step]()
        grown: set[str] = set()
        shrunk: set[str] = set()
        moved = 0.0
        for gain in gains:
            if gain.group in shrunk:
                continue
            given: list[_Step] = []
            trial = {**counts, gain.group: gain.count}
            while not self.budget.allows(trial, self.cost):
                loss = next((one for one in waiting if one.group not in grown | {gain.group}), None)
                if loss is None or loss.price >= gain.price:
                    break
                given.append(loss)
                trial[loss.group] = loss.count
            moved += gain.use
            large = bool(grown) and moved > BUDGET_MOVED * size
            if gain.worth <= 0 or large or not self.budget.allows(trial, self.cost):
                break  # what follows promises less
            counts, made = trial, [*made, *given, gain]
            grown.add(gain.group)
            shrunk |= {loss.group for loss in given}
        return _after(plan, made)

    def of_two(self, plan: Plan, ends: Mapping[str, Ends]) -> Iterator[Exchange]:
        """Yield those in which one group gives as little as another can take something for, as much as then fits."""
        gains = {group: list(self._steps(group, one, plan, 1, up=True)) for group, one in ends.items()}
        losses = {
            group: list(islice(self._steps(group, one, plan, 1, up=False), MOST_GIVEN)) for group, one in ends.items()
        }
        for giver, taker in permutations(ends, 2):
            steps = self._given_and_taken(plan, losses[giver], gains[taker])
            if steps:
                yield Exchange((giver, taker), steps)

    def _given_and_taken(self, plan: Plan, losses: Sequence[_Step], gains: Sequence[_Step]) -> list[_Step]:
        """Return the first steps down that make room for any up, with all of these that then fit; none without."""
        for given, loss in enumerate(losses, 1):
            left = {**plan.counts, loss.group: loss.count}
            taken = list(takewhile(partial(self._fits, left), gains))
            if taken:
                return [*losses[:given], *taken]
        return []

    def _fits(self, counts: Mapping[str, int], step: _Step) -> bool:
        return self.budget.allows({**counts, step.group: step.count}, self.cost)

    def _steps(self, group: str, one: Ends, plan: Plan, size: float, *, up: bool) -> Iterator[_Step]:
        """Yield the steps of a group up, or down, in the order in which its filters come or leave."""
        next_count = self.limits.above if up else self.limits.below
        worths, filters = (one.gained, one.out) if up else (one.lost, one.stay)
        worth = worths @ (SLOPE, ERROR)
        order = np.argsort(-worth, kind="stable")
        first, price = plan.counts[group], np.inf if up else -np.inf
        count, most = first, size * plan.widths[group]
        used = self.budget.use(plan.counts, self.cost)
        while (new := next_count(group, count)) is not None and (count == first or abs(new - first) <= most):
            taken = order[abs(count - first) : abs(new - first)]
            before, used = used, self.budget.use({**plan.counts, group: new}, self.cost)
            value, use = float(worth[taken].sum()), abs(used - before)
            own = (value if up else -value) / max(use, 1e-12)
            price = min(price, own) if up else max(price, own)
            yield _Step(group, new, tuple(filters[taken].tolist()), value, use, price)
            count = new


def _after(plan: Plan, steps: Sequence[_Step]) -> Plan:
    """Return a plan after steps: of each step's filters those who were in are out, and the others in."""
    changed = {step.group: set(plan.keep[step.group]) for step in steps}
    for step in steps:
        changed[step.group] ^= set(step.filters)
    return Plan({**plan.keep, **{group: tuple(sorted(kept)) for group, kept in changed.items()}}, plan.widths)
