"""Where to put labels so that they do not cover each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.isotonic import isotonic_regression

Box = tuple[float, float, float, float]


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions at least `gap` apart within [low, high], together as near to the given ones as possible.

    The order stays. When the range is too small for all of them, they are spaced evenly over it.
    """
    count = len(positions)
    if count == 0:
        return []
    gap = min(gap, (high - low) / max(count - 1, 1))
    order = np.argsort(positions, kind="stable")
    offsets = gap * np.arange(count)
    # With the gaps taken out, "apart" means "not decreasing": an isotonic regression.
    shifted = isotonic_regression(np.asarray(positions, dtype=float)[order] - offsets)
    placed = np.empty(count)
    placed[order] = np.clip(shifted, low, high - gap * (count - 1)) + offsets
    return placed.tolist()


def place(
    anchors: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], within: Box
) -> list[Box | None]:
    """Return a box (left, bottom, right, top) beside each anchor that covers no anchor and no earlier box.

    anchors, sizes, within: in pixels. None stands for a label that has no free place.
    """
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in anchors]
    boxes: list[Box | None] = []
    for index, ((x, y), (width, height)) in enumerate(zip(anchors, sizes, strict=True)):
        others = taken[:index] + taken[index + 1 :]
        free = (box for box in _around(x, y, width, height) if _inside(box, within) and not _hits(box, others))
        box = next(free, None)
        boxes.append(box)
        if box is not None:
            taken.append(box)
    return boxes


def _around(x: float, y: float, width: float, height: float) -> list[Box]:
    """Return the candidate places, the nearest and the right-hand ones first."""
    places = []
    for distance in (9.0, 16.0, 26.0, 40.0):
        lefts = (x + distance, x - distance - width, x - width / 2)
        for left in lefts:
            for middle in (y, y + distance, y - distance):
                if left == lefts[2] and middle == y:
                    continue
                places.append((left, middle - height / 2, left + width, middle + height / 2))
    return places


def _inside(box: Box, within: Box) -> bool:
    return box[0] >= within[0] and box[1] >= within[1] and box[2] <= within[2] and box[3] <= within[3]


def _hits(box: Box, others: Sequence[Box]) -> bool:
    return any(box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in others)
