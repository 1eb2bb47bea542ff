"""How kept counts are brought up to a budget from below, each near the share that is meant for its group."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from blendsearch.allocation.budget import Budget
from blendsearch.allocation.limits import Limits
from blendsearch.allocation.moves import Moves
from blendsearch.structure import CostModel

HALVINGS = 12
"""How often `within` halves the range in which it looks for the share to ask an allocation for."""


def widest(
    shares: Callable[[float], Mapping[str, float]], floors: Mapping[str, int], budget: Budget, cost: CostModel
) -> dict[str, int]:
    """Return the largest counts of a family of kept shares that the budget allows, filled up to it.

    shares: width of the network in [0, 1] -> group -> kept share, not decreasing; 1 keeps everything. A share above 1
    keeps the whole group, and says before which others.
    """
    widths, low, high = cost.widths, 0.0, 1.0

    def at(width: float) -> dict[str, int]:
        kept = {group: min(1.0, share) for group, share in shares(width).items()}
        return {group: max(floors[group], int(share * widths[group])) for group, share in kept.items()}

    if budget.allows(at(1.0), cost):
        return at(1.0)
    for _ in range(40):
        middle = (low + high) / 2
        if budget.allows(at(middle), cost):
            low = middle
        else:
            high = middle
    ideal = {group: max(floors[group], share * widths[group]) for group, share in shares(high).items()}
    return fill(at(low), None, floors, budget, cost, ideal)


def within(
    counts: Callable[[Budget], Mapping[str, int]], limits: Limits, budget: Budget, cost: CostModel
) -> dict[str, int]:
    """Return what an allocation that knows floors alone makes of a budget, brought within all limits.

    counts: the allocation under a budget of one kind. It is asked for the largest share under which its counts, each
    moved to the nearest one allowed, are within the budget; then they are filled up. So the groups that are held take
    their part, and the allocation shares out the rest among those that are free, whichever allocation it is.
    """
    if budget.allows(limits.ceilings, cost):
        return dict(limits.ceilings)
    best, ideal = limits.floors, limits.floors
    low, high = cost.ratio(budget.kind, best), 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        wanted = dict(counts(Budget(budget.kind, middle, budget.min_keep, loose=True)))
        trial = limits.nearest(wanted)
        if budget.allows(trial, cost):
            low, best, ideal = middle, trial, wanted
        else:
            high = middle
    # What a group may not keep is not meant for it: else it would stand in the order of the others.
    ideal = {group: min(max(ideal[group], limits.floors[group]), limits.ceilings[group]) for group in best}
    return fill(best, None, limits, budget, cost, ideal)


def fill(
    counts: Mapping[str, int],
    wish: Iterable[str] | None,
    limits: Limits | Mapping[str, int],
    budget: Budget,
    cost: CostModel,
    ideal: Mapping[str, float] | None = None,
) -> dict[str, int]:
    """Add filters in the order of `wish` as long as they fit, then exchange some to come closer still.

    wish: group names, repeated as often as filters could be added, most wanted first; None for the groups that lack
    most of their ideals. limits: floors may stand for them. ideal: the filters meant for each group, not always whole;
    above a group's width where it comes before others that are full; None where any counts will do.
    The result is within the budget, and within 1 % of it unless single filters (or steps between allowed counts) are
    larger. Exchanges leave every count within a step or two of its ideal, and shares in the order of the ideals; they
    go farther only where there are steps finer than that 1 %. Under a loose budget the counts stay as they are.
    """
    if budget.loose:
        return dict(counts)
    limits = Limits.over(limits, cost.widths)
    free = Moves(limits, budget, cost, dict(counts) if ideal is None else ideal)
    orderly = replace(free, ordered=ideal is not None)
    filled = orderly.add(dict(counts), orderly.shortest_first(counts) if wish is None else wish)
    if ideal is None:
        return free.approach(filled)
    tried: list[dict[str, int]] = []
    for moves in (replace(orderly, reach=1), replace(orderly, reach=2), *_ever_farther(free, filled)):
        tried.append(moves.approach(filled))
        if budget.nearly_met(tried[-1], cost):
            return tried[-1]
    # Where nothing comes close, the shares at least are kept.
    return free.add_all(max(tried[:2], key=lambda counts: budget.use(counts, cost)))


def _ever_farther(moves: Moves, filled: Mapping[str, int]) -> Iterator[Moves]:
    """Yield moves that go ever farther from the ideals; none where all steps are coarser than the tolerance."""
    if moves.finer_than_tolerance(filled):
        reaches = itertools.takewhile(lambda reach: reach < max(filled.values()), (2**n for n in itertools.count()))
        yield from (replace(moves, reach=reach) for reach in reaches)
        yield moves
