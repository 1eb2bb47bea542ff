"""A layer's refit as least squares: moments of inputs and targets, and the solution, from whichever side is smaller.

With D inputs an output and P positions the normal equations are a system of D; where there are fewer positions than
inputs, as in the last layers of most networks, the same weights come from a system of P (the dual form of ridge
regression; Saunders, Gammerman & Vovk, ICML 1998).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

SINGLE_PRECISION_RIDGE = 1e-4
"""From this ridge on a Cholesky factor in float32 will do: what rounding adds is in directions the data hardly has."""

MIRRORED = 1024
"""Rows of a gram matrix that are mirrored at once: no second one in memory."""


@dataclass(frozen=True)
class Solution:
    """weights: [D, C_out], zero for rows that were left out. variance: of what they give on the data, [C_out]."""

    weights: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Moments:
    """What least squares needs of inputs and targets: gram [D, D], cross [D, C_out], and their means, all float32.

    The gram is symmetric to the last bit, which the product of a matrix with itself need not be. Means are zero, and
    not taken off, where the layer has no offset.
    """

    gram: Tensor
    cross: Tensor
    mean_in: Tensor
    mean_out: Tensor

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


class LeastSquares(ABC):
    """One layer's inputs [P, D] and targets [P, C_out]; with an offset, both without their means.

    wanted: the targets. Subclasses know the inputs, and need not form them. has_kernel: whether `kernel` is worth it.
    centred: whether `gram`, `kernel`, `applied` and `transposed` are of inputs without their means already.
    """

    positions: int
    inputs: int
    has_kernel = True
    centred = False

    def __init__(self, wanted: Tensor, offset: bool) -> None:
        self.wanted, self.offset = wanted, offset
        self.mean_out = wanted.mean(0) if offset else torch.zeros_like(wanted[0])

    @cached_property
    def mean_in(self) -> Tensor:
        """The mean of each input [D]; zeros without an offset."""
        found = self.mean()
        return found if self.offset else torch.zeros_like(found)

    @cached_property
    def moments(self) -> Moments:
        gram, cross = self.gram(), self.transposed(self.wanted) / self.positions
        if self.offset and not self.centred:
            gram.addr_(self.mean_in, self.mean_in, alpha=-1)
            cross.addr_(self.mean_in, self.mean_out, alpha=-1)
        _mirror(gram)
        return Moments(gram, cross, self.mean_in, self.mean_out)

    def solve(self, start: Tensor, ridge: float, among: Tensor | None = None) -> Solution:
        """Do what `Moments.solve` does; where there are fewer positions than inputs, in the dual form."""
        if among is None and self.positions < self.inputs and self.has_kernel and ridge >= SINGLE_PRECISION_RIDGE:
            found = self._dual(start, ridge)
            if found is not None:
                return found
        return self.moments.solve(start, ridge, among)

    def _dual(self, start: Tensor, ridge: float) -> Solution | None:
        """Return the solution from the products of positions [P, P]; None where these have no Cholesky factor."""
        system = self.kernel()
        wanted, given = self.wanted - self.mean_out, self.applied(start)
        if self.offset:
            system -= system.mean(0)
            system -= system.mean(1, keepdim=True)
            given = given - given.mean(0)
        system /= self.positions
        strength = (ridge * (system.diagonal().double().sum() / self.inputs).clamp(min=1e-12)).to(system.dtype)
        system.diagonal().add_(strength)
        factor, failed = torch.linalg.cholesky_ex(system)
        if bool(failed):
            return None
        missing = torch.cholesky_solve(wanted - given, factor)
        if self.offset:
            missing -= missing.mean(0)  # zero but for rounding, which inputs far from zero would make much of
        weights = start + self.transposed(missing) / self.positions
        # What is left of the targets is the ridge's doing: no second pass over the inputs.
        answers = wanted - strength * missing
        return Solution(weights, answers.square().mean(0))

    @abstractmethod
    def mean(self) -> Tensor:
        """Return the mean of each input [D]."""

    @abstractmethod
    def gram(self) -> Tensor:
        """Return the mean over positions of the products of any two inputs [D, D]."""

    @abstractmethod
    def kernel(self) -> Tensor:
        """Return the products of any two positions [P, P]; the caller takes the means off."""

    @abstractmethod
    def applied(self, weights: Tensor) -> Tensor:
        """Return inputs times weights [D, C_out]: [P, C_out]."""

    @abstractmethod
    def transposed(self, values: Tensor) -> Tensor:
        """Return the sum over positions of inputs times values [P, C_out]: [D, C_out]."""


class RowSquares(LeastSquares):
    """Least squares of inputs that are there as rows [P, D], which are the object's own from then on.

    An offset takes the means off the rows, not off their products: of inputs that hardly vary beside their mean
    float32 would leave nothing there.
    """

    def __init__(self, rows: Tensor, wanted: Tensor, offset: bool) -> None:
        super().__init__(wanted, offset)
        self.positions, self.inputs = rows.shape
        self.means = rows.mean(0)
        self.rows, self.centred = rows.sub_(self.means) if offset else rows, offset

    def mean(self) -> Tensor:
        return self.means

    def gram(self) -> Tensor:
        return self.rows.T @ self.rows / self.positions

    def kernel(self) -> Tensor:
        return self.rows @ self.rows.T

    def applied(self, weights: Tensor) -> Tensor:
        return self.rows @ weights

    def transposed(self, values: Tensor) -> Tensor:
        return self.rows.T @ values


def _mirror(gram: Tensor) -> None:
    """Give the upper triangle what the lower one has, the one that a Cholesky factor is taken from.

    A processor's kernels may round the two apart; whoever solves by another way than Cholesky would see it.
    """
    for first in range(0, len(gram), MIRRORED):
        last = first + MIRRORED
        block = gram[first:last, first:last]
        block.copy_(block.tril() + block.tril(-1).T)
        gram[first:last, last:] = gram[last:, first:last].T


def _ridge_solution(gram: Tensor, cross: Tensor, start: Tensor, strength: Tensor, *, in_single: bool) -> Tensor:
    """Return what solves (gram + strength) W = cross + strength * start, float32."""
    if in_single:
        system = gram.clone()
        system.diagonal().add_(strength)
        factor, failed = torch.linalg.cholesky_ex(system)
        # Read together: whoever reads waits for all that was begun on the device.
        pull, wrong = torch.stack([strength, failed.to(strength.dtype)]).tolist()
        if not wrong:
            return torch.cholesky_solve(torch.add(cross, start, alpha=pull), factor)
    # As a step away from the start, which is exact where the cut lost nothing.
    system = gram.double()
    missing = cross.double() - system @ start.double()
    system.diagonal().add_(strength.double())
    return (start.double() + torch.linalg.solve(system, missing)).float()
