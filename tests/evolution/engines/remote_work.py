"""What the workers of the engines are given to do in tests; each thing leaves a file, so that it can be counted."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch
from torch.utils.data import Dataset

from blendsearch.data.batches import StreamedImages
from blendsearch.errors import TrainingError


class Counted:
    """A state that leaves a file below `opened` each time it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.matrix = folder, torch.linspace(0, 0.01, 500)
        for name in ("opened", "done", "died"):
            (folder / name).mkdir(exist_ok=True)

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        mark(self.folder / "opened")


class Pictures(Dataset):
    """Sixteen images, each of one brightness."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        return torch.full((1, 4, 4), number, dtype=torch.uint8), 0


def streamed() -> StreamedImages:
    """Return the pictures as a split of which one process loads images."""
    return StreamedImages(
        Pictures(), torch.zeros(16, dtype=torch.long), torch.arange(16), (1, 4, 4), (0.5,), (0.25,), workers=1
    )


def mark(folder: Path, name: object = "") -> None:
    """Leave a file that says who was there, for what."""
    (folder / f"{name}-{os.getpid()}-{time.perf_counter_ns()}").touch()


def marks(folder: Path) -> list[str]:
    """Return for what the files of a folder were left, by name, in order."""
    return sorted(file.name.rsplit("-", 2)[0] for file in folder.iterdir())


def processes(folder: Path) -> list[str]:
    """Return who left the files of a folder."""
    return [file.name.rsplit("-", 2)[1] for file in folder.iterdir()]


def meet(state: Counted, item: int) -> None:
    """Wait until two workers have opened the state."""
    end = time.monotonic() + 100
    while len(set(processes(state.folder / "opened"))) < 2:
        assert time.monotonic() < end, "no second worker comes"
        time.sleep(0.02)


def multiply(state: Counted, item: int) -> tuple[float, int]:
    """Return a sum that depends on the order of additions, and the number of threads."""
    mark(state.folder / "done", item)
    time.sleep(0.05)  # long enough that both workers get some
    return float((state.matrix * item).exp().sum()), torch.get_num_threads()


def dies_once(state: Counted, item: int) -> int:
    """End the worker from outside, as the system does when memory is short, at the first try of item 3."""
    mark(state.folder / "done", item)
    time.sleep(0.05)
    if item == 3 and not marks(state.folder / "died"):
        mark(state.folder / "died")
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def hang_at_1(state: None, item: int) -> int:
    """Come to no end at item 1."""
    if item == 1:
        time.sleep(600)
    return item


def load(split: object, item: int) -> float:
    """Read images that processes of the worker load."""
    return float(sum(images.sum() for images, _ in split.batches(8, seed=item)))


def fail(state: None, item: int) -> int:
    """Fail as training does at item 2, and as a bug does at item 4."""
    if item == 2:
        raise TrainingError(f"item {item}: the loss is nan")
    return 12 // (4 - item)
