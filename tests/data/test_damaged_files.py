"""Damaged files: one line each, whatever the library below raises."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_trees import class_tree, load_tree

from blendsearch.config import DataConfig
from blendsearch.data.splits import load_splits
from blendsearch.errors import DataError

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    draws = np.random.default_rng(0)
    for name in NAMES:
        count = 60 if name.startswith("train") else 20
        array = draws.integers(0, 256, (count, 28, 28), dtype=np.uint8) if "images" in name else np.arange(count) % 10
        path = tmp_path / "MNIST" / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
        path.write_bytes(header + array.astype(np.uint8).tobytes())
    return tmp_path


def load_mnist(root: Path):
    return load_splits(DataConfig(name="mnist", root=str(root), calibration=10, search=10), 0)


def test_the_whole_set_is_read(mnist):
    splits = load_mnist(mnist)
    assert (len(splits.train), len(splits.calibration), len(splits.search), len(splits.test)) == (40, 10, 10, 20)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", ["nothing", "three bytes", "header", "half", "other"])
def test_a_damaged_mnist_file_is_one_line(mnist, name, content):
    path = mnist / "MNIST" / "raw" / name
    good = path.read_bytes()
    damaged = {"nothing": b"", "three bytes": good[:3], "header": good[:8], "half": good[: len(good) // 2]}
    path.write_bytes(damaged.get(content, b"something else " * 20))
    with pytest.raises(DataError, match=r"^data\.root: no MNIST in '.*' \(.+\)") as caught:
        load_mnist(mnist)
    assert "\n" not in str(caught.value)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return class_tree(tmp_path, 5)


def test_a_png_with_any_byte_cut_off_or_turned_is_read_or_named(tree):
    path = tree / "dog" / "3.png"
    good = path.read_bytes()
    turned = [good[:i] + bytes([good[i] ^ 0xFF]) + good[i + 1 :] for i in range(0, len(good), 3)]
    messages = []
    for damaged in [good[:i] for i in range(0, len(good), 7)] + turned:
        path.write_bytes(damaged)
        try:
            load_tree(tree)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 20
    for message in messages:
        assert "3.png' cannot be read as an image" in message or "images differ in size" in message
        assert "\n" not in message


def test_the_fingerprint_sees_one_pixel_and_a_moved_file(tree):
    first = load_tree(tree).fingerprint
    assert load_tree(tree).fingerprint == first
    streamed = load_tree(tree, in_memory=False, image_size=6).fingerprint
    path = tree / "cat" / "0.png"
    pixels = np.array(Image.open(path))
    pixels[2, 3, 1] ^= 1
    Image.fromarray(pixels).save(path)
    assert load_tree(tree).fingerprint != first
    path.rename(tree / "dog" / "9.png")
    assert load_tree(tree, in_memory=False, image_size=6).fingerprint != streamed
