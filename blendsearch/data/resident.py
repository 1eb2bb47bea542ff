"""Splits whose images lie on the device that networks run on, so that a pass copies nothing there."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from blendsearch.compute import Compute
from blendsearch.data.batches import GivenBatches, ImageTensors, Relabelled, Split, StreamedImages, UnlabelledImages
from blendsearch.data.loaders import KeptPairs

MOST_RESIDENT = 2 * 2**30
"""Bytes of images of a split that may lie on a device."""


def resident(split: Split, compute: Compute) -> Split:
    """Return a split that gives the same batches from images kept on the compute's device, decoded, as uint8.

    The split itself on the CPU, where its images take more than MOST_RESIDENT bytes, and where it is of another kind
    than those of this package. Streamed images are read once.
    """
    if compute.kind == "cpu" or _bytes_of(split) > MOST_RESIDENT:
        return split
    if isinstance(split, StreamedImages):
        split = split.held()
    if isinstance(split, Relabelled):
        return Relabelled(resident(split.split, compute), split.labels.to(compute.device))
    if isinstance(split, UnlabelledImages):
        return replace(split, images=compute.images(split.images))
    if isinstance(split, ImageTensors):
        return replace(split, images=compute.images(split.images), labels=split.labels.to(compute.device))
    if isinstance(split, KeptPairs):
        return replace(split, images=compute.images(split.images), targets=split.targets.to(compute.device))
    if isinstance(split, GivenBatches):
        found = copy.copy(split)
        found.images, found.labels = compute.images(split.images), split.labels.to(compute.device)
        return found
    return split


def _bytes_of(split: Split) -> int:
    """Return how many bytes the images of a split take; 0 where it does not say."""
    if isinstance(split, Relabelled):
        return _bytes_of(split.split)
    if isinstance(split, StreamedImages):
        return len(split) * torch.Size(split.shape).numel()
    images = getattr(split, "images", None)
    return images.nbytes if isinstance(images, Tensor) else 0
