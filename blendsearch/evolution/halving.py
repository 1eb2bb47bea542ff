"""Successive halving with paired comparisons: who goes on to the next rung, and who is clearly worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from blendsearch.errors import BlendsearchError

CLEARLY = 0.05
"""A p below this is a clear difference."""


@dataclass(frozen=True)
class Paired:
    """Two candidates on the same images: on how many each one alone was the better, and the two-sided p of that."""

    better: int
    worse: int
    p: float

    @property
    def clearly_worse(self) -> bool:
        """Whether the first candidate is worse by more than chance would have it."""
        return self.worse > self.better and self.p < CLEARLY


def paired(own: np.ndarray, other: np.ndarray) -> Paired:
    """Compare two candidates; own, other: bool [seeds, images], whether each training classified an image right.

    An image speaks for the candidate that was right on it with more of its seeds; with one seed these are the
    discordant pairs of McNemar's exact test. Each image counts once, so repeated seeds do not pass for more images.
    Raises BlendsearchError when the shapes differ. Source: McNemar, Psychometrika 1947 (exact form: a sign test).
    """
    if own.shape != other.shape:
        raise BlendsearchError(f"paired comparison: {own.shape} and {other.shape} given, equal shapes expected")
    difference = own.sum(0, dtype=int) - other.sum(0, dtype=int)
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    p = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return Paired(better, worse, p)


@dataclass(frozen=True)
class Standing:
    """A candidate after a rung: its place from 0, whether it goes on, and its comparison with the cut, if made."""

    place: int
    stays: bool
    comparison: Paired | None


def standings(correct: Sequence[np.ndarray], proxies: Sequence[float], keep: int | None = None) -> list[Standing]:
    """Return the standing of every candidate, in the order given.

    correct: bool [seeds, images] of each. proxies: decide between equal accuracies, then the order given does.
    keep: how many stay in any case, by accuracy; None for half, rounded up. The last of these is the cut; of the
    others those stay that are not clearly worse than it.
    Source: Jamieson & Talwalkar, AISTATS 2016 (successive halving); the test spares what noise alone would drop.
    """
    keep = (len(correct) + 1) // 2 if keep is None else keep
    order = sorted(range(len(correct)), key=lambda i: (-int(correct[i].sum()), -proxies[i], i))
    cut = correct[order[keep - 1]]
    found = {}
    for place, position in enumerate(order):
        comparison = None if place < keep else paired(correct[position], cut)
        found[position] = Standing(place, comparison is None or not comparison.clearly_worse, comparison)
    return [found[position] for position in range(len(correct))]
