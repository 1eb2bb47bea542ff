"""What is measured on feature maps: each measure gives one row of numbers per filter.

A measure sees a batch of feature maps `a` [N, C, H, W] and, in the "gradients" family, the gradient `g` of each
sample's own loss with respect to them. Most are averages over samples of a plain function; others accumulate in
their own way. All stream, so memory does not grow with the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from blendsearch.registry import Registry
from blendsearch.statistics.accumulators import (
    Accumulator,
    Average,
    ClassMoments,
    Correlation,
    Histogram,
    lengths,
    pooled,
    products,
)
from blendsearch.statistics.spectra import matrix_rank, nuclear_norm_shares


class Entry(Protocol):
    """Anything that criteria can need: a Measure here, a LayerMeasure or a Pass in the modules beside."""

    @property
    def name(self) -> str:
        """The name in `needs`."""

    @property
    def uses_gradients(self) -> bool:
        """Whether the common pass must go backward for it."""


@dataclass(frozen=True)
class Measure:
    """A named quantity per filter; `accumulator()` makes what sums it up at one site.

    limit: only the first `limit` images are measured (None: all), for measures too costly for every image.
    """

    name: str
    accumulator: Callable[[], Accumulator]
    limit: int | None = None

    @property
    def uses_gradients(self) -> bool:
        """Whether a backward pass is needed."""
        return self.name.startswith("gradients.")


MEASURES: Registry[Entry] = Registry("measure", "measures")


def measure(name: str, limit: int | None = None) -> Callable[[Callable[[Tensor, Tensor], Tensor]], Measure]:
    """Register a function `(a, g) -> [N, C]` or [N, C, ...] as the measure `name` ("activations.x", "gradients.x")."""

    def add(function: Callable[[Tensor, Tensor], Tensor]) -> Measure:
        return accumulated(name, lambda: Average(function), limit)

    return add


def accumulated(name: str, accumulator: Callable[[], Accumulator], limit: int | None = None) -> Measure:
    """Register an Accumulator class as the measure `name`, for what is no average of a function of one sample."""
    entry = Measure(name, accumulator, limit)
    MEASURES.register(name)(entry)
    return entry


@measure("activations.mean")
def mean(a: Tensor, g: Tensor) -> Tensor:
    """Mean over positions."""
    return pooled(a)


@measure("activations.square")
def square(a: Tensor, g: Tensor) -> Tensor:
    """Mean square over positions."""
    return lengths(a).square() / a[0, 0].numel()


@measure("activations.norm")
def activation_norm(a: Tensor, g: Tensor) -> Tensor:
    """Euclidean norm over positions."""
    return lengths(a)


@measure("activations.zeros")
def zeros(a: Tensor, g: Tensor) -> Tensor:
    """Share of positions that are not positive (zero after a ReLU)."""
    return (a <= 0).to(a.dtype).mean((2, 3))


@measure("activations.map_rank", limit=128)
def map_rank(a: Tensor, g: Tensor) -> Tensor:
    """Matrix rank of each feature map."""
    return matrix_rank(a)


@measure("activations.independence", limit=64)
def independence(a: Tensor, g: Tensor) -> Tensor:
    """Fall of the nuclear norm of the image's feature maps [C, H W] when this one is zeroed."""
    return nuclear_norm_shares(a.flatten(2))


accumulated("activations.histogram", Histogram)
accumulated("activations.correlation", Correlation)
accumulated("activations.class_moments", ClassMoments)


@measure("gradients.taylor")
def taylor(a: Tensor, g: Tensor) -> Tensor:
    """Absolute mean over positions of activation times gradient: first-order change of the loss."""
    return products(a, g).abs() / a[0, 0].numel()


@measure("gradients.taylor_square")
def taylor_square(a: Tensor, g: Tensor) -> Tensor:
    """Square of the sum over positions of activation times gradient."""
    return products(a, g).square()


@measure("gradients.norm")
def norm(a: Tensor, g: Tensor) -> Tensor:
    """Euclidean norm over positions of the gradient."""
    return lengths(g)
