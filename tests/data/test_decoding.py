"""Image files of every kind of pixel come out as the same picture in 8 bits, or are refused by name."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blendsearch.config import DataConfig
from blendsearch.data.datasets import DATASETS
from blendsearch.data.splits import load_splits
from blendsearch.errors import DataError
from blendsearch.progress import silent

GREY = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
COLOURS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)
WIDE = GREY.astype(np.uint16) * 257


def grey_files(folder: Path) -> dict[str, np.ndarray]:
    """Write one picture in every form of grey pixels; the files with what is to come out, uint8 [8, 8]."""
    big_endian = Image.frombytes("I;16B", (8, 8), WIDE.astype(">u2").tobytes())
    Image.fromarray(WIDE).save(folder / "16.png")
    Image.fromarray(GREY.astype(np.uint16) * 256 + 255).save(folder / "lower.png")
    Image.fromarray(WIDE).save(folder / "16.tif")
    Image.fromarray(WIDE).save(folder / "16.pgm")
    big_endian.save(folder / "big.tif")
    big_endian.save(folder / "big.png")
    Image.fromarray(GREY.astype(np.float32) / 255).save(folder / "float.tif")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "black.png")
    Image.fromarray(GREY).save(folder / "8.png")
    with_alpha = Image.fromarray(GREY).convert("LA")
    with_alpha.putalpha(Image.fromarray(ALPHA))
    with_alpha.save(folder / "alpha.png")
    Image.fromarray(GREY).convert("RGB").save(folder / "colour.png")
    Image.fromarray(np.where(GREY > 99, 255, 0).astype(np.uint8)).convert("1").save(folder / "1.png")
    files = {file.name: GREY for file in folder.iterdir()}
    return {**files, "black.png": np.zeros_like(GREY), "1.png": np.where(GREY > 99, 255, 0).astype(np.uint8)}


def colour_files(folder: Path) -> dict[str, np.ndarray]:
    """Write one picture in every form of coloured pixels; the files with what is to come out, uint8 [8, 8, 3]."""
    image = Image.fromarray(COLOURS)
    palette = image.quantize(16)
    shown = np.array(palette.convert("RGB"))
    with_alpha = image.copy()
    with_alpha.putalpha(Image.fromarray(ALPHA))
    image.save(folder / "rgb.png")
    with_alpha.save(folder / "rgba.png")
    with_alpha.save(folder / "rgba.tif")
    image.convert("CMYK").save(folder / "cmyk.tif")
    palette.save(folder / "palette.png")
    palette.save(folder / "one.png", transparency=3)
    palette.save(folder / "some.png", transparency=bytes(range(0, 160, 10)))
    palettes = dict.fromkeys(("palette.png", "one.png", "some.png"), shown)
    return {**{file.name: COLOURS for file in folder.iterdir()}, **palettes}


def read(folder: Path, **keys) -> dict[str, np.ndarray]:
    """Read the files of a folder as a class, decoded and streamed, which must be alike; uint8 [H, W, C] by name."""
    found = []
    for held in (True, False):
        config = DataConfig(name="folder", root=str(folder.parent), image_size=8, in_memory=held, **keys)
        part = DATASETS.get("folder")(config, silent).train
        found.append(part.images if held else torch.stack([image for image, _ in part.dataset]))
    assert torch.equal(*found)
    names = sorted(file.name for file in folder.iterdir())
    return {name: image.permute(1, 2, 0).numpy() for name, image in zip(names, found[0], strict=True)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The only class folder of a tree."""
    (tmp_path / "some").mkdir()
    return tmp_path / "some"


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_pixels_of_every_kind(folder, channels):
    expected = grey_files(folder)
    images = read(folder, mean=[0.5] * channels, std=[0.5] * channels)
    assert images.keys() == expected.keys()
    for name, image in images.items():
        assert np.array_equal(image, np.repeat(expected[name][..., None], channels, 2)), name


def test_coloured_pixels_of_every_kind_and_without_a_warning(folder):
    expected = colour_files(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = read(folder)
        grey = read(folder, mean=[0.5], std=[0.5])
    assert images.keys() == expected.keys()
    for name, image in images.items():
        assert np.array_equal(image, expected[name]), name
        assert np.array_equal(grey[name][..., 0], np.array(Image.fromarray(image).convert("L"))), name


def test_a_cmyk_jpeg_has_its_colours(folder):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(folder / "red.jpg", quality=100)
    (image,) = read(folder).values()
    assert np.abs(image.astype(int) - [255, 0, 0]).max() <= 3


def test_a_sixteen_bit_grey_value_and_colour_are_the_same(folder):
    """A PNG of 16 bits a colour cannot be written by Pillow, so by hand: one pixel row, all three colours alike."""
    import struct
    import zlib

    values = np.linspace(0, 65535, 64).astype(">u2").reshape(8, 8)
    Image.fromarray(values.astype(np.uint16)).save(folder / "grey.png")
    rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in values)
    chunks = ((b"IHDR", struct.pack(">2I5B", 8, 8, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    (folder / "rgb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    )
    images = read(folder)
    assert np.array_equal(images["grey.png"], images["rgb.png"])


def read_all(config: DataConfig) -> None:
    splits = load_splits(config, 0)
    for part in (splits.train, splits.calibration, splits.search, splits.test):
        list(part.batches(2))


SMALL = WIDE // 257
ONE_COLOUR = np.dstack([np.zeros((8, 8, 3), np.uint8), ALPHA])
REFUSED = {
    "range.tif": (GREY.astype(np.float32), "has floating-point values 0 to 252, of which it is not known what stands"),
    "below.tif": (GREY.astype(np.float32) / -255, "has floating-point values -0.98"),
    "nan.tif": (np.full((8, 8), np.nan, np.float32), "has values that are NaN or infinite; allowed: values in 0..1"),
    "int.tif": (GREY.astype(np.int32), "holds whole numbers of 32 bits, of which it is not known what stands for"),
    "small.png": (SMALL, "has 16 bits a pixel but no value above 252: as 16 bits it is black"),
    "icon.png": (ONE_COLOUR, "has one colour all over and its picture in the transparency, which is dropped"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("held", [True, False])
def test_what_cannot_be_known_is_refused_by_name_held_or_streamed(tmp_path, name, held):
    pixels, words = REFUSED[name]
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(4):
            Image.fromarray(GREY).save(tmp_path / label / f"{number}.png")
    Image.fromarray(pixels).save(tmp_path / "b" / f"x-{name}")
    config = DataConfig(
        name="folder", root=str(tmp_path), image_size=8, calibration=2, search=2, test=2, workers=1, in_memory=held
    )
    with pytest.raises(DataError) as caught:
        read_all(config)
    assert str(caught.value).startswith(f"data.root: '{tmp_path / 'b'}/x-{name}' {words}")
    assert "\n" not in str(caught.value)


def test_a_colour_space_that_cannot_be_converted_is_named(folder):
    Image.merge("LAB", Image.fromarray(COLOURS).split()).save(folder / "lab.tif")
    with pytest.raises(DataError, match=r"lab\.tif' cannot be read as an image \(conversion from LAB"):
        read(folder, mean=[0.5], std=[0.5])
