"""Counts in proportion to a wish: the common scale that the budget allows."""

from __future__ import annotations

from collections.abc import Mapping

from blendsearch.allocation.budget import Budget, fill
from blendsearch.structure import Structure


def proportional(
    structure: Structure, wish: Mapping[str, float], budget: Budget, floors: Mapping[str, int]
) -> dict[str, int]:
    """Return the counts `scale * wish`, held between floors and widths, for the largest scale within the budget.

    wish: group -> filters (> 0, any common scale). Rounding is made good by single filters, those furthest below
    their wish first, so that the budget is met from below.
    """
    widths = structure.widths

    def at(scale: float) -> dict[str, int]:
        return {g: min(width, max(floors[g], int(scale * wish[g]))) for g, width in widths.items()}

    if budget.allows(widths, structure.cost):
        return dict(widths)
    low, high = 0.0, max(width / wish[group] for group, width in widths.items())
    for _ in range(60):
        middle = (low + high) / 2
        if budget.allows(at(middle), structure.cost):
            low = middle
        else:
            high = middle
    counts = at(low)
    missing = {group: (min(width, high * wish[group]) - counts[group]) / width for group, width in widths.items()}
    order = sorted(widths, key=lambda group: -missing[group])
    return fill(counts, order, floors, budget, structure.cost)
