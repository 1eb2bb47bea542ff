"""What training minimises: cross entropy, alone or with what the unpruned network says."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.compute import HALVES, Compute
from blendsearch.config import DistillationConfig, TrainingConfig
from blendsearch.errors import ConfigError, DataError, TrainingError
from blendsearch.structure.example import map_tensors


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(softmax(teacher / T) || softmax(student / T)) of logits [N, classes], as mean over images.

    T^2 keeps the gradient's size the same at every temperature.
    Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015, section 2.
    """
    given = F.log_softmax(student / temperature, 1)
    wanted = F.log_softmax(teacher / temperature, 1)
    return temperature**2 * F.kl_div(given, wanted, reduction="batchmean", log_target=True)


class Objective:
    """The loss of a batch: cross entropy with label smoothing.

    classifies: whether outputs are logits, of which the highest is the answer.
    """

    classifies = True

    def __init__(self, training: TrainingConfig) -> None:
        self.label_smoothing = training.label_smoothing

    def watching(self) -> contextlib.AbstractContextManager[object]:
        """Return what surrounds the forward pass, for a loss that looks at more than the logits."""
        return contextlib.nullcontext()

    def __call__(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss; images [N, C, H, W] as the network saw them, logits [N, classes], labels [N]."""
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)


class Distillation(Objective):
    """(1 - weight) of the cross entropy and `weight` of the distance to a teacher's answers to the same images.

    The teacher is copied: the given network keeps its device, memory format and training flags.
    """

    def __init__(
        self, training: TrainingConfig, settings: DistillationConfig, teacher: nn.Module, compute: Compute
    ) -> None:
        super().__init__(training)
        self.settings, self.compute = settings, compute
        self.teacher = compute.place(copy.deepcopy(teacher)).eval()

    def __call__(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad(), self.compute.autocast():
            wanted = self.teacher(images)
        distance = distillation_loss(logits.float(), wanted.float(), self.settings.temperature)
        return (1 - self.settings.weight) * super().__call__(images, logits, labels) + self.settings.weight * distance


class OwnLoss(Objective):
    """A loss of the user's own: a function of outputs and targets, the mean over the batch."""

    classifies = False

    def __init__(self, loss: Callable[[Any, Any], Tensor]) -> None:
        self.loss = loss

    @classmethod
    def of(cls, loss: Callable[[Any, Any], Tensor] | None) -> OwnLoss | None:
        """Return the objective of a loss; None, which leaves it to the settings, where none is given."""
        return None if loss is None else cls(loss)

    def __call__(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch; DataError where it is no scalar."""
        return scalar(self.loss(in_full_precision(logits), labels))


def in_full_precision(outputs: Any) -> Any:
    """Return outputs of any form with those of half precision in float32: no function of a user's expects such."""
    return map_tensors(outputs, lambda one: one.float() if one.dtype in HALVES.values() else one)


def main_answer(outputs: Any) -> Tensor:
    """Return the logits among what a network gives while it trains; TrainingError where there are none.

    Beside auxiliary answers, as GoogLeNet gives them, they are what is called logits, else the first.
    """
    first = outputs[0] if isinstance(outputs, tuple | list) and outputs else outputs
    logits = getattr(outputs, "logits", first)
    if not isinstance(logits, Tensor):
        raise TrainingError(
            f"training: the network gives a {type(outputs).__name__} while it trains, allowed: logits, or a tuple of "
            "which they are the first"
        )
    return logits


def scalar(loss: object) -> Tensor:
    """Return a loss of the user's own as a scalar, float32; DataError where it is none."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        given = f"a tensor of {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise DataError(f"loss: it returned {given}, a tensor with one number, the mean over the batch, expected")
    return loss.float().reshape(())


def make_objective(training: TrainingConfig, teacher: nn.Module | None, compute: Compute) -> Objective:
    """Return the loss that the settings ask for; ConfigError when they ask for a teacher and there is none."""
    if training.distillation is None:
        return Objective(training)
    if teacher is None:
        raise ConfigError(
            "distillation: no teacher given, and there is none to this training (allowed: null, or a training with "
            "the unpruned network as teacher, such as retraining)"
        )
    return Distillation(training, training.distillation, teacher, compute)
