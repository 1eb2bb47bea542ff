"""All image files of a part decoded, by several processes where that takes long; any number gives the same images."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from blendsearch.compute import cores
from blendsearch.compute import generator as seeded
from blendsearch.data.decoding import ImageFiles
from blendsearch.errors import DataError
from blendsearch.progress import Progress

AT_ONCE = 64
"""Files that are decoded in one go: handing out each by itself costs as much as decoding a small one."""
WORTH_PROCESSES = 1.0
"""Seconds of decoding that must lie ahead for processes to be started."""

Look = Callable[[int], "np.ndarray | DataError | None"]
"""Looks at the file of a number: its image, nothing, or what is wrong with it."""


@dataclass(frozen=True)
class Decoded:
    """The images of those files that could be read, uint8 [N, C, H, W].

    good: their numbers among all files, rising. unread: the paths of the others.
    """

    images: Tensor
    good: Sequence[int]
    unread: Sequence[str] = ()


class Outcome(NamedTuple):
    """What came of some files: the numbers of the good ones, their images, and what is wrong with the first others."""

    good: list[int]
    images: Sequence[np.ndarray]
    mistakes: dict[int, str]
    seen: int


def decoded(files: ImageFiles, name: str, progress: Progress, *, workers: int = 0, skip: bool = False) -> Decoded:
    """Decode all files, by so many processes at most, and never more than there are cores.

    skip: leave out those that cannot be read. Raises DataError for the first of them otherwise, where none is good, and
    where sizes differ.
    """
    images: np.ndarray | None = None
    good: list[int] = []
    unread: dict[int, str] = {}
    for outcome in _outcomes(files.tried, len(files), workers):
        unread |= outcome.mistakes
        if unread and not skip:
            raise DataError(next(iter(unread.values())))
        for number, image in zip(outcome.good, outcome.images, strict=True):
            if images is None:
                images = np.empty((len(files), *image.shape), dtype=np.uint8)
            if image.shape != images.shape[1:]:
                raise _of_other_size(files.files[number][0], image.shape, images.shape[1:])
            images[len(good)] = image
            good.append(number)
        progress(f"reading {name}", outcome.seen, len(files), f"{len(unread)} unreadable" if unread else "")
    if images is None:
        raise DataError(next(iter(unread.values())))
    return Decoded(torch.from_numpy(images[: len(good)]), good, [files.files[number][0] for number in unread])


def readable(files: ImageFiles, name: str, progress: Progress, *, workers: int = 0) -> tuple[ImageFiles, list[str]]:
    """Return those files that can be read, and the paths of the others, by decoding each once.

    Raises DataError, with what is amiss with the first, when none can be read.
    """
    unread: dict[int, str] = {}
    for outcome in _outcomes(files.mistake, len(files), workers):
        unread |= outcome.mistakes
        told = f"{len(unread)} unreadable" if unread else ""
        progress(f"checking {name}", outcome.seen, len(files), told)
    if len(unread) == len(files):
        raise DataError(next(iter(unread.values())))
    good = [file for number, file in enumerate(files.files) if number not in unread]
    return ImageFiles(good, files.size, files.mode), [files.files[number][0] for number in unread]


def _of_other_size(path: str, shape: Sequence[int], first: Sequence[int]) -> DataError:
    return DataError(
        f"data.image_size: not given, but images differ in size: '{path}' is {shape[2]}x{shape[1]}, the first is "
        f"{first[2]}x{first[1]}"
    )


class _Stretches(Dataset[Outcome]):
    """What comes of looking at files, AT_ONCE of them at a time."""

    def __init__(self, look: Look, count: int) -> None:
        self.look, self.count = look, count

    def __len__(self) -> int:
        return -(-self.count // AT_ONCE)

    def __getitem__(self, place: int) -> Outcome:
        numbers = range(place * AT_ONCE, min((place + 1) * AT_ONCE, self.count))
        found = {number: self.look(number) for number in numbers}
        images = {number: one for number, one in found.items() if isinstance(one, np.ndarray)}
        mistakes = {number: one.given for number, one in found.items() if isinstance(one, DataError)}
        return Outcome(list(images), _together(list(images.values())), mistakes, numbers.stop)


def _together(images: list[np.ndarray]) -> Sequence[np.ndarray]:
    """Return images as one array where they have one size: it travels faster between processes."""
    alike = len({image.shape for image in images}) == 1
    return np.stack(images) if alike else images  # type: ignore[return-value]


def _outcomes(look: Look, count: int, workers: int) -> Iterator[Outcome]:
    """Yield what comes of all files, in their order; the first stretch tells whether more processes are worth it."""
    stretches = _Stretches(look, count)
    began = time.perf_counter()
    yield stretches[0]
    ahead = (time.perf_counter() - began) * (len(stretches) - 1)
    rest = range(1, len(stretches))
    workers = min(workers, cores())
    if workers < 2 or ahead < WORTH_PROCESSES:
        yield from map(stretches.__getitem__, rest)
    elif multiprocessing.get_start_method() == "fork":
        yield from _by_processes(stretches, rest, workers)
    else:  # a process that begins anew would import all of torch, and the user's script, first
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(stretches.__getitem__, rest)


def _by_processes(stretches: _Stretches, places: Sequence[int], workers: int) -> Iterator[Outcome]:
    """Decoding small files is as much Python as decompression, which threads do one at a time: so processes."""
    loader: DataLoader[Any] = DataLoader(
        stretches,
        batch_size=None,
        sampler=places,
        num_workers=workers,
        collate_fn=_as_it_is,
        generator=seeded(0, "loader"),  # of its own, since a DataLoader otherwise draws from the global one
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            "data.workers: a process that decodes images was ended from outside, most likely since memory ran out; "
            "data.workers=0 decodes in one"
        ) from None


def _as_it_is(outcome: Any) -> Any:
    return outcome
