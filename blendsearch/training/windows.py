"""Least squares of a convolution over windows of output positions, with each product of two pixels made once.

Rows of patches repeat pixels: two taps that lie (dy, dx) apart see the same pairs of pixels at all positions but those
at the edge of the window. So the Gram matrix of a 3 x 3 kernel, 81 blocks of [C, C], is made of the products at 13
distances, each taken over the few rectangles that the edges cut the window into; where windows are whole maps with a
border of zeros, products with the border are not made at all. The patches themselves are never formed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.training.moments import LeastSquares

SIDE = 8
"""Windows are so wide and high, or as the map where that is smaller."""
WIDE = 512
"""Inputs of an output (kernel times channels) from which windows pay: below, forming patches is as fast."""

NEIGHBOURS = 1.6
"""So many times the positions asked for are taken, where there are as many: neighbours say less than any others do."""
SMALL = 16
"""Positions of a window up to which the products of positions are worth making from those of pixels."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """Windows of `height` x `width` output positions: of images `sample` [n], first row `top` [n], first column `left`.

    whole: each is the whole map of an image.
    """

    height: int
    width: int
    sample: Tensor
    top: Tensor
    left: Tensor
    whole: bool

    def to(self, device: torch.device) -> Windows:
        """Return the same windows with their numbers on a device."""
        sample, top, left = (one.to(device) for one in (self.sample, self.top, self.left))
        return Windows(self.height, self.width, sample, top, left, self.whole)

    def index(self, out_height: int, out_width: int) -> Tensor:
        """Return the output positions, flat over N, H, W, in the order row, column, window."""
        down = torch.arange(self.height, device=self.top.device)[:, None, None] + self.top
        right = torch.arange(self.width, device=self.top.device)[None, :, None] + self.left
        return ((self.sample * out_height + down) * out_width + right).flatten()


def windows_for(layer: nn.Module, images: int, size: Span, positions: int, draws: torch.Generator) -> Windows | None:
    """Return windows with `positions` positions or more, or all there are; None for a layer that goes without.

    size: of the layer's output map. The windows tile the maps; which of them are taken is drawn.
    """
    if not isinstance(layer, nn.Conv2d) or not _suited(layer):
        return None
    sides = (min(SIDE, size[0]), min(SIDE, size[1]))
    tiles = [_tiles(length, side) for length, side in zip(size, sides, strict=True)]
    corners = torch.tensor(list(itertools.product(range(images), *tiles)))
    needed = math.ceil(NEIGHBOURS * positions / (sides[0] * sides[1]))
    if len(corners) > needed:
        corners = corners[torch.randperm(len(corners), generator=draws)[:needed].sort().values]
    sample, top, left = corners.unbind(1)
    return Windows(*sides, sample, top, left, sides == size)


def _suited(layer: nn.Conv2d) -> bool:
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    plain = layer.stride == (1, 1) and layer.dilation == (1, 1)
    return plain and taps > 1 and taps * layer.in_channels >= WIDE


def _tiles(length: int, side: int) -> list[int]:
    """Return where tiles begin along a map; the last one ends with it."""
    return [*range(0, length - side, side), length - side]


class WindowSquares(LeastSquares):
    """Least squares of the patches at the positions of windows, which are not formed.

    x: the layer's input [N, C_in, H, W]. wanted: targets [P, C_out] in the order of the windows' positions.
    pixels [H, W, n, C]: tap (i, j) of position (y, x) reads row y + i - origin[0], and its column; what lies outside is
    zero.
    """

    def __init__(self, layer: Any, x: Tensor, windows: Windows, wanted: Tensor, offset: bool) -> None:
        super().__init__(wanted, offset)
        self.pixels, self.origin = _pixels(layer, x, windows)
        self.kernel_size: Span = layer.kernel_size
        self.size = (windows.height, windows.width)
        self.taps = list(itertools.product(range(self.kernel_size[0]), range(self.kernel_size[1])))
        self.positions = self.size[0] * self.size[1] * self.pixels.shape[2]
        self.inputs = len(self.taps) * self.pixels.shape[3]
        self.has_kernel = self.size[0] * self.size[1] <= SMALL

    def gram(self) -> Tensor:
        """Return the mean over positions of the products of any two inputs: [D, D]."""
        taps, channels = self.taps, self.pixels.shape[3]
        blocks = self.pixels.new_zeros(len(taps), len(taps), channels, channels)
        high, wide = self.kernel_size
        for down, right in itertools.product(range(high), range(1 - wide, wide)):
            if (down, right) < (0, 0):
                continue  # as far apart the other way round
            pairs = [(tap, (tap[0] + down, tap[1] + right)) for tap in taps]
            pairs = [(one, other) for one, other in pairs if other in taps]
            for rows, columns in self._rectangles(down, right):
                product = self._product(rows, columns, down, right)
                for one, other in pairs:
                    if self._covers(one, rows, columns):
                        blocks[taps.index(one), taps.index(other)] += product
        for i, j in itertools.combinations(range(len(taps)), 2):
            # Taps are in order, so the pair was met as (i, j) above.
            blocks[j, i] = blocks[i, j].T
        return blocks.permute(0, 2, 1, 3).reshape(self.inputs, self.inputs) / self.positions

    def kernel(self) -> Tensor:
        """Return the products of any two positions [P, P]; those of any two pixels are made once."""
        high, wide, count, channels = self.pixels.shape
        flat = self.pixels.view(-1, channels)
        products = (flat @ flat.T).view(high, wide, count, high, wide, count)
        found = flat.new_zeros(*self.size, count, *self.size, count)
        for tap in self.taps:
            rows, columns = self._reach(tap)
            (top, bottom), (left, right) = self._met(tap)
            seen = products[slice(*rows), slice(*columns), :, slice(*rows), slice(*columns)]
            found[top:bottom, left:right, :, top:bottom, left:right] += seen
        return found.view(self.positions, self.positions)

    def applied(self, weights: Tensor) -> Tensor:
        found = self.pixels.new_zeros(*self.size, self.pixels.shape[2], weights.shape[1])
        for tap, part in zip(self.taps, weights.split(self.pixels.shape[3]), strict=True):
            (top, bottom), (left, right) = self._met(tap)
            found[top:bottom, left:right] += self._part(*self._reach(tap)) @ part
        return found.view(self.positions, -1)

    def transposed(self, values: Tensor) -> Tensor:
        values = values.view(*self.size, self.pixels.shape[2], -1)
        found = []
        for tap in self.taps:
            (top, bottom), (left, right) = self._met(tap)
            found.append(_flat(self._part(*self._reach(tap))).T @ _flat(values[top:bottom, left:right]))
        return torch.cat(found)

    def mean(self) -> Tensor:
        return torch.cat([self._part(*self._reach(tap)).sum((0, 1, 2)) for tap in self.taps]) / self.positions

    def _met(self, tap: Span) -> tuple[Span, Span]:
        """Return the rows and columns of positions at which a tap reads pixels."""
        rows, columns = (
            (first - t + o, last - t + o)
            for (first, last), t, o in zip(self._reach(tap), tap, self.origin, strict=True)
        )
        return rows, columns

    def _reach(self, tap: Span) -> tuple[Span, Span]:
        """Return the rows and columns of pixels that a tap reads over all positions."""
        rows, columns = (
            (max(0, t - o), min(length, t - o + size))
            for t, o, size, length in zip(tap, self.origin, self.size, self.pixels.shape[:2], strict=True)
        )
        return rows, columns

    def _covers(self, tap: Span, rows: Span, columns: Span) -> bool:
        return all(
            first <= start and stop <= last
            for (first, last), (start, stop) in zip(self._reach(tap), (rows, columns), strict=True)
        )

    def _rectangles(self, down: int, right: int) -> Iterator[tuple[Span, Span]]:
        """Yield the rectangles of pixels, with a partner so far away, into which the taps' reaches cut the map."""
        return itertools.product(self._cuts(0, down), self._cuts(1, right))

    def _cuts(self, axis: int, distance: int) -> list[Span]:
        length = self.pixels.shape[axis]
        first, last = max(0, -distance), min(length, length - distance)
        edges = {first, last}
        for tap in range(self.kernel_size[axis]):
            if 0 <= tap + distance < self.kernel_size[axis]:
                for edge in (tap - self.origin[axis], tap - self.origin[axis] + self.size[axis]):
                    edges.add(min(max(edge, first), last))
        return list(itertools.pairwise(sorted(edges)))

    def _product(self, rows: Span, columns: Span, down: int, right: int) -> Tensor:
        near = _flat(self._part(rows, columns))
        far = _flat(self._part((rows[0] + down, rows[1] + down), (columns[0] + right, columns[1] + right)))
        return near.T @ far

    def _part(self, rows: Span, columns: Span) -> Tensor:
        return self.pixels[rows[0] : rows[1], columns[0] : columns[1]]


def _pixels(layer: Any, x: Tensor, windows: Windows) -> tuple[Tensor, Span]:
    """Return the pixels that windows see [H, W, n, C], float32, and the origin: see `WindowSquares`."""
    left, _, top, _ = pad = layer._reversed_padding_repeated_twice
    zeros = layer.padding_mode == "zeros"
    if windows.whole and zeros:
        taken = x if len(windows.sample) == len(x) else x[windows.sample]
        return taken.permute(2, 3, 0, 1).float().contiguous(), (top, left)
    image = F.pad(x, pad, mode="constant" if zeros else layer.padding_mode) if any(pad) else x
    high, wide = image.shape[2:]
    down = torch.arange(windows.height + layer.kernel_size[0] - 1, device=x.device)[:, None, None] + windows.top
    right = torch.arange(windows.width + layer.kernel_size[1] - 1, device=x.device)[None, :, None] + windows.left
    places = (windows.sample * high + down) * wide + right
    flat = image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])
    return flat[places.flatten()].float().view(*places.shape, -1), (0, 0)


def _flat(part: Tensor) -> Tensor:
    return part.flatten(0, 2)
