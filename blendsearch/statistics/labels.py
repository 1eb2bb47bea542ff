"""Images, their labels and what a network returns, checked before anything is made of them."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from blendsearch.errors import DataError, StructureError

FEW_CLASSES = 0.8
"""Below this share of the classes that shuffled images would show, the first images are said not to be shuffled."""


def check_finite(images: Tensor, before: int) -> None:
    """Raise DataError for images [N, ...] with values that are not finite, by number; before: how many came before."""
    finite = torch.isfinite(images)
    if not bool(finite.all()):
        first = int((~finite.flatten(1).all(1)).nonzero()[0])
        raise DataError(
            f"statistics: calibration image {before + first} (from 0) holds NaN or infinity, finite numbers expected"
        )


def check_integers(labels: Tensor, images: int) -> None:
    """Raise DataError unless `labels` are integers [N] from 0, one for each of the images."""
    if labels.dim() != 1 or labels.is_floating_point():
        raise DataError(f"statistics: labels must be integers [N]; given {labels.dtype} {tuple(labels.shape)}")
    if len(labels) != images or int(labels.min()) < 0:
        raise DataError(
            f"statistics: {len(labels)} labels from {int(labels.min())} to {int(labels.max())} given for {images} "
            "images; one label an image, from 0, allowed"
        )


def check_loss(logits: Tensor) -> None:
    """Raise StructureError where cross entropy says nothing: with one logit it is zero whatever the network gives."""
    if logits.shape[1] == 1:
        raise StructureError("the network has one output, whose cross entropy is always zero: the loss has no gradient")


def check_labels(logits: object, labels: Tensor) -> None:
    """Raise DataError unless `logits` are [N, classes] and `labels` integers [N] from 0 to classes - 1."""
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError(f"statistics: the network must return logits [N, classes]; it returned {shape}")
    check_integers(labels, len(logits))
    if int(labels.max()) >= logits.shape[1]:
        raise DataError(
            f"statistics: {len(labels)} labels from {int(labels.min())} to {int(labels.max())} given for logits "
            f"{tuple(logits.shape)}; one label an image from 0 to {logits.shape[1] - 1} allowed"
        )


class OrderOfClasses:
    """Notices data that come class by class, of which measures that look at the first images alone see few classes."""

    def __init__(self) -> None:
        self.labels: list[int] = []

    def add(self, labels: Tensor) -> None:
        """Take the labels of a batch, integers [N]."""
        self.labels += labels.tolist()

    def warn(self, limits: Iterable[int]) -> None:
        """Warn of the largest of the limits, in images, whose first images show too few of the classes."""
        seen = Counter(self.labels)
        for limit in sorted({one for one in limits if one < len(self.labels)}, reverse=True):
            first = len(set(self.labels[:limit]))
            if first < FEW_CLASSES * classes_if_shuffled(list(seen.values()), limit):
                warnings.warn(
                    f"statistics: the first {limit} calibration images are of {first} of the {len(seen)} classes, and "
                    "some criteria look at these alone: give the images shuffled",
                    stacklevel=2,
                )
                return


def classes_if_shuffled(counts: list[int], first: int) -> float:
    """Return how many classes the first images show on average, if shuffled; counts: images of each class."""
    left = sum(counts) - first

    def missed(count: int) -> float:
        """Return the share of the draws of `first` images that hold none of a class."""
        if count > left:
            return 0.0
        log = math.lgamma
        ways = log(left + 1) - log(left - count + 1), log(left + first + 1) - log(left + first - count + 1)
        return math.exp(ways[0] - ways[1])

    return sum(1 - missed(count) for count in counts)
