"""What is measured on feature maps: each measure is one number per sample and filter, averaged over the samples.

A measure sees a batch of feature maps `a` [N, C, H, W] and, in the "gradients" family, the gradient `g` of each
sample's own loss with respect to them. Averages are streamed in float64, so memory does not grow with the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from blendsearch.registry import Registry


@dataclass(frozen=True)
class Measure:
    """A named per-sample quantity: `per_sample(a, g)` -> [N, C].

    limit: only the first `limit` images are measured (None: all), for measures too costly for every image.
    """

    name: str
    per_sample: Callable[[Tensor, Tensor], Tensor]
    limit: int | None = None

    @property
    def uses_gradients(self) -> bool:
        """Whether a backward pass is needed."""
        return self.name.startswith("gradients.")


MEASURES: Registry[Measure] = Registry("measure", "measures")


def measure(name: str, limit: int | None = None) -> Callable[[Callable[[Tensor, Tensor], Tensor]], Measure]:
    """Register a function `(a, g) -> [N, C]` as the measure `name` ("activations.x" or "gradients.x")."""

    def add(function: Callable[[Tensor, Tensor], Tensor]) -> Measure:
        return MEASURES.register(name)(Measure(name, function, limit))

    return add


@measure("activations.mean")
def mean(a: Tensor, g: Tensor) -> Tensor:
    """Mean over positions."""
    return a.mean((2, 3))


@measure("activations.square")
def square(a: Tensor, g: Tensor) -> Tensor:
    """Mean square over positions."""
    return a.square().mean((2, 3))


@measure("activations.zeros")
def zeros(a: Tensor, g: Tensor) -> Tensor:
    """Share of positions that are not positive (zero after a ReLU)."""
    return (a <= 0).to(a.dtype).mean((2, 3))


@measure("activations.map_rank", limit=128)
def map_rank(a: Tensor, g: Tensor) -> Tensor:
    """Matrix rank of each feature map."""
    return torch.linalg.matrix_rank(a).to(a.dtype)


@measure("gradients.taylor")
def taylor(a: Tensor, g: Tensor) -> Tensor:
    """Absolute mean over positions of activation times gradient: first-order change of the loss."""
    return (a * g).mean((2, 3)).abs()


@measure("gradients.taylor_square")
def taylor_square(a: Tensor, g: Tensor) -> Tensor:
    """Square of the sum over positions of activation times gradient."""
    return (a * g).sum((2, 3)).square()


@measure("gradients.norm")
def norm(a: Tensor, g: Tensor) -> Tensor:
    """Euclidean norm over positions of the gradient."""
    return g.square().sum((2, 3)).sqrt()
