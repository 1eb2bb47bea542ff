"""Accuracy of a network, and batch-norm statistics from data."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from blendsearch.compute import Compute, without_autocast
from blendsearch.data.batches import Split
from blendsearch.errors import DataError, first_line
from blendsearch.training.losses import in_full_precision

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Evaluation:
    """accuracy: share of images classified right, in [0, 1]. loss: mean cross entropy. count: images."""

    accuracy: float
    loss: float
    count: int


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Run a block with a network in evaluation mode; each module's training flag is put back."""
    flags = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in flags.items():
            module.training = training


def evaluate(network: nn.Module, batches: Batches, compute: Compute | None = None) -> Evaluation:
    """Read a network's accuracy and loss in evaluation mode; training flags are put back.

    The network must be on the compute's device. Raises DataError when there is no batch.
    """
    compute = compute or Compute()
    hits, losses = [], []  # on the device: read once, since whoever reads waits for all that was begun there
    count = 0
    with evaluating(network), torch.no_grad(), compute.autocast():  # around all: weights are cast once
        for images, labels in _drawn(batches):
            logits = answer(network, images, compute)
            labels = labels.to(logits.device)
            hits.append((logits.argmax(1) == labels).sum())
            losses.append(F.cross_entropy(logits, labels, reduction="sum"))
            count += len(labels)
    if count == 0:
        raise DataError("evaluation: no image given, at least one expected")
    return Evaluation(_total(hits) / count, _total(losses) / count, count)


def answer(network: nn.Module, images: Tensor, compute: Compute) -> Tensor:
    """Return what a network gives for images, float32 [N, ...], a few of them at once.

    Inside of `evaluating`, without gradients, under the compute's autocast.
    """
    return torch.cat([network(few).float() for few in compute.few(compute.images(images))])


def _drawn(batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches, each made without autocast: what a loader of the user's computes is not the network's."""
    iterator = iter(batches)
    while True:
        with without_autocast():
            batch = next(iterator, None)
        if batch is None:
            return
        yield batch


def _total(values: list[Tensor]) -> float:
    """Return the sum of single numbers, float64, in their order: `sum` rounds otherwise from Python 3.12 on."""
    return functools.reduce(operator.add, torch.stack(values).tolist(), 0.0)


def correct_mask(network: nn.Module, batches: Batches, compute: Compute | None = None) -> Tensor:
    """Tell image by image, in evaluation mode, whether a network classifies it right: bool [N] on the CPU.

    Training flags are put back. Raises DataError when there is no batch.
    """
    return _each(network, batches, compute, lambda classes, labels: classes == labels.to(classes.device), "evaluation")


def score_images(network: nn.Module, split: Split, compute: Compute | None = None) -> Tensor:
    """Return the score of each image of a split, in evaluation mode: float64 [N] on the CPU, in [0, 1].

    1 or 0, classified right or not; where the split has a metric of its own, what that gives: one number an image, or
    one a batch, which then stands for each of its images. Raises DataError for a metric that gives anything else.
    """
    metric = getattr(split, "metric", None)  # splits of files have none
    if metric is None:
        return correct_mask(network, split.batches(500), compute).double()
    compute = compute or Compute()
    found = []
    with evaluating(network), torch.no_grad():
        for images, targets in split.batches(100):
            with compute.autocast():
                outputs = network(compute.images(images))
            found.append(
                _scores_of(metric(in_full_precision(outputs), targets.to(images_device(outputs, compute))), len(images))
            )
    if not found:
        raise DataError("evaluation: no image given, at least one expected")
    return torch.cat(found)


def images_device(outputs: object, compute: Compute) -> torch.device:
    """Return the device on which a network answered."""
    return outputs.device if isinstance(outputs, Tensor) else torch.device(compute.device)


def _scores_of(given: object, images: int) -> Tensor:
    """Return a metric's answer as one score an image, float64 [N]; DataError where it is none."""
    try:
        scores = torch.as_tensor(given).detach().double().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"metric: it returned {type(given).__name__}, allowed: one number, or one an image") from None
    if scores.numel() == 1:
        scores = scores.reshape(1).expand(images)
    if tuple(scores.shape) != (images,):
        raise DataError(
            f"metric: it returned {tuple(scores.shape)} for {images} images, allowed: one number, or one each"
        )
    if not bool(((scores >= 0) & (scores <= 1)).all()):
        odd = scores[~((scores >= 0) & (scores <= 1))][0]
        raise DataError(f"metric: it returned {float(odd):g}, allowed: 0 to 1, higher is better")
    return scores


def predict(network: nn.Module, batches: Batches, compute: Compute | None = None) -> Tensor:
    """Return the class that a network gives each image, in evaluation mode: int64 [N] on the CPU.

    Training flags are put back. Raises DataError when there is no batch.
    """
    return _each(network, batches, compute, lambda classes, labels: classes, "prediction")


def _each(
    network: nn.Module,
    batches: Batches,
    compute: Compute | None,
    read: Callable[[Tensor, Tensor], Tensor],
    task: str,
) -> Tensor:
    """Return what is read from each batch's predicted classes and labels, put together on the CPU."""
    compute = compute or Compute()
    found = []
    with evaluating(network), torch.no_grad(), compute.autocast():
        for images, labels in _drawn(batches):
            logits = answer(network, images, compute)
            found.append(read(logits.argmax(1), labels))
    if not found:
        raise DataError(f"{task}: no image given, at least one expected")
    return torch.cat(found).cpu()  # once: whoever reads waits for all that was begun on the device


def recalibrate(network: nn.Module, batches: Batches, compute: Compute | None = None) -> None:
    """Replace the batch norms' running statistics by their averages over the batches, in place; images count alike.

    So a small last batch weighs as little as it is. Momentum and training flags are put back. Only batch norms run in
    training mode: dropout stays off. A last batch of one image, of which a norm may see a single value, is taken
    together with the one before it.
    Raises DataError when there is no batch, and for a batch of one image where a norm needs two.
    Source: Li et al., EagleEye, ECCV 2020.
    """
    compute = compute or Compute()
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    handles: list[RemovableHandle] = []
    count = 0
    try:
        with evaluating(network), torch.no_grad(), compute.autocast():
            for norm in norms:
                norm.train()
                norm.reset_running_stats()
                handles.append(norm.register_forward_pre_hook(_weight_of_next_batch(), with_kwargs=True))
            for images in _none_alone(images for images, _ in _drawn(batches)):
                _pass(network, compute.images(images))
                count += len(images)
    finally:
        for handle in handles:
            handle.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    if count == 0:
        raise DataError("recalibration: no image given, at least one expected")


def _none_alone(batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yield the batches; a last one of a single image comes with the one before it."""
    held: list[Tensor] = []
    for images in batches:
        if len(held) == 2:
            yield held.pop(0)
        held.append(images)
    yield from [torch.cat(held)] if len(held) == 2 and len(held[1]) == 1 else held


def _pass(network: nn.Module, images: Tensor) -> None:
    """Run a network on a batch; DataError where that is one image, and a norm needs two."""
    try:
        network(images)
    except ValueError as error:
        if len(images) > 1:
            raise
        raise DataError(
            f"recalibration: one image given, of which a norm has no statistics ({first_line(error)}), at least two "
            "expected"
        ) from error


def _weight_of_next_batch() -> Callable[[Any, Any, Any], None]:
    """Return a hook that sets the momentum with which a norm takes in a batch: its share of the images so far.

    Of equal batches that is torch's own cumulative average, which counts calls instead, and reads their number from the
    device each time, and waits for it.
    """
    seen = 0

    def hook(norm: Any, inputs: Any, named: Any) -> None:
        nonlocal seen
        count = len(inputs[0] if inputs else named["input"])
        seen += count
        norm.momentum = count / seen

    return hook
