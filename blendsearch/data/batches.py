"""Splits that give seeded batches: images held in memory, images streamed from disk, or batches of your own."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from blendsearch.compute import generator as seeded
from blendsearch.data.augmentation import Augmentation
from blendsearch.errors import DataError, first_line


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

    def subset(self, index: Tensor) -> Split:
        """Return the images at `index`, int64 [M], in that order."""


def balanced(labels: Tensor, count: int) -> Tensor:
    """Return `count` indices, the first of each class before the second of any, in that order."""
    place = torch.empty_like(labels)
    for label in labels.unique():
        own = labels == label
        place[own] = torch.arange(int(own.sum()))
    return torch.argsort(place * (int(labels.max()) + 1) + labels, stable=True)[:count]


def normalised(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return uint8 images [B, C, H, W] as float32, scaled to [0, 1], less `mean`, over `std` of each channel."""
    offset, scale = (_of_channels(tuple(one), images.device) for one in (mean, std))
    return (images.float() - offset) / scale


@functools.lru_cache(maxsize=32)
def _of_channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return a number a channel, of pixels from 0 to 255 [1, C, 1, 1]; kept, as copies to a device are waited for."""
    return (torch.tensor(values).view(1, -1, 1, 1) * 255).to(device)


def order_of(count: int, seed: int | None, device: torch.device | str = "cpu") -> Tensor:
    """Return the order of a pass, int64 [count]: as stored, or shuffled by a seed, the same on every device."""
    if seed is None:
        return torch.arange(count, device=device)
    return torch.randperm(count, generator=seeded(seed, "order")).to(device)


def _in_memory(
    split: ImageTensors | UnlabelledImages, batch_size: int, *, seed: int | None, augment: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of one pass over images that a split keeps, as it keeps them; see Split."""
    draws = seeded(seed or 0, "augmentation")
    for index in order_of(len(split), seed, split.images.device).split(batch_size):
        images = split.images[index]
        yield split.augmentation(images, draws) if augment else images, split.labels[index]


@dataclass(frozen=True)
class ImageTensors:
    """Images kept decoded in memory: uint8 [N, C, H, W], normalised when a batch is made.

    mean, std: one number per channel, for images scaled to [0, 1].
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self, batch_size: int, *, seed: int | None = None, augment: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one pass; see Split."""
        for images, labels in _in_memory(self, batch_size, seed=seed, augment=augment):
            yield normalised(images, self.mean, self.std), labels

    def take(self, count: int) -> ImageTensors:
        """Return `count` class-balanced images."""
        return self.subset(balanced(self.labels, count))

    def subset(self, index: Tensor) -> ImageTensors:
        """Return the images at `index`."""
        return replace(self, images=self.images[index], labels=self.labels[index])


@dataclass(frozen=True)
class Relabelled:
    """The images of a split with other labels, int64 [N], in its stored order."""

    split: Split
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self, batch_size: int, *, seed: int | None = None, augment: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one pass; see Split."""
        places = order_of(len(self), seed, self.labels.device).split(batch_size)
        for (images, _), index in zip(self.split.batches(batch_size, seed=seed, augment=augment), places, strict=True):
            yield images, self.labels[index]

    def take(self, count: int) -> Relabelled:
        """Return `count` images, balanced by these labels."""
        return self.subset(balanced(self.labels, count))

    def subset(self, index: Tensor) -> Relabelled:
        """Return the images at `index`."""
        return Relabelled(self.split.subset(index), self.labels[index])


class ChosenImages(Dataset[tuple[Tensor, int]]):
    """Some images of a dataset, each checked as it is read: whoever wrote it, what is amiss is one line.

    labels: of the whole dataset. index: the numbers of the images. shape: [C, H, W] of all of them.
    """

    def __init__(
        self, dataset: Dataset[Any], labels: Tensor, index: Sequence[int], shape: tuple[int, int, int]
    ) -> None:
        self.dataset, self.labels, self.index, self.shape = dataset, labels, index, shape

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        """Return an image, uint8 [C, H, W], and its label; DataError for one that is of another form."""
        number, shape = self.index[position], self.shape
        try:
            image, label = self.dataset[number]
            label = int(label)
        except DataError:
            raise
        except Exception as error:  # whatever a stranger's dataset does wrong
            reason = " ".join(str(error).split())
            raise DataError(f"data: image {number} cannot be read ({type(error).__name__}: {reason})") from error
        if not isinstance(image, Tensor) or image.dtype != torch.uint8 or tuple(image.shape) != shape:
            form = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
            raise DataError(f"data: image {number} is {form}, allowed: a tensor torch.uint8 {shape} (CxHxW)")
        if label != int(self.labels[number]):
            raise DataError(f"data: image {number} comes with label {label}, its part says {int(self.labels[number])}")
        return image, label


@dataclass(frozen=True)
class StreamedImages:
    """Images decoded anew in each pass by DataLoader workers, for sets that do not fit into memory.

    dataset: gives (image uint8 [C, H, W], label) by number. index: which of its images belong to this split.
    """

    dataset: Dataset[Any]
    all_labels: Tensor
    index: Tensor
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation = field(default_factory=Augmentation)
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
        draws = seeded(seed or 0, "augmentation")
        for images, labels in self._decoded(batch_size, seed):
            if augment:
                images = self.augmentation(images, draws)
            yield normalised(images, self.mean, self.std), labels

    def _decoded(self, batch_size: int, seed: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one pass as they are read, uint8."""
        chosen: Sequence[int] = self.index[order_of(len(self), seed)].tolist()
        # A generator of its own, since a DataLoader otherwise draws from the global one.
        loader: DataLoader[Any] = DataLoader(
            ChosenImages(self.dataset, self.all_labels, chosen, self.shape),
            batch_size=batch_size,
            num_workers=self.workers,
            generator=seeded(seed or 0, "loader"),
        )
        yield from in_one_line(loader)

    def held(self) -> ImageTensors:
        """Return the images as one pass gives them, kept in memory: what is read a thousand times."""
        images = torch.cat([batch for batch, _ in self._decoded(100, None)])
        return ImageTensors(images, self.labels, self.mean, self.std, self.augmentation)

    def take(self, count: int) -> StreamedImages:
        """Return `count` class-balanced images."""
        return self.subset(balanced(self.labels, count))

    def subset(self, index: Tensor) -> StreamedImages:
        """Return the images at `index` of this split."""
        return replace(self, index=self.index[index])


def in_one_line(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches; an error of a worker process comes without that process's traceback."""
    try:
        yield from loader
    except DataError as error:
        told = error.given.strip().splitlines()[-1]
        raise DataError(told.removeprefix("blendsearch.errors.DataError: ")) from None


@dataclass(frozen=True)
class UnlabelledImages:
    """Images without labels, float32 [N, C, H, W], normalised, kept in memory; 0 stands for every label."""

    images: Tensor
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def labels(self) -> Tensor:
        """Zeros, int64 [N]."""
        return torch.zeros(len(self), dtype=torch.long, device=self.images.device)

    def __len__(self) -> int:
        return len(self.images)

    def batches(
        self, batch_size: int, *, seed: int | None = None, augment: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one pass; see Split. Crops are padded with the mean colour."""
        yield from _in_memory(self, batch_size, seed=seed, augment=augment)

    def take(self, count: int) -> UnlabelledImages:
        """Return the first `count` images."""
        return self.subset(torch.arange(min(count, len(self))))

    def subset(self, index: Tensor) -> UnlabelledImages:
        """Return the images at `index`."""
        return replace(self, images=self.images[index])


class GivenBatches:
    """A split made of your own batches of (images, labels), which are kept in memory as they are.

    images: float [B, C, H, W], already normalised. labels: class indices [B]. name: what they were given as, for
    messages. Raises DataError when there is no image, and for a batch that is of another form or size than the first.
    """

    def __init__(self, batches: Iterable[tuple[Tensor, Tensor]], name: str = "batches") -> None:
        pairs = [checked_batch(batch, number, name) for number, batch in enumerate(batches)]
        if sum(len(labels) for _, labels in pairs) == 0:
            raise DataError(f"{name}: no image given; at least one batch of (images, labels) is needed")
        for number, (images, _) in enumerate(pairs):
            if images.shape[1:] != pairs[0][0].shape[1:]:
                raise DataError(
                    f"{name}: batch {number} has images of shape {tuple(images.shape[1:])}, "
                    f"the first has {tuple(pairs[0][0].shape[1:])}"
                )
        self.images = torch.cat([images for images, _ in pairs])
        self.labels = torch.cat([labels for _, labels in pairs])

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self, batch_size: int, *, seed: int | None = None, augment: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one pass; see Split. There is nothing to augment with."""
        for index in order_of(len(self), seed, self.images.device).split(batch_size):
            yield self.images[index], self.labels[index]

    def take(self, count: int) -> GivenBatches:
        """Return `count` class-balanced images."""
        return self.subset(balanced(self.labels, count))

    def subset(self, index: Tensor) -> GivenBatches:
        """Return the images at `index`."""
        return GivenBatches([(self.images[index], self.labels[index])])


def checked_batch(batch: Any, number: int, name: str = "batches") -> tuple[Tensor, Tensor]:
    """Return a batch's images as float32 and its labels as int64, both on the CPU; DataError for another form."""
    if not isinstance(batch, Sequence) or len(batch) != 2 or not isinstance(batch[0], Tensor):
        raise DataError(f"{name}: batch {number} is {type(batch).__name__}, a pair (images, labels) is needed")
    try:
        labels = torch.as_tensor(batch[1]).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        reason = first_line(error)
        raise DataError(
            f"{name}: batch {number} has labels that are no numbers ({reason}), allowed: class indices"
        ) from None
    images = batch[0].detach().cpu()
    if images.dim() != 4 or not images.is_floating_point():
        raise DataError(
            f"{name}: batch {number} has images {images.dtype} of shape {tuple(images.shape)}, "
            "allowed: normalised floating-point images [B, C, H, W]"
        )
    if labels.dim() != 1 or len(labels) != len(images) or labels.is_floating_point():
        raise DataError(
            f"{name}: batch {number} has labels {labels.dtype} of shape {tuple(labels.shape)} for {len(images)} "
            "images, allowed: one class index an image"
        )
    return images.float(), labels.long()
