"""What allocations with one threshold for the filters of all groups have in common."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from blendsearch.allocation.base import Allocation
from blendsearch.allocation.budget import Budget
from blendsearch.allocation.filling import fill
from blendsearch.structure import Structure


class Threshold(Allocation):
    """Makes the scores of all groups comparable, then removes the lowest until the budget is met."""

    def comparable(self, scores: Tensor) -> Tensor:
        """Return the scores of one group [C] on a scale common to all groups, in the same order; float64 [C]."""
        raise NotImplementedError

    def counts(
        self, structure: Structure, scores: Mapping[str, Tensor], budget: Budget, floors: Mapping[str, int]
    ) -> dict[str, int]:
        names = list(structure.widths)
        widths = np.array([structure.widths[name] for name in names])
        removable = widths - np.array([floors[name] for name in names])
        owner = self._ascending(scores, names, floors)

        def after(removed: int) -> dict[str, int]:
            lost = np.bincount(owner[:removed], minlength=len(names))
            return dict(zip(names, (widths - lost).tolist(), strict=True))

        low, high = 0, len(owner)  # removing `high` is within the budget
        assert len(owner) == removable.sum()
        while low < high:
            middle = (low + high) // 2
            if budget.allows(after(middle), structure.cost):
                high = middle
            else:
                low = middle + 1
        wish = [names[i] for i in owner[:high][::-1]]  # the best of the removed come back first, where they fit
        return fill(after(high), wish, floors, budget, structure.cost)

    def _ascending(self, scores: Mapping[str, Tensor], names: list[str], floors: Mapping[str, int]) -> np.ndarray:
        """Return the group number of each removable filter, from the lowest comparable score up."""
        values, owners = [], []
        for number, name in enumerate(names):
            ordered = self.comparable(scores[name].double()).sort().values
            removable = ordered[: len(ordered) - floors[name]]
            values.append(removable)
            owners.append(torch.full((len(removable),), number))
        order = torch.cat(values).argsort(stable=True)
        return torch.cat(owners)[order].numpy()
