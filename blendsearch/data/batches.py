"""Splits that give seeded batches: images held in memory, images streamed from disk, or batches of your own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from blendsearch.compute import generator as seeded
from blendsearch.data.augmentation import Augmentation
from blendsearch.errors import DataError


class Split(Protocol):
    """A part of the data.

    batches: float32 normalised images [B, C, H, W] and int64 labels [B]. Without a seed in stored order; with one,
    shuffled by it. One seed gives one order and one augmentation, so an epoch depends on its seed alone.
    """

    @property
    def labels(self) -> Tensor:
        """All labels, int64 [N], in stored order."""

    def __len__(self) -> int: ...

    def batches(
        self, batch_size: int, *, seed: int | None = None, augment: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one pass."""

    def take(self, count: int) -> Split:
        """Return `count` images with the classes as even as possible; always the same ones."""


def balanced(labels: Tensor, count: int) -> Tensor:
    """Return `count` indices, the first of each class before the second of any, in that order."""
    place = torch.empty_like(labels)
    for label in labels.unique():
        own = labels == label
        place[own] = torch.arange(int(own.sum()))
    return torch.argsort(place * (int(labels.max()) + 1) + labels, stable=True)[:count]


def _order(count: int, seed: int | None) -> Tensor:
    return torch.arange(count) if seed is None else torch.randperm(count, generator=seeded(seed, "order"))


@dataclass(frozen=True)
class ImageTensors:
    """Images kept decoded in memory: uint8 [N, C, H, W], normalised when a batch is made.

    mean, std: one number per channel, for images scaled to [0, 1].
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation = Augmentation()

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self, batch_size: int, *, seed: int | None = None, augment: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one pass; see Split."""
        draws = seeded(seed or 0, "augmentation")
        for index in _order(len(self), seed).split(batch_size):
            images = self.images[index]
            if augment:
                images = self.augmentation(images, draws)
            yield self._normalised(images), self.labels[index]

    def _normalised(self, images: Tensor) -> Tensor:
        mean = torch.tensor(self.mean).view(1, -1, 1, 1) * 255
        std = torch.tensor(self.std).view(1, -1, 1, 1) * 255
        return (images.float() - mean) / std

    def take(self, count: int) -> ImageTensors:
        """Return `count` class-balanced images."""
        return self.subset(balanced(self.labels, count))

    def subset(self, index: Tensor) -> ImageTensors:
        """Return the images at `index`."""
        return replace(self, images=self.images[index], labels=self.labels[index])


@dataclass(frozen=True)
class StreamedImages:
    """Images decoded anew in each pass by DataLoader workers, for sets that do not fit into memory.

    dataset: gives (image uint8 [C, H, W], label). index: which of its images belong to this split.
    """

    dataset: Dataset[Any]
    all_labels: Tensor
    index: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation = Augmentation()
    workers: int = 2

    @property
    def labels(self) -> Tensor:
        """All labels, int64 [N]."""
        return self.all_labels[self.index]

    def __len__(self) -> int:
        return len(self.index)

    def batches(
        self, batch_size: int, *, seed: int | None = None, augment: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one pass; see Split."""
        chosen: Sequence[int] = self.index[_order(len(self), seed)].tolist()
        loader: DataLoader[Any] = DataLoader(
            Subset(self.dataset, chosen), batch_size=batch_size, num_workers=self.workers
        )
        draws = seeded(seed or 0, "augmentation")
        held = ImageTensors(torch.empty(0), torch.empty(0), self.mean, self.std)
        for images, labels in loader:
            yield held._normalised(self.augmentation(images, draws) if augment else images), labels

    def take(self, count: int) -> StreamedImages:
        """Return `count` class-balanced images."""
        return self.subset(balanced(self.labels, count))

    def subset(self, index: Tensor) -> StreamedImages:
        """Return the images at `index` of this split."""
        return replace(self, index=self.index[index])


class GivenBatches:
    """A split made of your own batches of (images, labels), which are kept in memory as they are.

    images: float [B, C, H, W], already normalised. Raises DataError when there is no image.
    """

    def __init__(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        pairs = list(batches)
        if not pairs:
            raise DataError("batches: no batch given; at least one of (images, labels) is needed")
        self.images = torch.cat([images.detach().cpu().float() for images, _ in pairs])
        self.labels = torch.cat([torch.as_tensor(labels).detach().cpu().long() for _, labels in pairs])

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self, batch_size: int, *, seed: int | None = None, augment: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one pass; see Split. There is nothing to augment with."""
        for index in _order(len(self), seed).split(batch_size):
            yield self.images[index], self.labels[index]

    def take(self, count: int) -> GivenBatches:
        """Return `count` class-balanced images."""
        index = balanced(self.labels, count)
        return GivenBatches([(self.images[index], self.labels[index])])
