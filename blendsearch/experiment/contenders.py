"""What a search hands over to the retraining: blends, and criteria that stand against them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from blendsearch.allocation import Allocation, Budget, Evolved
from blendsearch.blending import Blend
from blendsearch.errors import TrialError
from blendsearch.evolution.fitness import Planner
from blendsearch.evolution.problem import SearchProblem
from blendsearch.structure import Plan

Contenders = dict[str, "Contender"]
"""Name -> what is to be retrained under it."""


@dataclass(frozen=True)
class Contender:
    """What is to be retrained: a blend (a criterion is a blend of one), what shares out its budget, its proxy.

    kind: one of `results.records.retraining`. budget: that of the campaign or, on a front, its own.
    plan: where the blend's filters were chosen layer by layer; None for those that its scores put first.
    """

    blend: Blend
    allocation: Allocation
    proxy: float
    kind: str
    budget: Budget
    plan: Plan | None = None


def make_contender(planner: Planner, blend: Blend, *, proxy: float, kind: str, plan: Plan | None = None) -> Contender:
    """Return a blend under the planner's allocation and budget; plan: one that is not simply the planner's."""
    own = plan if plan is not None and plan.digest != planner.plan(blend).digest else None
    return Contender(blend, planner.allocation_of(blend), proxy, kind, planner.budget, own)


def enter_criterion(problem: SearchProblem, name: str, kind: str) -> Contender:
    """Return a criterion under the space's allocation; under "evolved", with that start which the proxy prefers."""
    return enter_without_shares(problem, Blend.single(name), kind)


def enter_without_shares(problem: SearchProblem, blend: Blend, kind: str) -> Contender:
    """Return a blend without shares of its own under the space's allocation, or the start that the proxy prefers."""
    choices = _choices(problem.planner)
    plans = _plans(problem.planner, blend, choices)
    best, value = problem.first_of(plans, "a blend" if blend.single_term is None else f"'{blend.single_term}'")
    return Contender(blend, choices[best], value, kind, problem.planner.budget)


def enter_those_that_can(entries: Mapping[str, Callable[[], Contender]]) -> tuple[Contenders, dict[str, str]]:
    """Return what is entered under each name, and name -> why of those that fail to be judged."""
    contenders: Contenders = {}
    failed: dict[str, str] = {}
    for name, enter in entries.items():
        try:
            contenders[name] = enter()
        except TrialError as error:
            failed[name] = str(error)
    return contenders, failed


def enter_criteria(problem: SearchProblem, names: Iterable[str], kind: str) -> tuple[Contenders, dict[str, str]]:
    """Return criteria under the space's allocation as `enter_criterion` does; TrialError where all of them fail."""
    contenders, failed = enter_those_that_can({name: partial(enter_criterion, problem, name, kind) for name in names})
    if not contenders:
        raise TrialError(next(iter(failed.values())))
    return contenders, failed


def enter_first_criterion(problem: SearchProblem, names: Sequence[str], kind: str) -> tuple[str, Contender]:
    """Return the criterion, of those named, that the proxy puts first under the planner's budget."""
    choices = _choices(problem.planner)
    # All at once, so that they are judged side by side.
    problem.values([plan for name in names for plan in _plans(problem.planner, Blend.single(name), choices)])
    contenders, _ = enter_criteria(problem, names, kind)
    first = max(contenders, key=lambda name: contenders[name].proxy)
    return first, contenders[first]


def with_members(contenders: Mapping[str, Contender], members: Mapping[str, Blend]) -> Contenders:
    """Return contenders whose blends hold the members they use, so that they can be scored and saved by themselves."""
    return {name: replace(one, blend=one.blend.with_members(members)) for name, one in contenders.items()}


def _choices(planner: Planner) -> list[Allocation]:
    """Return the allocations that a criterion may have."""
    allocation = planner.allocation
    return list(allocation.start.values()) if isinstance(allocation, Evolved) else [allocation]


def _plans(planner: Planner, blend: Blend, choices: Sequence[Allocation]) -> list[Plan]:
    scores = planner.group_scores(blend)
    return [allocation.plan(planner.structure, scores, planner.budget) for allocation in choices]
