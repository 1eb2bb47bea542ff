"""What a search hands over to the retraining: blends, and criteria that stand against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blendsearch.allocation import Allocation, Budget, Evolved
from blendsearch.blending import Blend
from blendsearch.evolution.fitness import Planner
from blendsearch.evolution.rungs import Fitness
from blendsearch.structure import Plan


@dataclass(frozen=True)
class Contender:
    """What is to be retrained: a blend (a criterion is a blend of one), what shares out its budget, its proxy.

    kind: "blend", "criterion", "control", "ablation", or of a front "front" and "front criterion". budget: that of
    the campaign or, on a front, its own.
    """

    blend: Blend
    allocation: Allocation
    allocation_name: str
    proxy: float
    kind: str
    budget: Budget


def contender(allocation: str, planner: Planner, blend: Blend, value: float, kind: str) -> Contender:
    """Return a blend under the planner's allocation and budget; value: its proxy."""
    return Contender(blend, planner.allocation_of(blend), allocation, value, kind, planner.budget)


def rival(planner: Planner, fitness: Fitness, name: str, allocation_name: str, kind: str) -> Contender:
    """Return a criterion under the space's allocation; under "evolved", with that start which the proxy prefers."""
    return best_allocated(planner, fitness, Blend.single(name), allocation_name, kind)


def best_allocated(planner: Planner, fitness: Fitness, blend: Blend, allocation_name: str, kind: str) -> Contender:
    """Return a blend without shares of its own under the space's allocation, or the start that the proxy prefers."""
    choices = _choices(planner, allocation_name)
    values = fitness.deciding(_plans(planner, blend, choices))
    best = max(range(len(values)), key=values.__getitem__)
    chosen = list(choices)[best]
    return Contender(blend, choices[chosen], chosen, values[best], kind, planner.budget)


def best_criterion_contender(
    planner: Planner, fitness: Fitness, names: Sequence[str], allocation_name: str, kind: str
) -> tuple[str, Contender]:
    """Return the criterion, of those named, that the proxy puts first under the planner's budget."""
    choices = _choices(planner, allocation_name)
    fitness.deciding(
        [plan for name in names for plan in _plans(planner, Blend.single(name), choices)]
    )  # all at once, side by side
    rivals = {name: rival(planner, fitness, name, allocation_name, kind) for name in names}
    first = max(rivals, key=lambda name: rivals[name].proxy)
    return first, rivals[first]


def _choices(planner: Planner, allocation_name: str) -> dict[str, Allocation]:
    """Return the allocations that a criterion may have, by name."""
    return (
        dict(planner.allocation.start)
        if isinstance(planner.allocation, Evolved)
        else {allocation_name: planner.allocation}
    )


def _plans(planner: Planner, blend: Blend, choices: Mapping[str, Allocation]) -> list[Plan]:
    scores = planner.group_scores(blend)
    return [allocation.plan(planner.structure, scores, planner.budget) for allocation in choices.values()]
