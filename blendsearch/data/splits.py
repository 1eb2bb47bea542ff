"""The four disjoint parts of the data: train, calibration, search, test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from blendsearch.compute import generator
from blendsearch.config import DataConfig
from blendsearch.data.augmentation import Augmentation
from blendsearch.data.batches import ChosenImages, ImageTensors, Split, StreamedImages, balanced
from blendsearch.data.checks import check_source
from blendsearch.data.datasets import DATASETS, Part, Source
from blendsearch.errors import DataError
from blendsearch.progress import Progress, silent

FINGERPRINTED = 64
"""How many images of a dataset without names its fingerprint reads."""


@dataclass(frozen=True)
class Splits:
    """Disjoint parts. calibration: what criteria and proxies look at. search: where candidates are compared.
    test: read once, at the end. shape: [C, H, W]. fingerprint: sha256 of labels and images (or their names).
    labelled: whether the labels of the others mean anything, see `Source`. mean, std: by which images in [0, 1] were
    normalised, one number a channel; empty where that is not known."""

    train: Split
    calibration: Split
    search: Split
    test: Split
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    fingerprint: str
    labelled: bool = True
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def load_splits(config: DataConfig, seed: int, progress: Progress = silent) -> Splits:
    """Load a data set and split it; the same seed gives the same parts.

    Calibration and search images (and test images, for sets without a test part) are drawn class-balanced from
    the training images. Raises DataError when there are too few.
    """
    source = DATASETS.get(config.name, "data.name")(config, progress)
    check_source(source, config.name)
    if not source.labelled and config.labels == "given":
        raise DataError(
            f"data.labels: 'given', but the images of '{config.root}' have no labels; allowed here: predicted"
        )
    mean, std = _channels(config.mean, source.mean, source, "mean"), _channels(config.std, source.std, source, "std")
    wanted = {"calibration": config.calibration, "search": config.search, **_test_size(config, source)}
    index = draw_parts(source.train.labels, wanted, config.limit, seed)
    if source.labelled:
        _check_every_class_trains(source, index["train"])
    augmentation = Augmentation(config.augmentation.crop_padding, config.augmentation.flip)
    held_out = Augmentation()

    def split(part: Part, chosen: Tensor, changes: Augmentation) -> Split:
        if part.images is not None:
            return ImageTensors(part.images[chosen], part.labels[chosen], mean, std, changes)
        assert part.dataset is not None
        return StreamedImages(
            dataset=part.dataset,
            all_labels=part.labels,
            index=chosen,
            shape=source.shape,
            mean=mean,
            std=std,
            augmentation=changes,
            workers=config.workers,
        )

    test = source.test
    whole = torch.arange(len(test.labels)) if test is not None else index["test"]
    return Splits(
        train=split(source.train, index["train"], augmentation),
        calibration=split(source.train, index["calibration"], held_out),
        search=split(source.train, index["search"], held_out),
        test=split(test or source.train, whole, held_out),
        classes=source.classes,
        shape=source.shape,
        fingerprint=_fingerprint(source),
        labelled=source.labelled,
        mean=mean,
        std=std,
    )


def _test_size(config: DataConfig, source: Source) -> dict[str, int]:
    if source.test is not None:
        if config.test is not None:
            raise DataError(f"data.test: {config.test} given, but data set '{config.name}' has a test part of its own")
        return {}
    if config.test is None:
        raise DataError(f"data.test: not given; data set '{config.name}' has no test part, so say how many to hold out")
    return {"test": config.test}


def _channels(given: tuple[float, ...] | None, own: tuple[float, ...], source: Source, key: str) -> tuple[float, ...]:
    values = own if given is None else given
    channels = source.shape[0]
    if len(values) != channels:
        raise DataError(f"data.{key}: {len(values)} numbers given, the images have {channels} channels")
    return tuple(values)


def draw_parts(labels: Tensor, wanted: dict[str, int], limit: int | None, seed: int) -> dict[str, Tensor]:
    """Return the index of each part; "train" gets what the others leave, or `limit` of it."""
    need = sum(wanted.values())
    if need >= len(labels):
        parts = " + ".join(f"{name} {count}" for name, count in wanted.items())
        raise DataError(f"data: {parts} = {need} images are to be set apart, but there are only {len(labels)}")
    shuffled = torch.randperm(len(labels), generator=generator(seed, "splits"))
    # Test first: the same held-out images whatever the sizes of the other parts.
    order = sorted(wanted, key=lambda name: name != "test")
    result: dict[str, Tensor] = {}
    left = shuffled
    for name in order:
        chosen = balanced(labels[left], wanted[name])
        result[name] = left[chosen].sort().values
        stays = torch.ones(len(left), dtype=torch.bool)
        stays[chosen] = False
        left = left[stays]
    result["train"] = (left if limit is None else left[balanced(labels[left], limit)]).sort().values
    return result


def _check_every_class_trains(source: Source, train: Tensor) -> None:
    counts = torch.bincount(source.train.labels[train], minlength=len(source.classes)).tolist()
    empty = [name for name, count in zip(source.classes, counts, strict=True) if count == 0]
    if empty:
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        raise DataError(
            f"data: no training image is left for {len(empty)} of {len(counts)} classes "
            f"({', '.join(empty[:5])}{more}); lower data.calibration, data.search or data.test, or raise data.limit"
        )


def _fingerprint(source: Source) -> str:
    digest = hashlib.sha256(repr((source.classes, source.shape)).encode())
    for part in (source.train, source.test):
        if part is None:
            continue
        digest.update(part.labels.numpy().tobytes())
        if part.images is not None:
            digest.update(part.images.contiguous().numpy().tobytes())
        elif part.names is not None:
            digest.update(repr([name.rsplit("/", 2)[-2:] for name in part.names]).encode())
        elif part.dataset is not None:
            numbers = torch.linspace(0, len(part.labels) - 1, FINGERPRINTED).long().unique().tolist()
            chosen = ChosenImages(part.dataset, part.labels, numbers, source.shape)
            for position in range(len(chosen)):
                digest.update(chosen[position][0].numpy().tobytes())
    return digest.hexdigest()[:16]
