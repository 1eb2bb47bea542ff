"""Image files as uint8 pixels: whatever a file's numbers mean is scaled to 0..255, or the file is refused by name."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from blendsearch.errors import DataError, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow goes by the content, whatever a file is called: of EPS it would have another program run what is in it."""
PIXELS_PER_BYTE = 100
"""More than this no picture has, however it is compressed; a surface of one colour has a thousand."""
ADVICE = "data.on_error: skip leaves such images out"
WIDENED = ("PNG", "PPM")
"""Formats whose grey values of 16 bits some versions of Pillow give as mode I, of 32 bits."""


DECODING = 1
"""Goes up when files come out as other pixels than before."""


def decoding_version() -> tuple[object, ...]:
    """Return what decides which pixels a file comes out as, besides the file: this module, and libraries."""
    import PIL
    import torchvision
    from PIL import features

    codecs = [features.version(name) for name in ("jpg", "jpg_2000", "zlib", "libtiff", "webp")]
    resizing = torch.__version__, torchvision.__version__
    return DECODING, PIL.__version__, *codecs, features.check("libjpeg_turbo"), *resizing


class ImageFiles(Dataset[Any]):
    """Image files of a class tree, decoded to uint8 [C, H, W], short side to `size` and centre-cropped.

    mode: "RGB" (C = 3) or "L" (grey, C = 1). DataError, which names the file, where `pixels` raises one.
    """

    def __init__(self, files: Sequence[tuple[str, int]], size: int | None, mode: str) -> None:
        self.files, self.size, self.mode = files, size, mode

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an image and its label."""
        return torch.from_numpy(self.picture(index).copy()), self.files[index][1]

    def picture(self, index: int) -> np.ndarray:
        """Return an image, uint8 [C, H, W], which may be a view and not to be written to."""
        array = pixels(self.files[index][0], self.mode)
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
        if self.size is None or array.shape[1:] == (self.size, self.size):
            return array
        return self._fitted(array)

    def _fitted(self, array: np.ndarray) -> np.ndarray:
        from torchvision.transforms.v2 import functional as T

        assert self.size is not None
        image = torch.from_numpy(array.copy(order="K"))  # as it lies: by that torch chooses how to resize
        fitted = T.center_crop(T.resize(image, [self.size], antialias=True), [self.size, self.size])
        return np.asarray(fitted.numpy())

    def tried(self, index: int) -> np.ndarray | DataError:
        """Return an image as `picture` does, or what is wrong with its file."""
        try:
            return self.picture(index)
        except DataError as error:
            return error

    def mistake(self, index: int) -> DataError | None:
        """Return what is wrong with a file, None where it can be read."""
        try:
            pixels(self.files[index][0], self.mode)
        except DataError as error:
            return error
        return None


@dataclass(frozen=True)
class Head:
    """What the head of an image file says: width and height in pixels, and whether it has grey values alone."""

    width: int
    height: int
    grey: bool


def read_head(path: str) -> Head:
    """Read the head of an image file, no pixel; DataError where that cannot be done."""
    with _opened(path) as image:
        return Head(*image.size, grey=image.mode in ("1", "L", "LA", "I", "F", *SIXTEEN_BITS))


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Image]:
    """Open an image file of a format that holds pictures; DataError names it for whatever goes wrong in the block.

    A pipe or a device is not opened at all, since that might never end, and nothing is decoded of a picture that a
    small file makes enormous.
    """
    from PIL import Image

    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"data.root: '{path}' is no file but a pipe, a device or the like; {ADVICE}")
        with Image.open(path, formats=FORMATS) as image:
            _check_density(image, path, found.st_size)
            yield image
    except DataError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise DataError(f"data.root: '{path}' cannot be read as an image ({first_line(error)}); {ADVICE}") from None


def _check_density(image: Image, path: str, size: int) -> None:
    """Raise DataError for a picture larger than Pillow warns of that a file of next to no bytes says it holds.

    What is twice as large Pillow refuses by itself, whatever the file's size.
    """
    from PIL import Image

    pixels, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if most is not None and pixels > most and size * PIXELS_PER_BYTE < pixels:
        raise DataError(
            f"data.root: '{path}' unfolds {size:,} bytes to {image.width}x{image.height} pixels, as decompression "
            f"bombs do; {ADVICE}"
        )


def pixels(path: str, mode: str) -> np.ndarray:
    """Read a file as uint8 [H, W, 3] (mode "RGB") or [H, W] (mode "L"), not to be written to.

    Grey values of 16 bits lose their lower byte, as Pillow does with colours of 16 bits; floating-point ones are
    taken for 0..1. Transparency is dropped, as torchvision does. Raises DataError for a file that cannot be read,
    and for one of whose numbers it cannot be known what stands for white.
    """
    with _opened(path) as image:
        plain = _eight_bits(image, path)
        return np.asarray(plain if plain.mode == mode else plain.convert(mode))


def _eight_bits(image: Image, path: str) -> Image:
    """Return an image with the same picture in 8 bits a channel, without transparency."""
    from PIL import Image

    if image.mode in SIXTEEN_BITS or (image.mode == "I" and image.format in WIDENED):
        return Image.fromarray(_from_sixteen_bits(np.array(image), path))
    if image.mode == "I":
        raise DataError(
            f"data.root: '{path}' holds whole numbers of 32 bits, of which it is not known what stands for white; "
            "allowed: 8 or 16 bits a channel, or floating-point values in 0..1"
        )
    if image.mode == "F":
        return Image.fromarray(_from_floats(np.array(image), path))
    if image.mode.endswith("A") or "transparency" in image.info:
        return _opaque(image, path)
    return image


def _from_sixteen_bits(values: np.ndarray, path: str) -> np.ndarray:
    """Return the upper bytes, uint8 [H, W], unless that would leave nothing of the picture."""
    if 0 < values.max() < 256:
        raise DataError(
            f"data.root: '{path}' has 16 bits a pixel but no value above {values.max()}: as 16 bits it is black, as 8 "
            "bits it is not; save it with 8 bits, or with values that span 0..65535"
        )
    return (values // 256).astype(np.uint8)


def _from_floats(values: np.ndarray, path: str) -> np.ndarray:
    """Return values in 0..1 as uint8 [H, W]."""
    if not np.isfinite(values).all():
        raise DataError(f"data.root: '{path}' has values that are NaN or infinite; allowed: values in 0..1")
    if values.min() < 0 or values.max() > 1:
        raise DataError(
            f"data.root: '{path}' has floating-point values {values.min():g} to {values.max():g}, of which it is not "
            "known what stands for white; allowed: values in 0..1, or 8 or 16 bits a channel"
        )
    return np.round(values * 255).astype(np.uint8)


def _opaque(image: Image, path: str) -> Image:
    """Return an image's colours alone, as RGB, unless the picture is in its transparency alone."""
    rgba = image.convert("RGBA")  # at once to RGB, Pillow warns of a palette with transparency
    values = np.array(rgba).reshape(-1, 4)
    *colours, alpha = (values != values[0]).any(0)
    if alpha and not any(colours):
        raise DataError(
            f"data.root: '{path}' has one colour all over and its picture in the transparency, which is dropped; "
            "save it upon a background"
        )
    return rgba.convert("RGB")
