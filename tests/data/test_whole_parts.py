"""Files decoded by any number of processes come out as those that are decoded one by one, and so do their mistakes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as T

from blendsearch.data import whole_parts
from blendsearch.data.decoding import ImageFiles, pixels
from blendsearch.data.whole_parts import decoded, readable
from blendsearch.errors import DataError
from blendsearch.progress import silent

COUNT = 150
"""More than two stretches."""


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Processes are started however little there is to decode, on two cores."""
    monkeypatch.setattr(whole_parts, "WORTH_PROCESSES", 0.0)
    monkeypatch.setattr(whole_parts, "cores", lambda: 2)


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[str, int]]:
    """Photographs of several sizes and kinds, with labels."""
    draws = np.random.default_rng(0)
    found = []
    for number in range(COUNT):
        high, wide = draws.integers(8, 20, 2)
        path = tmp_path / f"{number}.{('jpg', 'png', 'bmp')[number % 3]}"
        Image.fromarray(draws.integers(0, 256, (high, wide, 3), dtype=np.uint8)).save(path)
        found.append((str(path), number % 4))
    return found


def one_by_one(files: list[tuple[str, int]], size: int | None, mode: str) -> torch.Tensor:
    """The plain way, as it was before there was another."""
    images = []
    for path, _ in files:
        array = np.array(pixels(path, mode))
        image = torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1)
        if size is not None and tuple(image.shape[1:]) != (size, size):
            image = T.center_crop(T.resize(image, [size], antialias=True), [size, size])
        images.append(image)
    return torch.stack(images)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_any_number_of_processes_gives_what_one_by_one_gives(files, mode, workers):
    found = decoded(ImageFiles(files, 12, mode), "train", silent, workers=workers)
    assert torch.equal(found.images, one_by_one(files, 12, mode))
    assert list(found.good) == list(range(COUNT))
    assert list(found.unread) == []


def test_threads_where_processes_begin_anew(files, monkeypatch):
    monkeypatch.setattr(whole_parts.multiprocessing, "get_start_method", lambda: "spawn")
    monkeypatch.setattr(whole_parts, "_by_processes", lambda *given: pytest.fail("processes were started"))
    found = decoded(ImageFiles(files, 12, "RGB"), "train", silent, workers=2)
    assert torch.equal(found.images, one_by_one(files, 12, "RGB"))


@pytest.mark.parametrize(("workers", "cores", "ahead"), [(8, 1, 0.0), (1, 8, 0.0), (8, 8, 1e9)])
def test_no_process_beside_this_one(files, monkeypatch, workers, cores, ahead):
    monkeypatch.setattr(whole_parts, "cores", lambda: cores)
    monkeypatch.setattr(whole_parts, "WORTH_PROCESSES", ahead)
    monkeypatch.setattr(whole_parts, "_by_processes", lambda *given: pytest.fail("processes were started"))
    assert len(decoded(ImageFiles(files, 12, "RGB"), "train", silent, workers=workers).good) == COUNT


def test_no_more_processes_than_cores(files, monkeypatch):
    asked = []
    monkeypatch.setattr(whole_parts, "_by_processes", lambda stretches, rest, workers: asked.append(workers) or [])
    decoded(ImageFiles(files, 12, "RGB"), "train", silent, workers=64)
    assert asked == [2]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_first_unreadable_file_is_named(files, workers):
    for number in (100, 70):
        Path(files[number][0]).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"70\.png' cannot be read as an image"):
        decoded(ImageFiles(files, 12, "RGB"), "train", silent, workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_files_are_left_out(files, workers):
    for number in (0, 70, 149):
        Path(files[number][0]).write_bytes(b"no image")
    good = [file for number, file in enumerate(files) if number not in (0, 70, 149)]
    found = decoded(ImageFiles(files, 12, "RGB"), "train", silent, workers=workers, skip=True)
    assert torch.equal(found.images, one_by_one(good, 12, "RGB"))
    assert [files[number] for number in found.good] == good
    kept, unread = readable(ImageFiles(files, 12, "RGB"), "train", silent, workers=workers)
    assert kept.files == good
    assert list(unread) == list(found.unread) == [files[number][0] for number in (0, 70, 149)]


@pytest.mark.parametrize("look", [decoded, readable])
def test_none_that_can_be_read_is_told_by_the_first(files, look):
    for path, _ in files:
        Path(path).write_bytes(b"no image")
    keys = {"skip": True} if look is decoded else {}
    with pytest.raises(DataError, match=r"0\.jpg' cannot be read as an image"):
        look(ImageFiles(files, 12, "RGB"), "train", silent, workers=2, **keys)


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_several_sizes_are_told_as_before(tmp_path, workers):
    files = []
    for number in range(140):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (9, 7) if number in (80, 130) else (8, 6)).save(path)
        files.append((str(path), 0))
    with pytest.raises(DataError, match=r"80\.png' is 9x7, the first is 8x6"):
        decoded(ImageFiles(files, None, "RGB"), "train", silent, workers=workers)


def test_nothing_is_drawn_from_the_global_generator(files):
    before = torch.get_rng_state()
    decoded(ImageFiles(files, 12, "RGB"), "train", silent, workers=2)
    assert torch.equal(before, torch.get_rng_state())


class Fatal(ImageFiles):
    """Files of which one ends the process that reads it, as the system does where memory runs out."""

    def tried(self, index: int):
        if index == 100:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().tried(index)


def test_a_process_that_is_ended_is_one_line(files):
    with pytest.raises(DataError, match=r"^data\.workers: a process that decodes images was ended from outside"):
        decoded(Fatal(files, 12, "RGB"), "train", silent, workers=2)


def test_how_far_it_is_is_told(files):
    told = []
    decoded(ImageFiles(files, 12, "RGB"), "train", lambda *step: told.append(step), workers=2)
    assert told == [("reading train", done, COUNT, "") for done in (64, 128, 150)]
