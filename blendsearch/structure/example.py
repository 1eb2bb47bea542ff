"""What a network is run on to read its structure, and what comes out of it, in whatever containers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from blendsearch.errors import StructureError

Forward = Callable[[nn.Module, Any], Any]


FAILURES = (RuntimeError, LookupError, ValueError, TypeError, AssertionError, AttributeError, ArithmeticError)
"""What networks raise when their shapes do not fit."""


def call(network: nn.Module, batch: Any) -> Any:
    """Give the batch to the network as its one argument."""
    return network(batch)


def map_tensors(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a batch of any form with every tensor in it changed."""
    return tree_map(lambda one: change(one) if isinstance(one, Tensor) else one, batch)


@dataclass(frozen=True)
class Example:
    """A batch, and how a network is run on it.

    batch: images [N, C, H, W], or whatever `forward(network, batch)` takes, such as a tuple, a dict or a list.
    """

    batch: Any
    forward: Forward = call

    def outputs(self, network: nn.Module) -> list[Tensor]:
        """Run the network; return all floating-point tensors of what it returns, in order."""
        found = [one for one in tree_leaves(self.forward(network, self.batch)) if isinstance(one, Tensor)]
        return [one for one in found if one.is_floating_point()]

    def map(self, change: Callable[[Tensor], Tensor]) -> Example:
        """Return the example with every tensor of the batch changed."""
        return replace(self, batch=map_tensors(self.batch, change))

    def take(self, count: int) -> Example:
        """Return the first `count` samples, where the batch is a tensor or a list of samples; else all of it."""
        if isinstance(self.batch, Tensor):
            return replace(self, batch=self.batch[:count])
        if isinstance(self.batch, tuple) and all(isinstance(one, Tensor) and one.dim() for one in self.batch):
            return replace(self, batch=tuple(one[:count] for one in self.batch))
        return replace(self, batch=self.batch[:count]) if isinstance(self.batch, list) else self

    @property
    def samples(self) -> int:
        """How many samples the batch holds: the length of a list, else of its first tensor."""
        if isinstance(self.batch, list):
            return len(self.batch)
        first = next((one for one in tree_leaves(self.batch) if isinstance(one, Tensor) and one.dim()), None)
        return 1 if first is None else len(first)

    @property
    def images(self) -> Tensor:
        """The batch as images [N, C, H, W]; StructureError where it is something else."""
        if not isinstance(self.batch, Tensor):
            raise StructureError(
                f"example: a {type(self.batch).__name__} given; only where the network takes a tensor of images can "
                "this be done"
            )
        return self.batch
