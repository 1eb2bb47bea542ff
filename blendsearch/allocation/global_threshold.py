"""One threshold for the normalised scores of all groups."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from blendsearch.allocation.base import register_allocation
from blendsearch.allocation.threshold import Threshold
from blendsearch.errors import unknown_name


def _rank(scores: Tensor) -> Tensor:
    """Return the place of each score within its group, in (0, 1); equal scores share the mean of their places."""
    below = (scores.unsqueeze(0) < scores.unsqueeze(1)).sum(1)
    equal = (scores.unsqueeze(0) == scores.unsqueeze(1)).sum(1)
    return (below + equal / 2).to(scores.dtype) / len(scores)


TINY = torch.finfo(torch.float64).tiny
"""Only what is zero is not normalised: means of squared gradients of deep layers may be below 1e-20."""

NORMALISATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda s: s / s.abs().mean().clamp(min=TINY),
    "l2": lambda s: s / s.norm().clamp(min=TINY),
    "max": lambda s: s / s.abs().max().clamp(min=TINY),
    # A spread of rounding alone is none.
    "standard": lambda s: (s - s.mean()) / torch.maximum(s.std(unbiased=False), 1e-12 * s.abs().max()).clamp(min=TINY),
    "rank": _rank,
}


@register_allocation
class GlobalThreshold(Threshold):
    """Ranks the filters of all groups together, after normalising within each group, and removes the lowest.

    normalisation: "mean" (divide by the group's mean magnitude, the default), "l2" (Molchanov 2017), "max",
    "standard" (zero mean, unit deviation) or "rank" (the place within the group, which is nearly uniform).
    """

    name = "global_threshold"
    source = "Molchanov et al., ICLR 2017, section 2.2 (global ranking after layer-wise normalisation)"

    def __init__(self, normalisation: str = "mean") -> None:
        if normalisation not in NORMALISATIONS:
            raise unknown_name("normalisation", normalisation, NORMALISATIONS, "allocation.normalisation")
        self.normalisation = normalisation

    def comparable(self, scores: Tensor) -> Tensor:
        """Return the normalised scores [C]."""
        return NORMALISATIONS[self.normalisation](scores)
