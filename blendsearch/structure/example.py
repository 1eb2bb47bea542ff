"""What a network is run on to read its structure, and what comes out of it, in whatever containers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from blendsearch.errors import StructureError

Forward = Callable[[nn.Module, Any], Any]


FAILURES = (RuntimeError, LookupError, ValueError, TypeError, AssertionError, AttributeError, ArithmeticError)
"""What networks raise when their shapes do not fit."""


MOST_CHANNELS = 4
"""Of images of three dimensions: a longer first one counts samples of two dimensions each."""


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
    taken: how many samples were taken of a larger batch; None: the batch is whole.
    """

    batch: Any
    forward: Forward = call
    taken: int | None = None

    def outputs(self, network: nn.Module) -> list[Tensor]:
        """Run the network; return all floating-point tensors of what it returns, in order."""
        found = [one for one in tree_leaves(self.forward(network, self.batch)) if isinstance(one, Tensor)]
        return [one for one in found if one.is_floating_point()]

    def map(self, change: Callable[[Tensor], Tensor]) -> Example:
        """Return the example with every tensor of the batch changed."""
        return replace(self, batch=map_tensors(self.batch, change))

    def take(self, count: int) -> Example:
        """Return the first `count` samples, where the batch is tensors, or a list of samples; else all of it.

        A tensor among others that is not as long as there are samples, such as a template or a size, stays whole.
        """
        samples = self.samples
        if isinstance(self.batch, list) and _are_samples(self.batch):
            return replace(self, batch=self.batch[:count], taken=min(count, samples))
        fields = isinstance(self.batch, tuple | list) and all(isinstance(one, Tensor) for one in self.batch)
        if not (fields or isinstance(self.batch, Tensor)):
            return self
        kept = map_tensors(self.batch, lambda one: one[:count] if one.dim() and len(one) == samples else one)
        return replace(self, batch=kept, taken=min(count, samples))

    @property
    def samples(self) -> int:
        """How many samples the batch holds: as many as a list of them has, else as most of its parts are long.

        Parts are tensors and lists of samples; of lengths as frequent the first counts. 1 where there are none.
        """
        if self.taken is not None:
            return self.taken
        lengths = Counter(_lengths(self.batch, outermost=True))
        return max(lengths, key=lengths.__getitem__, default=1)

    @property
    def images(self) -> Tensor:
        """The batch as images [N, C, H, W]; StructureError where it is something else."""
        if not isinstance(self.batch, Tensor):
            raise StructureError(
                f"example: a {type(self.batch).__name__} given; only where the network takes a tensor of images can "
                "this be done"
            )
        return self.batch


def _lengths(batch: Any, *, outermost: bool = False) -> list[int]:
    """Return how long the parts of a batch are, in order."""
    if isinstance(batch, Tensor):
        return [len(batch)] if batch.dim() else []
    if isinstance(batch, Mapping):
        return [length for part in batch.values() for length in _lengths(part)]
    if not isinstance(batch, tuple | list):
        return []
    if _are_samples(batch) and not (outermost and isinstance(batch, tuple)):
        return [len(batch)]
    return [length for part in batch for length in _lengths(part)]


def _are_samples(parts: tuple[Any, ...] | list[Any]) -> bool:
    """Say whether each part is a sample, as detectors take images, and not an input or a target of all samples.

    A loader that stacks samples itself returns a list, too: of tensors as long as one another.
    """
    if all(isinstance(one, Tensor) for one in parts):
        if len({one.dim() for one in parts}) > 1:
            return False
        return len({one.shape[:1] for one in parts}) != 1 or (parts[0].dim() == 3 and len(parts[0]) <= MOST_CHANNELS)
    return not any(isinstance(one, Tensor | list | int | float) for one in parts)
