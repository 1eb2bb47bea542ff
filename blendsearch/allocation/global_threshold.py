"""One threshold for the normalised scores of all groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from blendsearch.allocation.base import Allocation, register_allocation
from blendsearch.allocation.budget import Budget, fill
from blendsearch.errors import unknown_name
from blendsearch.structure import Structure

NORMALISATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda s: s / s.abs().mean().clamp(min=1e-12),
    "l2": lambda s: s / s.norm().clamp(min=1e-12),
    "max": lambda s: s / s.abs().max().clamp(min=1e-12),
    "standard": lambda s: (s - s.mean()) / s.std(unbiased=False).clamp(min=1e-12),
}


@register_allocation
class GlobalThreshold(Allocation):
    """Ranks the filters of all groups together, after normalising within each group, and removes the lowest.

    normalisation: "mean" (divide by the group's mean magnitude, the default), "l2" (Molchanov 2017), "max" or
    "standard" (zero mean, unit deviation).
    """

    name = "global_threshold"
    source = "Molchanov et al., ICLR 2017, section 2.2 (global ranking after layer-wise normalisation)"

    def __init__(self, normalisation: str = "mean") -> None:
        if normalisation not in NORMALISATIONS:
            raise unknown_name("normalisation", normalisation, NORMALISATIONS, "allocation.normalisation")
        self.normalise = NORMALISATIONS[normalisation]

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
        """Return the group number of each removable filter, from the lowest normalised score up."""
        values, owners = [], []
        for number, name in enumerate(names):
            ordered = self.normalise(scores[name].double()).sort().values
            removable = ordered[: len(ordered) - floors[name]]
            values.append(removable)
            owners.append(torch.full((len(removable),), number))
        order = torch.cat(values).argsort(stable=True)
        return torch.cat(owners)[order].numpy()
