"""One threshold for scores that are weighed against the better filters of their own group (LAMP)."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsearch.allocation.base import register_allocation
from blendsearch.allocation.threshold import Threshold


@register_allocation
class LayerAdaptive(Threshold):
    """Divides a filter's squared score by the sum of those of its group that are not lower, and removes the lowest.

    The best filter of every group gets 1, so no group runs dry before all others are down to one filter. LAMP is
    made for magnitudes; here it takes the scores of any criterion: a group with negative scores is first shifted so
    that its lowest is 0, which keeps their order.
    """

    name = "layer_adaptive"
    source = "Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, ICLR 2021, eq. 2 (LAMP)"

    def comparable(self, scores: Tensor) -> Tensor:
        """Return LAMP scores in [0, 1], float64 [C]."""
        squares = _not_negative(scores).square()
        ordered = squares.sort()
        from_here_up = ordered.values.flip(0).cumsum(0).flip(0)
        lamp = ordered.values / from_here_up.clamp(min=torch.finfo(squares.dtype).tiny)
        lamp[-1] = 1.0  # also when all scores are 0
        return torch.empty_like(lamp).scatter_(0, ordered.indices, lamp)


def _not_negative(scores: Tensor) -> Tensor:
    """Return the scores shifted up to 0 where any is negative, over their largest, so that squares stay finite."""
    shifted = scores - scores.min().clamp(max=0)
    return shifted / shifted.max().clamp(min=torch.finfo(scores.dtype).tiny)
