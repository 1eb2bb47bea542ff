"""The rank of a score within its group."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsearch.errors import BlendsearchError


def rank(scores: Tensor) -> Tensor:
    """Return the place of every score within the group, 0 for the least and 1 for the most important.

    scores: [C], finite. Result: float32 [C], (average rank - 1) / (C - 1); ties share their average rank, so
    a constant vector is 0.5 everywhere, as is a single filter. Ranks of ranks are the same ranks.
    Raises BlendsearchError for another shape or for values that are not finite.
    Source: He et al., 2021 (arXiv 2107.05033), section on criteria clustering.
    """
    if scores.dim() != 1 or scores.numel() == 0:
        raise BlendsearchError(f"scores to rank: shape {list(scores.shape)} given, one a filter [C] expected")
    if not torch.isfinite(scores).all():
        raise BlendsearchError("scores to rank: NaN or infinity given, finite numbers expected")
    if scores.numel() == 1:
        return torch.full((1,), 0.5)
    _, place, counts = torch.unique(scores.detach().cpu(), return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    average = last - (counts.double() - 1) / 2
    return ((average[place] - 1) / (scores.numel() - 1)).float()
