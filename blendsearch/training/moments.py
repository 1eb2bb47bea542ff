"""Least squares from moments: what a layer's refit needs of its inputs and targets, and its solution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SINGLE_PRECISION_RIDGE = 1e-4
"""From this ridge on a Cholesky factor in float32 will do: what rounding adds is in directions the data hardly has."""


@dataclass(frozen=True)
class Solution:
    """weights: [D, C_out], zero for rows that were left out. variance: of what they give on the data, [C_out]."""

    weights: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Moments:
    """What least squares needs of inputs and targets: gram [D, D], cross [D, C_out], and their means, all float32.

    Means are zero, and not taken off, where the layer has no offset.
    """

    gram: Tensor
    cross: Tensor
    mean_in: Tensor
    mean_out: Tensor

    @classmethod
    def of(cls, rows: Tensor, wanted: Tensor, offset: bool) -> Moments:
        """Return the moments of inputs [P, D] and targets [P, C_out]."""
        count = len(rows)
        mean_in = rows.mean(0) if offset else torch.zeros_like(rows[0])
        return cls.centred(rows.T @ rows / count, rows.T @ wanted / count, mean_in, wanted, offset)

    @classmethod
    def centred(cls, gram: Tensor, cross: Tensor, mean_in: Tensor, wanted: Tensor, offset: bool) -> Moments:
        """Return the moments from averages of products that have the means still in them (gram and cross are changed).

        mean_in: zero without an offset.
        """
        mean_out = wanted.mean(0) if offset else torch.zeros_like(wanted[0])
        if offset:
            gram.addr_(mean_in, mean_in, alpha=-1)
            cross.addr_(mean_in, mean_out, alpha=-1)
        return cls(gram, cross, mean_in, mean_out)

    def solve(self, start: Tensor, ridge: float, among: Tensor | None = None) -> Solution:
        """Return the weights [D, C_out], pulled towards `start` by the ridge; zero for rows that are not `among` those.

        ridge: share of the mean diagonal of these.
        """
        gram, cross, first = self.gram, self.cross, start
        if among is not None:
            gram, cross, first = gram[among][:, among], cross[among], first[among]
        strength = (ridge * gram.diagonal().double().mean().clamp(min=1e-12)).to(gram.dtype)
        found = _ridge_solution(gram, cross, first, strength, in_single=ridge >= SINGLE_PRECISION_RIDGE)
        # gram @ found, as the normal equations have it: no second pass over the data.
        given = cross - strength * (found - first)
        variance = (found * given).sum(0).clamp(min=0)
        if among is None:
            return Solution(found, variance)
        weights = torch.zeros_like(start)
        weights[among] = found
        return Solution(weights, variance)


def _ridge_solution(gram: Tensor, cross: Tensor, start: Tensor, strength: Tensor, *, in_single: bool) -> Tensor:
    """Return what solves (gram + strength) W = cross + strength * start, float32."""
    if in_single:
        system = gram.clone()
        system.diagonal().add_(strength)
        factor, failed = torch.linalg.cholesky_ex(system)
        if not bool(failed):
            return torch.cholesky_solve(torch.add(cross, start, alpha=float(strength)), factor)
    # As a step away from the start, which is exact where the cut lost nothing.
    system = gram.double()
    missing = cross.double() - system @ start.double()
    system.diagonal().add_(strength.double())
    return (start.double() + torch.linalg.solve(system, missing)).float()
