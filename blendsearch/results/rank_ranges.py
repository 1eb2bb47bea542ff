"""Which places in an order are certain: ranks of things that were measured on the same images, several times each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from blendsearch.results.records.common import Bounds
from blendsearch.results.redrawn import redraw

DRAWS = 2_000


@dataclass(frozen=True)
class RankRanges:
    """Means with intervals, and the places that each of several may have, 1 for the highest mean.

    intervals: name -> 95 % interval of its mean, None where nothing varies. ranges: name -> first and last place that
    it may have. apart, pairs: how many pairs have an order that is certain, and how many there are. images_decide:
    whether it is for want of images rather than of repetitions that the others have none.
    """

    intervals: dict[str, Bounds | None]
    ranges: dict[str, tuple[int, int]]
    apart: int
    pairs: int
    images_decide: bool


def rank_ranges(measured: Mapping[str, np.ndarray]) -> RankRanges:
    """Return the places of what was measured: name -> float [repetitions, images].

    Each is compared with all others at once, image by image: as many as are surely higher come before it, and as many
    as are surely lower after it. A range holds its place in 95 % of the cases, each range by itself.
    Source: Mogstad et al., Inference for Ranks, Review of Economic Studies 2024 (marginal confidence sets).
    """
    names = list(measured)
    alone = redraw(measured, draws=DRAWS)
    signs = np.zeros((len(names), len(names)))
    variances = np.zeros(2)
    for row, name in enumerate(names):
        others = [other for other in names if other != name]
        if not others:
            continue
        beside = redraw({other: measured[name] - measured[other] for other in others}, draws=DRAWS)
        bounds = beside.together(others)
        for other in others:
            low, high = bounds[other] or (0.0, 0.0)
            signs[row, names.index(other)] = 1.0 if low > 0 else -1.0 if high < 0 else 0.0
        columns = range(len(others))
        variances += [(chance.reach(columns) ** 2).sum() for chance in (beside.images, beside.seeds)]
    certain = (signs != 0) & (signs.T != 0)
    return RankRanges(
        intervals={name: alone.alone(name) for name in names},
        ranges={
            name: (1 + int((signs[row] < 0).sum()), len(names) - int((signs[row] > 0).sum()))
            for row, name in enumerate(names)
        },
        apart=int(certain.sum()) // 2,
        pairs=len(names) * (len(names) - 1) // 2,
        images_decide=bool(variances[0] >= variances[1]),
    )
