"""The same share of filters in every group."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from blendsearch.allocation.base import Allocation, register_allocation
from blendsearch.allocation.budget import Budget, fill
from blendsearch.structure import Structure


@register_allocation
class Uniform(Allocation):
    """Keeps the same share of every group, the largest share that the budget allows."""

    name = "uniform"
    source = "Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (one ratio for all layers)"

    def counts(
        self, structure: Structure, scores: Mapping[str, Tensor], budget: Budget, floors: Mapping[str, int]
    ) -> dict[str, int]:
        widths, low, high = structure.widths, 0.0, 1.0

        def at(share: float) -> dict[str, int]:
            return {group: max(floors[group], int(share * width)) for group, width in widths.items()}

        if budget.allows(at(1.0), structure.cost):
            return at(1.0)
        for _ in range(40):
            middle = (low + high) / 2
            if budget.allows(at(middle), structure.cost):
                low = middle
            else:
                high = middle
        counts = at(low)
        # Rounding left some groups short of the common share; the shortest get theirs first.
        missing = {group: (high * width - counts[group]) / width for group, width in widths.items()}
        wish = sorted(widths, key=lambda group: -missing[group])
        return fill(counts, wish, floors, budget, structure.cost)
