"""What a network is for, where that is not to tell classes of images apart: segmentation, detection, several inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from blendsearch.errors import DataError
from blendsearch.structure.example import Example
from blendsearch.training.losses import scalar

Loss = Callable[[Any, Any], Tensor]
UNSUITED = "it is about classes of images, and the network has a loss of its own"
NO_LOSS = "no loss is given, of which gradients could be taken"


@dataclass(frozen=True)
class Task:
    """How a network is run on the user's batches, and what it is to lower.

    forward: (network, batch) -> outputs; None: batches are pairs, and the network is given the first of them.
    loss: (outputs, targets) -> scalar, the mean over the batch's samples; targets are the second of a pair, or, where
    `forward` is given, the whole batch. None: nothing that needs gradients can be measured.
    """

    forward: Callable[[nn.Module, Any], Any] | None = None
    loss: Loss | None = None

    def run(self, network: nn.Module, batch: Any) -> Any:
        """Return the network's outputs."""
        return self.forward(network, batch) if self.forward is not None else network(self.inputs(batch))

    def inputs(self, batch: Any) -> Any:
        """Return what an example of a batch is: all of it, or the first of a pair; DataError where it is no pair."""
        if self.forward is not None:
            return batch
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise DataError(
                f"batches: a {type(batch).__name__} given, allowed: a pair of inputs and targets; other batches take a "
                "function, forward(network, batch)"
            )
        return batch[0]

    def total(self, outputs: Any, batch: Any) -> Tensor:
        """Return the loss summed over the samples; DataError when it is no scalar."""
        assert self.loss is not None
        loss = self.loss(outputs, batch if self.forward is not None else batch[1])
        return scalar(loss) * self.samples(batch)

    def samples(self, batch: Any) -> int:
        """Return how many samples a batch has."""
        return Example(self.inputs(batch)).samples


def unsuited(need: str, task: Task) -> str:
    """Return why a need cannot be measured of a task, or an empty string."""
    family = need.split(".")[0]
    if family == "relevance" or need in ("activations.class_moments", "gradients.hessian_gradient", "weights.flow"):
        return UNSUITED
    return NO_LOSS if family == "gradients" and task.loss is None else ""
