"""Loaders that are handed over in Python, as splits: read by number where they can be, else kept in memory."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from blendsearch.compute import child_seed, drawing_from
from blendsearch.compute import generator as seeded
from blendsearch.config import DataConfig
from blendsearch.data.batches import GivenBatches, Split, balanced, checked_batch, in_one_line, order_of
from blendsearch.data.splits import (
    FINGERPRINTED,
    SEARCH,
    Splits,
    check_every_class_trains,
    default_counts,
    draw_parts,
)
from blendsearch.errors import DataError, first_line
from blendsearch.progress import Progress, silent, tell

LABELS = ("targets", "labels", "_labels")
"""Attributes under which datasets keep all labels."""
Metric = Callable[[Any, Any], Any]
"""(outputs, targets) -> one number for the batch or one for each image, 0 to 1, higher is better."""
MOST_IN_MEMORY = 4 * 2**30
"""Bytes of images that a loader without numbered images may hold."""
PROBED = 8
"""How many labels of a dataset's own list are compared with what its images come with, and how many images with what
they are when they are read again."""
WHOLE = (SequentialSampler, RandomSampler, WeightedRandomSampler, DistributedSampler)
"""Samplers that say in which order, how often or where items are read, not which there are."""
MOST_YIELDED = 100
"""How many numbers an item a sampler may yield in one pass; one that goes on for ever yields more."""


class SeededItems(Dataset[Any]):
    """Some items of a dataset, each drawn from a seed of its own: random changes come out alike in every process."""

    def __init__(self, dataset: Any, numbers: Sequence[int], seed: int, name: str) -> None:
        self.dataset, self.numbers, self.seed, self.name = dataset, numbers, seed, name

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, position: int) -> Any:
        """Return an item; DataError, which names its number, where the dataset raises anything."""
        number = self.numbers[position]
        try:
            with drawing_from(child_seed(self.seed, "item", number)):
                return self.dataset[number]
        except DataError:
            raise
        except Exception as error:  # whatever a stranger's dataset does wrong
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise DataError(f"{self.name}: item {number} of its dataset cannot be read ({reason})") from error


@dataclass(frozen=True)
class Collated:
    """A loader's own function that puts items into a batch; what it raises is one line."""

    collate: Callable[[list[Any]], Any]
    name: str

    def __call__(self, items: list[Any]) -> Any:
        try:
            return self.collate(items)
        except Exception as error:  # whatever a stranger's function does wrong
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise DataError(f"{self.name}: its items cannot be put into a batch ({reason})") from error


@dataclass(frozen=True)
class LoaderImages:
    """Images of a loader over a map-style dataset, read anew in each pass; the dataset itself normalises and augments.

    dataset, collate, workers: the loader's own. all_labels: int64 [N] of the whole dataset. index: which of its items
    belong to this split. name: what the loader was given as, for messages. metric: scores outputs against targets,
    which are then of any form; labels are zeros.
    """

    dataset: Any
    collate: Callable[[list[Any]], Any]
    workers: int
    all_labels: Tensor
    index: Tensor
    name: str
    metric: Metric | None = None

    @property
    def labels(self) -> Tensor:
        """All labels, int64 [N]."""
        return self.all_labels[self.index]

    def __len__(self) -> int:
        return len(self.index)

    def batches(
        self, batch_size: int, *, seed: int | None = None, augment: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one pass; see Split. Without a seed random changes are drawn alike in every pass."""
        numbers = self.index[order_of(len(self), seed)].tolist()
        for number, batch in enumerate(in_one_line(self._loader(numbers, batch_size, seed or 0))):
            yield read_pair(batch, number, self.name) if self.metric else checked_batch(batch, number, self.name)

    def _loader(self, numbers: Sequence[int], batch_size: int, seed: int) -> DataLoader[Any]:
        return DataLoader(
            SeededItems(self.dataset, numbers, seed, self.name),
            batch_size=batch_size,
            num_workers=self.workers,
            collate_fn=Collated(self.collate, self.name),
            generator=seeded(seed, "loader"),
        )

    def varies(self) -> bool:
        """Tell whether the dataset changes images at random: whether some are others when they are read again."""
        some = self.index[torch.linspace(0, len(self) - 1, PROBED).long().unique()].tolist()
        one, other = (next(in_one_line(self._loader(some, PROBED, seed)))[0] for seed in (0, 1))
        return not torch.equal(one, other)

    def take(self, count: int) -> LoaderImages:
        """Return `count` class-balanced images."""
        return self.subset(balanced(self.labels, count))

    def subset(self, index: Tensor) -> LoaderImages:
        """Return the images at `index` of this split."""
        return replace(self, index=self.index[index])

    def held(self) -> GivenBatches | KeptPairs:
        """Return the images as one pass gives them, kept in memory: what is read a thousand times."""
        if self.metric is not None:
            return KeptPairs.of(self.batches(100), self.name, self.metric)
        return GivenBatches(self.batches(100), self.name)


@dataclass(frozen=True)
class KeptPairs:
    """Images [N, C, H, W] and targets [N, ...] of any form, kept in memory, which a metric scores; labels are zeros."""

    images: Tensor
    targets: Tensor
    metric: Metric

    @classmethod
    def of(cls, pairs: Iterable[tuple[Tensor, Tensor]], name: str, metric: Metric) -> KeptPairs:
        """Put batches together; DataError when there is none, or when they are of different forms."""
        images, targets = zip(*pairs, strict=True) if (pairs := list(pairs)) else ((), ())
        try:
            return cls(torch.cat(images), torch.cat(targets), metric)
        except (RuntimeError, ValueError) as error:
            raise DataError(f"{name}: its batches cannot be put together ({first_line(error)})") from None

    @property
    def labels(self) -> Tensor:
        """Zeros, int64 [N]."""
        return torch.zeros(len(self), dtype=torch.long)

    def __len__(self) -> int:
        return len(self.images)

    def batches(
        self, batch_size: int, *, seed: int | None = None, augment: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one pass; see Split. There is nothing to augment with."""
        for index in order_of(len(self), seed, self.images.device).split(batch_size):
            yield self.images[index], self.targets[index]

    def take(self, count: int) -> KeptPairs:
        """Return the first `count` images."""
        return self.subset(torch.arange(min(count, len(self))))

    def subset(self, index: Tensor) -> KeptPairs:
        """Return the images at `index`."""
        return replace(self, images=self.images[index], targets=self.targets[index])


def read_pair(batch: Any, number: int, name: str) -> tuple[Tensor, Tensor]:
    """Return a batch's images as float32 and its targets as they are, on the CPU; DataError for another form."""
    if not isinstance(batch, Sequence) or len(batch) != 2 or not all(isinstance(one, Tensor) for one in batch):
        raise DataError(
            f"{name}: batch {number} is {type(batch).__name__}, a pair of tensors (images, targets) is needed"
        )
    images, targets = (one.detach().cpu() for one in batch)
    if images.dim() != 4 or not images.is_floating_point() or len(targets) != len(images):
        raise DataError(
            f"{name}: batch {number} has images {images.dtype} of shape {tuple(images.shape)} and targets of shape "
            f"{tuple(targets.shape)}, allowed: normalised floating-point images [B, C, H, W] and targets [B, ...]"
        )
    return images.float(), targets


def read_loader(
    loader: Any, name: str, progress: Progress = silent, metric: Metric | None = None
) -> LoaderImages | GivenBatches | KeptPairs:
    """Return a loader as a split, all of its items whatever order it has; DataError for what gives no labelled images.

    Which items are its own, its sampler says.
    A DataLoader over a map-style dataset is read by number, so that its images need not fit into memory; any other
    iterable of (images, labels) is read once and kept.
    """
    dataset = getattr(loader, "dataset", None)
    numbered = isinstance(loader, DataLoader) and not isinstance(dataset, IterableDataset)
    if not numbered or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        return _kept(loader, name, metric)
    count = len(dataset)  # type: ignore[arg-type]
    if count == 0:
        raise DataError(f"{name}: its dataset is empty")
    whole = LoaderImages(
        dataset=dataset,
        collate=loader.collate_fn,
        workers=loader.num_workers,
        all_labels=torch.zeros(count, dtype=torch.long),
        index=_yielded(loader, count, name),
        name=name,
        metric=metric,
    )
    return whole if metric is not None else replace(whole, all_labels=_labels(whole, count, progress))


def _yielded(loader: DataLoader[Any], count: int, name: str) -> Tensor:
    """Return the numbers of a dataset's items, of `count`, that a loader's sampler yields, each once and in order."""
    batches: Any = loader.batch_sampler
    sampler = loader.sampler if batches is None else batches.sampler if type(batches) is BatchSampler else None
    if type(sampler) in WHOLE:
        return torch.arange(count)
    most = MOST_YIELDED * count
    with drawing_from(0):
        found = list(islice(chain.from_iterable(batches) if sampler is None else sampler, most + 1))
    if not found:
        raise DataError(f"{name}: its sampler yields no item, allowed: at least one")
    if len(found) > most:
        raise DataError(f"{name}: its sampler yields more than {most} numbers for {count} items, allowed: an end")
    for one in found:
        if not hasattr(one, "__index__") or not 0 <= operator.index(one) < count:
            raise DataError(
                f"{name}: its sampler yields {one!r}, allowed: numbers of its dataset's items, 0 to {count - 1}"
            )
    return torch.tensor(sorted({operator.index(one) for one in found}))


def _kept(loader: Any, name: str, metric: Metric | None) -> GivenBatches | KeptPairs:
    if not hasattr(loader, "__iter__"):
        raise DataError(
            f"{name}: {type(loader).__name__} given, allowed: a DataLoader or an iterable of (images, labels)"
        )

    def limited() -> Iterator[Any]:
        size = 0
        for number, batch in enumerate(loader):
            images, labels = (checked_batch if metric is None else read_pair)(batch, number, name)
            size += images.nbytes
            if size > MOST_IN_MEMORY:
                raise DataError(
                    f"{name}: its images take more than {MOST_IN_MEMORY // 2**30} GiB, and they cannot be read by "
                    "number; give a DataLoader over a map-style dataset, with __getitem__ and __len__"
                )
            yield images, labels

    return GivenBatches(limited(), name) if metric is None else KeptPairs.of(limited(), name, metric)


def _labels(images: LoaderImages, count: int, progress: Progress) -> Tensor:
    """Return the labels of all items, from the dataset's own list where that tells the truth, else by reading all."""
    listed = _listed(images.dataset)
    if listed is not None and len(listed) == count:
        probe = torch.linspace(0, len(images.index) - 1, PROBED).long().unique()
        seen = torch.cat([labels for _, labels in replace(images, index=images.index[probe]).batches(PROBED)])
        if bool((listed[images.index[probe]] == seen).all()):
            return listed
    labels, done = torch.zeros(count, dtype=torch.long), 0
    for _, found in images.batches(100):
        labels[images.index[done : done + len(found)]] = found
        done += len(found)
        progress(f"reading the labels of {images.name}", done, len(images), "")
    return labels


def _listed(dataset: Any) -> Tensor | None:
    """Return the labels that a dataset has in a list, through subsets of it; None where it has none."""
    inner, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if inner is not None and indices is not None:
        whole = _listed(inner)
        return None if whole is None else whole[torch.as_tensor(list(indices))]
    tensors = getattr(dataset, "tensors", None)
    found = next((getattr(dataset, name) for name in LABELS if hasattr(dataset, name)), None)
    if isinstance(tensors, tuple) and len(tensors) == 2:
        found = tensors[1]
    try:
        listed = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError):
        return None
    return listed.long() if listed.dim() == 1 and not listed.is_floating_point() else None


@dataclass(frozen=True)
class Loaders:
    """What is handed over: labelled images to train on (and to calibrate), to search on, and to test on.

    validation: None takes the search images out of those of training. test: None takes data.test of them. metric: where
    outputs are not logits of classes: metric(outputs, targets), in [0, 1], higher is better.
    """

    train: Any
    validation: Any = None
    test: Any = None
    metric: Metric | None = None

    def splits(self, config: DataConfig, seed: int, progress: Progress = silent) -> Splits:
        """Return the four parts; calibration and search images are kept in memory, the others read as they are."""
        given = {
            name: read_loader(loader, name, progress, self.metric)
            for name, loader in (("train", self.train), ("validation", self.validation), ("test", self.test))
            if loader is not None
        }
        train = given["train"]
        usual = default_counts(max(len(train) - (config.test or 0), 1))
        wanted = {"calibration": config.calibration or usual["calibration"]}
        if "validation" not in given:
            wanted["search"] = config.search or usual["search"]
        if "test" not in given:
            if config.test is None:
                raise DataError(
                    "test: not given; hand over a loader, or say how many images of train to hold out: "
                    "data={'test': 500}"
                )
            wanted["test"] = config.test
        elif config.test is not None:
            raise DataError(f"data.test: {config.test} given beside a loader for the test; leave one of them out")
        index = draw_parts(train.labels, wanted, config.limit, seed)
        search = given["validation"] if "validation" in given else train.subset(index["search"])
        test = given["test"] if "test" in given else train.subset(index["test"])
        calibration = _held(train.subset(index["calibration"]), "train")
        search = search.take(min(config.search or SEARCH, len(search)))
        parts: dict[str, Split] = {
            "train": train.subset(index["train"]),
            "calibration": calibration,
            "search": _held(search, "validation" if "validation" in given else "train"),
            "test": test,
        }
        labels = [part.labels for part in parts.values()]
        classes = () if self.metric else _classes(self.train, labels)
        if not self.metric and config.labels == "given":
            check_every_class_trains(classes, parts["train"].labels, torch.cat(labels))
        missing = [f"{name}=" for name in ("validation", "test") if name not in given]
        if missing and isinstance(train, LoaderImages) and train.varies():
            tell(
                progress,
                "train: its dataset changes images at random, also those that are held out of it to be measured on; "
                f"hand over {' and '.join(missing)} with a dataset without random transforms",
            )
        channels, height, width = calibration.images.shape[1:]
        return Splits(
            train=parts["train"],
            calibration=parts["calibration"],
            search=parts["search"],
            test=parts["test"],
            classes=classes,
            shape=(channels, height, width),
            fingerprint=_fingerprint(parts),
            search_from="validation" if "validation" in given else "train",
            own_test="test" in given,
        )


def _held(split: LoaderImages | GivenBatches | KeptPairs, name: str) -> GivenBatches | KeptPairs:
    found = split.held() if isinstance(split, LoaderImages) else split
    if not bool(torch.isfinite(found.images).all()):
        raise DataError(f"{name}: some images hold nan or infinity")
    return found


def _classes(loader: Any, labels: Sequence[Tensor]) -> tuple[str, ...]:
    """Return the names of the classes: the dataset's own where it has enough of them, else numbers."""
    least, most = min(int(one.min()) for one in labels), max(int(one.max()) for one in labels)
    if least < 0:
        raise DataError(f"train: label {least} found, allowed: class indices from 0")
    names = getattr(getattr(loader, "dataset", None), "classes", None)
    if isinstance(names, Sequence) and len(names) > most:
        return tuple(str(name) for name in names)
    return tuple(str(number) for number in range(most + 1))


def _fingerprint(parts: Mapping[str, Split]) -> str:
    """Return a digest of all labels, the calibration and search images, and some of the others."""
    digest = hashlib.sha256()
    for name, split in parts.items():
        digest.update(name.encode() + split.labels.numpy().tobytes())
        some = split
        if isinstance(split, LoaderImages):
            some = split.subset(torch.linspace(0, len(split) - 1, FINGERPRINTED).long().unique())
        for images, targets in some.batches(100):
            digest.update(images.contiguous().numpy().tobytes())
            digest.update(targets.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
