"""Pictures of feature maps, images and weights, as PNG; numbers in, bytes out."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from blendsearch.data.batches import ImageTensors, Split, StreamedImages

GAP = 2
LARGEST, SMALLEST = 64, 32
HEAT = (
    (0.0, (18, 20, 34)),
    (0.25, (38, 66, 122)),
    (0.5, (32, 138, 141)),
    (0.75, (122, 205, 104)),
    (1.0, (253, 231, 72)),
)
"""Dark blue over green to yellow: its lightness rises all the way, so that it reads in grey as well."""
SIGNS = ((0.0, (0, 84, 150)), (0.5, (245, 244, 240)), (1.0, (190, 72, 0)))
"""Negative blue, zero near white, positive orange."""


def _table(anchors: tuple[tuple[float, tuple[int, int, int]], ...]) -> np.ndarray:
    positions, colours = zip(*anchors, strict=True)
    steps = np.linspace(0, 1, 256)
    return np.stack([np.interp(steps, positions, channel) for channel in zip(*colours, strict=True)], axis=1)


_HEAT, _SIGNS = _table(HEAT), _table(SIGNS)


def shrink(split: Split, images: Tensor) -> Tensor:
    """Return normalised images [N, C, H, W] as they look, uint8 [N, 3, S, S'], at most LARGEST pixels a side.

    More than three channels are shown by their mean.
    """
    shown = _unnormalised(split, images)
    if shown.shape[1] != 3:
        shown = shown.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    height, width = shown.shape[2:]
    scale = LARGEST / max(height, width)
    if scale < 1:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        shown = F.interpolate(shown, size=size, mode="bilinear", antialias=True)
    return (shown.clamp(0, 1) * 255).round().to(torch.uint8)


def _unnormalised(split: Split, images: Tensor) -> Tensor:
    if isinstance(split, ImageTensors | StreamedImages):
        return images * torch.tensor(split.std).view(1, -1, 1, 1) + torch.tensor(split.mean).view(1, -1, 1, 1)
    low, high = images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)
    return (images - low) / (high - low).clamp(min=1e-9)


def image_row(thumbnails: Tensor) -> bytes:
    """Return thumbnails, uint8 [N, 3, H, W], side by side."""
    tiles = thumbnails.permute(0, 2, 3, 1).numpy()
    return _png(_row([_enlarged(tile, _side(tile.shape[:2])) for tile in tiles]))


def map_row(maps: Tensor, thumbnails: Tensor) -> bytes:
    """Return one filter's feature maps [N, H, W] side by side, each as large as the thumbnails [N, 3, H', W']."""
    side = _side(thumbnails.shape[2:])
    return _png(_row([_enlarged(_HEAT[level], side) for level in _levels(maps)]))


def overlay_row(maps: Tensor, thumbnails: Tensor) -> bytes:
    """Return one filter's feature maps [N, H, W] over the grey thumbnails [N, 3, H', W'], side by side."""
    side = _side(thumbnails.shape[2:])
    grey = thumbnails.float().mean(dim=1).numpy()
    tiles = []
    for level, image in zip(_levels(maps), grey, strict=True):
        strength = _enlarged(np.repeat(level[..., None], 3, axis=2), side).astype(np.float64) / 255
        below = _enlarged(np.repeat(image[..., None], 3, axis=2), side).astype(np.float64)
        share = 0.1 + 0.75 * strength
        tiles.append(below * (1 - share) + _HEAT[(strength[..., 0] * 255).round().astype(int)] * share)
    return _png(_row(tiles))


def weight_row(weights: Tensor) -> bytes:
    """Return one filter's weights [C_in, H, W], a tile for each input channel; blue negative, orange positive."""
    largest = float(weights.abs().max()) or 1.0
    levels = ((weights / largest + 1) / 2 * 255).round().long().numpy()
    return _png(_row([_enlarged(_SIGNS[level], SMALLEST) for level in levels]))


def _levels(maps: Tensor) -> np.ndarray:
    """Scale [N, H, W] to 0..255 by the filter's own range over these images, 0 included."""
    low, high = min(float(maps.min()), 0.0), max(float(maps.max()), 0.0)
    spread = high - low
    scaled = (maps - low) / spread if spread > 0 else torch.zeros_like(maps)
    result: np.ndarray = (scaled * 255).round().long().cpu().numpy()
    return result


def _side(size: torch.Size | tuple[int, ...]) -> int:
    return min(LARGEST, max(SMALLEST, *size))


def _enlarged(tile: np.ndarray, side: int) -> np.ndarray:
    """Return a tile [H, W, 3] with `side` pixels at its longer side; single pixels stay visible."""
    height, width = tile.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray(tile.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(picture)


def _row(tiles: list[np.ndarray]) -> np.ndarray:
    """Put tiles of one size side by side, with transparent gaps."""
    height, width = tiles[0].shape[:2]
    row = np.zeros((height, len(tiles) * (width + GAP) - GAP, 4), dtype=np.uint8)
    for position, tile in enumerate(tiles):
        left = position * (width + GAP)
        row[:, left : left + width, :3] = tile
        row[:, left : left + width, 3] = 255
    return row


def _png(pixels: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, format="PNG", compress_level=1)
    return held.getvalue()
