"""What is left of a layer's least squares as filters leave it, one by one, without ever writing the whole inverse anew.

With P = H^-1, dropping filter j takes Y^T Y from P, with Y = L^-1 P_j: and L the Cholesky factor of P_jj. A turn looks
at the diagonal blocks of P and at the weights alone, so these are kept up to date; a row of P is worked out when its
filter leaves, from the first P and all Y before ("left-looking", as in blocked Cholesky factorisations). That reads the
Y so far instead of copying a matrix a turn, and a few turns of many cost little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

COMPACTED = 8
"""What belongs to filters that are gone is taken out when they are one in so many."""


@dataclass(frozen=True)
class Systems:
    """The least squares of R readers with k rows a filter each: inverses [R, F k, F k], weights [R, N, F k].

    blocks: diagonal blocks of the inverses, squares: W_f W_f^T of each filter's weights; [R, F, k, k]. float64.
    """

    inverse: Tensor
    weights: Tensor
    blocks: Tensor
    squares: Tensor

    @classmethod
    def of(cls, pairs: Sequence[tuple[Tensor, Tensor]], filters: int) -> Systems:
        """Return the systems of readers of one size, each an inverse [D, D] and weights [D, N], N as it may be."""
        columns = max(weights.shape[1] for _, weights in pairs)
        wide = [torch.nn.functional.pad(weights, (0, columns - weights.shape[1])).T for _, weights in pairs]
        inverse, weights = torch.stack([inverse for inverse, _ in pairs]), torch.stack(wide)
        size = inverse.shape[1] // filters
        split = inverse.unflatten(2, (filters, size)).unflatten(1, (filters, size))  # [R, F, k, F, k]
        blocks = split.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2).contiguous()
        own = weights.unflatten(2, (filters, size)).permute(0, 2, 3, 1)  # [R, F, k, N]
        return cls(inverse, weights, blocks, own @ own.mT)

    @cached_property
    def finite(self) -> bool:
        """Whether all of it is numbers."""
        return bool(self.inverse.isfinite().all()) and bool(self.weights.isfinite().all())

    def losses(self) -> Tensor:
        """Return what dropping each filter would cost in all readers together, [F]."""
        return _losses(self.blocks, self.squares)


class Leaving:
    """Systems that filters leave; `turns`: at most so many of them."""

    def __init__(self, systems: Systems, turns: int) -> None:
        self.inverse = systems.inverse
        readers, self.filters, self.size = systems.blocks.shape[:3]
        self.blocks, self.squares = systems.blocks.clone(), systems.squares.clone()
        self.weights = systems.weights.clone()
        self.gone = systems.inverse.new_empty(readers, turns * self.size, self.filters * self.size)
        self.rows = 0
        self.filter = torch.arange(self.filters)  # which filter of the systems each one here is

    def losses(self) -> Tensor:
        """Return what dropping each filter would cost now, [F]; of those that are gone any number."""
        return _losses(self.blocks, self.squares)

    def drop(self, place: int) -> None:
        """Let a filter go, and all others be refitted."""
        size = self.size
        own = slice(place * size, (place + 1) * size)
        factor = torch.linalg.cholesky(self.blocks[:, place])
        step = torch.linalg.solve_triangular(factor, self._row(place, own), upper=False)  # [R, k, F k]
        share = torch.linalg.solve_triangular(factor, self.weights[..., own].mT, upper=False)  # [R, k, N]
        # The squares of W - Y^T share, without forming the products of all outputs for each filter.
        across = torch.baddbmm(share @ self.weights, share @ share.mT, step, alpha=-0.5)
        self.weights.baddbmm_(share.mT, step, alpha=-1)
        step_of, across_of = (one.unflatten(2, (-1, size)).transpose(1, 2) for one in (step, across))  # [R, F, k, k]
        changes = step_of.mT @ torch.cat([step_of, across_of], dim=3)
        self.blocks -= changes[..., :size]
        self.squares -= changes[..., size:] + changes[..., size:].mT
        self.blocks[:, place] = torch.eye(size, dtype=step.dtype)  # nothing is left there, and that has no factor
        self.gone[:, self.rows : self.rows + size] = step
        self.rows += size

    def _row(self, place: int, own: slice) -> Tensor:
        """Return the rows of a filter in the inverse as it is now, [R, k, F k]."""
        first = int(self.filter[place]) * self.size
        row = self.inverse[:, first : first + self.size]
        if len(self.filter) < self.filters:
            row = row.unflatten(2, (-1, self.size))[:, :, self.filter].flatten(2)
        before = self.gone[:, : self.rows]
        return torch.baddbmm(row, before[:, :, own].mT, before, alpha=-1) if self.rows else row

    def keep(self, stays: Tensor) -> None:
        """Take out all filters but those at `stays`, none of which is gone."""
        size = self.size
        columns = (stays[:, None] * size + torch.arange(size)).flatten()
        gone = self.gone.new_empty(*self.gone.shape[:2], len(columns))
        gone[:, : self.rows] = self.gone[:, : self.rows, columns]
        self.gone, self.weights = gone, self.weights[..., columns]
        self.blocks, self.squares = self.blocks[:, stays], self.squares[:, stays]
        self.filter = self.filter[stays]


def _losses(blocks: Tensor, squares: Tensor) -> Tensor:
    """Return tr(W_f^T [P_ff]^-1 W_f) = tr([P_ff]^-1 W_f W_f^T), summed over readers, [F]."""
    if blocks.shape[-1] == 1:
        return (squares / blocks).sum((0, 2, 3))
    return (torch.cholesky_inverse(torch.linalg.cholesky(blocks)) * squares).sum((0, 2, 3))
