"""Comparing several methods over many blocks: ranks, Friedman's test, critical differences, wins.

A block is one set of equal terms (here network, allocation, budget, schedule and seed) under which every method was
measured once. Sources: Friedman, 1937; Nemenyi, 1963; Demšar, JMLR 7, 2006 ("Statistical comparisons of classifiers").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Table = NDArray[np.float64]
"""[blocks, methods], higher is better."""

ALPHA = 0.05
FEWEST = 3
"""Methods that Friedman's test needs at least."""


@dataclass(frozen=True)
class Friedman:
    """Friedman's chi-square and p, and the difference of mean ranks that Nemenyi's test takes for real."""

    statistic: float
    p: float
    critical_difference: float


def mean_ranks(table: Table) -> list[float]:
    """Return each method's rank, mean over the blocks; 1 is the best, equal values share the mean of their places."""
    return [float(rank) for rank in stats.rankdata(-table, axis=1).mean(axis=0)]


def friedman(table: Table) -> Friedman | None:
    """Test whether all methods are alike; None with fewer than three methods or two blocks, or when all are equal."""
    blocks, methods = table.shape
    if methods < FEWEST or blocks < 2 or not np.ptp(table, axis=1).any():
        return None
    statistic, p = stats.friedmanchisquare(*table.T)
    return Friedman(float(statistic), float(p), critical_difference(methods, blocks))


def critical_difference(methods: int, blocks: int, alpha: float = ALPHA) -> float:
    """Return the least difference of mean ranks that is significant: q sqrt(k (k + 1) / (6 N))."""
    return nemenyi_q(methods, alpha) * math.sqrt(methods * (methods + 1) / (6 * blocks))


def nemenyi_q(methods: int, alpha: float = ALPHA) -> float:
    """Return the studentised range for infinitely many degrees of freedom, divided by sqrt 2."""
    return float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)


def cliques(ranks: Sequence[float], difference: float) -> list[list[int]]:
    """Return the largest sets of methods, as positions, best first, whose mean ranks lie within `difference`.

    Sets of one are left out, and so are sets that lie within another.
    """
    order = sorted(range(len(ranks)), key=lambda position: ranks[position])
    found: list[list[int]] = []
    reached = 0
    for start, first in enumerate(order):
        members = [position for position in order[start:] if ranks[position] - ranks[first] < difference]
        end = start + len(members)
        if len(members) > 1 and end > reached:
            found.append(members)
            reached = end
    return found


def wins(table: Table) -> list[list[int]]:
    """Return in how many blocks the method of the row is better than that of the column."""
    return (table[:, :, None] > table[:, None, :]).sum(axis=0).tolist()
