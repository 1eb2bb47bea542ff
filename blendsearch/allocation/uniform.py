"""The same share of filters in every group."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from blendsearch.allocation.base import Allocation, register_allocation
from blendsearch.allocation.budget import Budget
from blendsearch.allocation.filling import widest
from blendsearch.structure import Structure


@register_allocation
class Uniform(Allocation):
    """Keeps the same share of every group, the largest share that the budget allows."""

    name = "uniform"
    source = "Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (one ratio for all layers)"
    by_scores = False

    def counts(
        self, structure: Structure, scores: Mapping[str, Tensor], budget: Budget, floors: Mapping[str, int]
    ) -> dict[str, int]:
        return widest(lambda share: dict.fromkeys(structure.widths, share), floors, budget, structure.cost)
