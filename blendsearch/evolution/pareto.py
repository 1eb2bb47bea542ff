"""Several objectives at once: which points no other one beats, and a few of them spread over the cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Point = tuple[float, ...]
"""One value for each objective, all maximised."""


def non_dominated(points: Sequence[Point]) -> list[int]:
    """Return the positions of the points that no other dominates, in order; of equal points the first.

    A point dominates another when it is as good in every objective and better in one.
    Source: Deb et al., IEEE Transactions on Evolutionary Computation 2002 (NSGA-II), section II.
    """
    first: dict[Point, int] = {}
    for position, point in enumerate(points):
        first.setdefault(point, position)
    values = np.array(list(first), dtype=np.float64)
    return [
        position
        for position, own in zip(first.values(), values, strict=True)
        if not ((values >= own).all(axis=1) & (values > own).any(axis=1)).any()
    ]


def spread_over(costs: Sequence[float], highest: float, count: int) -> list[int]:
    """Return the positions of at most `count` costs, evenly spread from the lowest to below `highest`.

    Each in turn is the nearest, not taken yet, to one of `count` places at equal distances; from high to low.
    """
    free = [position for position, cost in enumerate(costs) if cost < highest]
    if not free or count < 1:
        return []
    lowest = min(costs[position] for position in free)
    chosen: list[int] = []
    for place in np.linspace(lowest, highest, count + 1)[:-1]:
        rest = [position for position in free if position not in chosen]
        if rest:
            chosen.append(min(rest, key=lambda position: (abs(costs[position] - place), position)))
    return sorted(chosen, key=lambda position: -costs[position])
