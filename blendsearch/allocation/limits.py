"""Which counts each group may keep: floors, ceilings, multiples of a number, and shares that are given by name."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from blendsearch.allocation.bounds import Bound
from blendsearch.allocation.budget import Budget
from blendsearch.errors import BudgetError
from blendsearch.structure import Group, Structure


@dataclass(frozen=True)
class Limits:
    """What counts are allowed. allowed: group -> kept counts, ascending; step: of which they are multiples.

    A count that keeps the whole group is allowed though it be no multiple, where no bound forbids it.
    """

    allowed: dict[str, tuple[int, ...]]
    step: int = 1

    @classmethod
    def of(cls, budget: Budget, structure: Structure) -> Limits:
        """Return the limits that a budget sets to the groups of an unpruned network.

        Raises BudgetError when a name or pattern of `keep` fits nothing, or two of them contradict each other.
        """
        for bound in budget.keep:
            bound.check_known(structure)
        floors = budget.floors(structure.widths)
        return cls(
            {group.name: _allowed(group, floors[group.name], budget) for group in structure.groups}, budget.round_to
        )

    @classmethod
    def over(cls, given: Limits | Mapping[str, int], widths: Mapping[str, int]) -> Limits:
        """Return limits as they are, or for floors (group -> fewest filters) every count from there to the width."""
        if isinstance(given, Limits):
            return given
        return cls({group: tuple(range(min(given[group], width), width + 1)) for group, width in widths.items()})

    def of_rest(self, widths: Mapping[str, int]) -> Limits:
        """Return the limits for the groups that are left of the network, as wide as they are now."""
        rest = {group: tuple(count for count in self.allowed[group] if count <= widths[group]) for group in widths}
        return Limits({group: counts or (widths[group],) for group, counts in rest.items()}, self.step)

    @classmethod
    def check(cls, budget: Budget, structure: Structure) -> None:
        """Raise BudgetError when the budget is impossible on an unpruned network, and say what is possible."""
        budget.check_possible(cls.of(budget, structure).floors, structure.cost)

    @cached_property
    def floors(self) -> dict[str, int]:
        """The fewest filters of each group."""
        return {group: counts[0] for group, counts in self.allowed.items()}

    @cached_property
    def ceilings(self) -> dict[str, int]:
        """The most filters of each group."""
        return {group: counts[-1] for group, counts in self.allowed.items()}

    def only_floors(self, widths: Mapping[str, int]) -> bool:
        """Tell whether every count from the floors to the widths is allowed."""
        return all(
            counts[-1] == widths[group] and len(counts) == counts[-1] - counts[0] + 1
            for group, counts in self.allowed.items()
        )

    def above(self, group: str, count: int) -> int | None:
        """Return the next larger count that is allowed, or None."""
        counts = self.allowed[group]
        place = bisect_right(counts, count)
        return counts[place] if place < len(counts) else None

    def below(self, group: str, count: int) -> int | None:
        """Return the next smaller count that is allowed, or None."""
        counts = self.allowed[group]
        place = bisect_left(counts, count)
        return counts[place - 1] if place else None

    def nearest(self, wanted: Mapping[str, float]) -> dict[str, int]:
        """Return the allowed count nearest to each wanted one, the larger of two as near."""
        return {group: _nearest(counts, wanted[group]) for group, counts in self.allowed.items()}


def _nearest(counts: tuple[int, ...], wanted: float) -> int:
    return min(counts, key=lambda count: (abs(count - wanted), -count))


def _allowed(group: Group, floor: int, budget: Budget) -> tuple[int, ...]:
    """Return the counts that a budget allows a group; a group between whose bounds none lies gets the nearest."""
    every = [count for count in range(1, group.width) if count % budget.round_to == 0] + [group.width]
    low, high = _between(group, budget.keep)
    # Rounded first: 0.07 of 100 filters is 7.000000000000001 in floating point, and 7 in words.
    least = floor if low is None else math.ceil(round(low * group.width, 9))
    most = math.floor(round(high * group.width, 9))
    counts = tuple(count for count in every if least <= count <= most)
    return counts or (_nearest(tuple(every), most if low is None else (low + high) / 2 * group.width),)


def _between(group: Group, bounds: tuple[Bound, ...]) -> tuple[float | None, float]:
    """Return between which shares all bounds that fit a group leave it."""
    own = [bound for bound in bounds if bound.fits(group)]
    lows, high = [bound for bound in own if bound.low is not None], min((bound.high for bound in own), default=1.0)
    if not lows:
        return None, high
    low = max(lows, key=lambda bound: bound.low or 0.0)
    if low.low is not None and low.low > high:
        other = min(own, key=lambda bound: bound.high)
        raise BudgetError(
            f"budget: keep: group '{group.name}' is to keep {low} by '{low.pattern}' and {other} by "
            f"'{other.pattern}'; allowed: bounds that overlap"
        )
    return low.low, high
