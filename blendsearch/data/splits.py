"""The four disjoint parts of the data: train, calibration, search, test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
CALIBRATION, SEARCH = 512, 1000
"""How many images where the space says nothing and half of the training images are enough for both."""
DRAWING = "calibration in turn"
"""How parts are drawn; another word for each way in which the same seed gave other parts, or another order of them."""
TEST_SHARE = 5
"""One of so many training images is for the test, where the set has no test part and the space says nothing."""


@dataclass(frozen=True)
class Splits:
    """Disjoint parts. calibration: what criteria and proxies look at. search: where candidates are compared.
    test: read once, at the end. shape: [C, H, W]. fingerprint: sha256 of labels and images (or their names).
    labelled: whether the labels of the others mean anything, see `Source`. mean, std: by which images in [0, 1] were
    normalised, one number a channel; empty where that is not known. search_from: the part that the search images come
    from, "train", "validation" or "test". own_test: whether the test part is the set's own. skipped: files left out
    since they could not be read."""

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
    search_from: str = "train"
    own_test: bool = True
    skipped: tuple[str, ...] = ()


def load_splits(config: DataConfig, seed: int, progress: Progress = silent) -> Splits:
    """Load a data set and split it; the same seed gives the same parts.

    Calibration images (and test images, for sets without a test part) are drawn class-balanced from the training
    images, search images from where `data.validation` says. Raises DataError when there are too few, and for class
    folders of one class, from which there is nothing to tell apart.
    """
    source = DATASETS.get(config.name, "data.name")(config, progress)
    check_source(source, config.name)
    if not source.labelled and config.labels == "given":
        raise DataError(
            f"data.labels: 'given', but the images of '{config.root}' have no labels; allowed here: predicted"
        )
    if config.name == "folder" and len(source.classes) == 1:
        raise DataError(
            f"data.root: '{config.root}' has one class alone, '{source.classes[0]}', allowed: at least 2; perhaps the "
            "class folders lie a level higher or lower"
        )
    return _Cut(source, config, seed).splits()


def settled(config: DataConfig, splits: Splits) -> DataConfig:
    """Return the section with the numbers that were left to be chosen, as a run folder keeps it."""
    test = {} if splits.own_test else {"test": len(splits.test)}
    return config.model_copy(update={"calibration": len(splits.calibration), "search": len(splits.search), **test})


def default_counts(images: int) -> dict[str, int]:
    """Return how many of so many training images calibrate, and how many the search goes by, if nobody says."""
    if images >= 2 * (CALIBRATION + SEARCH):
        return {"calibration": CALIBRATION, "search": SEARCH}
    return {"calibration": max(1, min(CALIBRATION, images // 6)), "search": max(1, min(SEARCH, images // 3))}


def default_test(images: int) -> int:
    """Return how many of so many images are held out for the test, if nobody says and there is no test part."""
    return max(1, images // TEST_SHARE)


@dataclass(frozen=True)
class _Cut:
    """A loaded set on its way to its splits."""

    source: Source
    config: DataConfig
    seed: int

    def splits(self) -> Splits:
        source, config = self.source, self.config
        held_out = self._held_out()
        wanted = self._wanted(drawn=not held_out)
        index = draw_parts(source.train.labels, wanted, config.limit, self.seed)
        if source.labelled:
            labels = source.train.labels
            check_every_class_trains(source.classes, labels[index["train"]], labels)
        augmentation = Augmentation(config.augmentation.crop_padding, config.augmentation.flip)
        search_from, search, test = held_out or ("train", self._split(source.train, index["search"]), None)
        if test is None:
            test = self._own_test() or self._split(source.train, index["test"])
        return Splits(
            train=self._split(source.train, index["train"], augmentation),
            calibration=self._split(source.train, index["calibration"]),
            search=search,
            test=test,
            classes=source.classes,
            shape=source.shape,
            fingerprint=_fingerprint(source),
            labelled=source.labelled,
            mean=_channels(config.mean, source.mean, source, "mean"),
            std=_channels(config.std, source.std, source, "std"),
            search_from=search_from,
            own_test=source.test is not None,
            skipped=source.skipped,
        )

    def _held_out(self) -> tuple[str, Split, Split | None] | None:
        """Return where search images come from, they, and what they leave of the test part; None: from training."""
        source, config = self.source, self.config
        if isinstance(config.validation, int):
            return ("test", *self._shared_test(config.validation))
        if config.validation == "part" and source.validation is None:
            raise DataError(
                f"data.validation: 'part' given, but data set '{config.name}' has no validation part; allowed here: "
                "auto, none, or a number of images to take out of the test part"
            )
        if config.validation == "none" or source.validation is None:
            return None
        own = source.validation
        count = self._search_count(len(own.labels), "images in the validation part")
        return "validation", self._split(own, balanced(own.labels, count).sort().values), None

    def _shared_test(self, count: int) -> tuple[Split, Split]:
        """Return search images out of the set's own test part, class-balanced, and the rest, which is the test."""
        test = self.source.test
        if test is None:
            raise DataError(
                f"data.validation: {count} given, but data set '{self.config.name}' has no test part of its own to "
                "take them from; allowed here: auto, none"
            )
        if count >= len(test.labels):
            raise DataError(
                f"data.validation: {count} images are to be taken out of the test part, which has {len(test.labels)}; "
                "some must stay for the test"
            )
        order = torch.randperm(len(test.labels), generator=generator(self.seed, "validation"))
        chosen = order[balanced(test.labels[order], count)]
        stays = torch.ones(len(order), dtype=torch.bool)
        stays[chosen] = False
        searched = chosen[: self._search_count(count, "images taken out of the test part", most=count)]
        return self._split(test, searched.sort().values), self._split(test, stays.nonzero().flatten())

    def _search_count(self, available: int, what: str, most: int = SEARCH) -> int:
        """Return how many search images a part held out gives; DataError when more are asked for than it has."""
        wanted = min(available, most) if self.config.search is None else self.config.search
        if wanted > available:
            raise DataError(f"data.search: {wanted} of {available} {what} asked for")
        return wanted

    def _wanted(self, *, drawn: bool) -> dict[str, int]:
        """Return how many training images each part gets; drawn: whether search images are among them."""
        source, config = self.source, self.config
        left = len(source.train.labels)
        test: dict[str, int] = {}
        if source.test is None:
            test = {"test": default_test(left) if config.test is None else config.test}
            left -= test["test"]
        elif config.test is not None:
            raise DataError(f"data.test: {config.test} given, but data set '{config.name}' has a test part of its own")
        given = {"calibration": config.calibration, "search": config.search}
        usual = default_counts(max(left, 1))
        parts = ("calibration", "search") if drawn else ("calibration",)
        return {**{part: given[part] or usual[part] for part in parts}, **test}

    def _own_test(self) -> Split | None:
        test = self.source.test
        return None if test is None else self._split(test, torch.arange(len(test.labels)))

    def _split(self, part: Part, chosen: Tensor, changes: Augmentation | None = None) -> Split:
        source, config = self.source, self.config
        mean = _channels(config.mean, source.mean, source, "mean")
        std = _channels(config.std, source.std, source, "std")
        changes = changes or Augmentation()
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


def _channels(given: tuple[float, ...] | None, own: tuple[float, ...], source: Source, key: str) -> tuple[float, ...]:
    values = own if given is None else given
    channels = source.shape[0]
    if len(values) != channels:
        raise DataError(f"data.{key}: {len(values)} numbers given, the images have {channels} channels")
    return tuple(values)


def draw_parts(labels: Tensor, wanted: dict[str, int], limit: int | None, seed: int) -> dict[str, Tensor]:
    """Return the index of each part; "train" gets what the others leave, or `limit` of it.

    The calibration part has its classes in turn, since some measures look at its first images alone, and folders and
    many files have their images class by class; the other parts are in stored order.
    """
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
        result[name] = left[chosen] if name == "calibration" else left[chosen].sort().values
        stays = torch.ones(len(left), dtype=torch.bool)
        stays[chosen] = False
        left = left[stays]
    result["train"] = (left if limit is None else left[balanced(labels[left], limit)]).sort().values
    return result


def check_every_class_trains(classes: Sequence[str], train: Tensor, found: Tensor) -> None:
    """Raise DataError where a label of those `found` in any part is of no image to train on; train: those images'."""
    labels = found.unique()
    empty = [classes[label] for label in labels[~torch.isin(labels, train)].tolist()]
    if empty:
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        raise DataError(
            f"data: no training image is left for {len(empty)} of {len(labels)} classes "
            f"({', '.join(empty[:5])}{more}); lower data.calibration, data.search or data.test, or raise data.limit"
        )


def _fingerprint(source: Source) -> str:
    digest = hashlib.sha256(repr((source.classes, source.shape)).encode())
    for part in (source.train, source.test, source.validation):
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
