"""What single filters are worth to a plan, learned from swaps that were judged: which swaps to judge next."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri
from torch import Tensor

from blendsearch.structure import Plan

COST, COST_SPREAD = -0.7, 0.6
"""What any swap changes the proxy by, on average, and how groups differ in that, in units of a group's scale: filters
that were chosen to fit each other lose by one that was not."""
SLOPE, SPREAD = 0.3, 0.7
"""How much a filter's worth rises with its place in the order (of normal quantiles), and how filters of the same place
differ, in the same units."""
NOISE = 0.4
"""How much of a change is of neither filter by itself, in the same units. Of several, these five predict the changes of
231 swaps of ResNet-20 best, each from those before it: with a rank correlation of 0.52."""
DOUBT = 3.0
"""Swaps for which a group's scale is taken to be that of all groups."""
MEDIAN_OF_SQUARES = 0.455
"""Of a normal variable, in units of their mean."""
NEAREST = 24
"""So many filters that stay, and that go, are paired with each other in each group: those whose worth may be least, and
most."""


class Swap(NamedTuple):
    """A filter that goes for another one of its group to stay, and by how much that is expected to raise the proxy."""

    promise: float
    group: str
    gone: int
    come: int

    @property
    def filters(self) -> set[tuple[str, int]]:
        """Both, with their group."""
        return {(self.group, self.gone), (self.group, self.come)}

    def made(self, plan: Plan) -> Plan:
        """Return the plan after the swap."""
        kept = tuple(sorted({*plan.keep[self.group], self.come} - {self.gone}))
        return Plan({**plan.keep, self.group: kept}, plan.widths)


@dataclass
class _Judged:
    """The swaps of a group that were judged: who went, who came, and what the proxy changed by."""

    gone: list[int] = field(default_factory=list)
    come: list[int] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)


class Worths:
    """A linear model of each group: a swap changes the proxy by a constant, plus the worth of who comes, less that of
    who goes.

    scores: group -> [C], by whose order filters are taken to be worth something before any swap was judged. Proposed
    are the swaps with the greatest expected improvement under what is believed so far.
    Source: Jones et al., Efficient Global Optimization, 1998 (expected improvement), over Bayesian linear regression.
    """

    def __init__(self, scores: Mapping[str, Tensor]) -> None:
        self.expected = {group: SLOPE * _quantiles(values) for group, values in scores.items()}
        self.judged: dict[str, _Judged] = {group: _Judged() for group in scores}

    def learn(self, swap: Swap, change: float) -> None:
        """Take what the proxy changed by when a swap was made."""
        judged = self.judged[swap.group]
        judged.gone.append(swap.gone)
        judged.come.append(swap.come)
        judged.changes.append(change)

    def propose(self, plan: Plan, seen: Collection[str], count: int) -> list[Swap]:
        """Return up to `count` swaps that lead to new plans; of several no filter is in two where others are left."""
        scales = self._scales()
        groups = [group for group, kept in plan.keep.items() if len(kept) < plan.widths[group]]
        swaps = sorted((swap for group in groups for swap in self._swaps(plan, group, scales[group])), reverse=True)
        found: dict[str, Swap] = {}
        for once in (True, False):
            used: set[tuple[str, int]] = set()
            for swap in swaps:
                if len(found) == count:
                    break
                if once and not used.isdisjoint(swap.filters):
                    continue
                digest = swap.made(plan).digest
                if digest not in seen and digest not in found:
                    found[digest] = swap
                    used |= swap.filters
        return list(found.values())

    def _scales(self) -> dict[str, float]:
        """Return how large changes are in each group, shrunk to how large they are in all."""
        squares = {group: np.square(judged.changes) for group, judged in self.judged.items()}
        every = np.concatenate(list(squares.values()))
        # By the median, for one group in which changes are ten times as large is no measure of the others.
        usual = float(np.median(every)) / MEDIAN_OF_SQUARES if len(every) else 1.0
        return {
            group: float(np.sqrt((DOUBT * usual + own.sum()) / (DOUBT + len(own)))) or 1.0
            for group, own in squares.items()
        }

    def _swaps(self, plan: Plan, group: str, scale: float) -> list[Swap]:
        """Return the swaps of a group that may be worth most, with what each promises."""
        kept = np.array(plan.keep[group])
        left = np.setdiff1d(np.arange(plan.widths[group]), kept)
        believed = self._believed(group, scale)
        worths, doubts = believed.mean[1:], np.sqrt(believed.variances[1:])
        going = kept[np.argsort((worths - doubts)[kept], kind="stable")[:NEAREST]]
        coming = left[np.argsort(-(worths + doubts)[left], kind="stable")[:NEAREST]]
        gone, come = (side.ravel() for side in np.meshgrid(going, coming))
        mean, variance = believed.of_swaps(gone, come)
        promises = scale * expected_improvement(mean, np.sqrt(variance + NOISE**2))
        return [Swap(float(one), group, int(a), int(b)) for one, a, b in zip(promises, gone, come, strict=True)]

    def _believed(self, group: str, scale: float) -> _Belief:
        """Return the posterior of what a swap costs and of the worth of each filter, in units of the scale."""
        expected, judged = self.expected[group], self.judged[group]
        prior = np.array([COST_SPREAD**2, *[SPREAD**2] * len(expected)])
        rows = _rows(np.array(judged.gone, dtype=int), np.array(judged.come, dtype=int), len(expected))
        start = np.array([COST, *expected])
        # A system of as many equations as there were swaps, however wide the group is.
        weighed = rows * prior
        gain = np.linalg.solve(weighed @ rows.T + NOISE**2 * np.eye(len(rows)), weighed)
        missed = np.array(judged.changes) / scale - rows @ start
        return _Belief(start + gain.T @ missed, prior, weighed, gain)


@dataclass(frozen=True)
class _Belief:
    """A normal distribution of a group's cost and worths, [1 + C]: prior variances, less what the swaps told.

    The covariance is diag(prior) - weighed.T @ gain.
    """

    mean: np.ndarray
    prior: np.ndarray
    weighed: np.ndarray
    gain: np.ndarray

    @property
    def variances(self) -> np.ndarray:
        """The variance of each."""
        return np.asarray(self.prior - (self.weighed * self.gain).sum(0))

    def of_swaps(self, gone: np.ndarray, come: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of what each swap changes, without what is of neither filter by itself."""
        rows = _rows(gone, come, len(self.mean) - 1)
        told = (rows @ self.weighed.T) * (rows @ self.gain.T)
        return rows @ self.mean, np.maximum(np.square(rows) @ self.prior - told.sum(1), 0.0)


def expected_improvement(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return the mean of max(0, x) for normal x; deviation: above 0."""
    above = mean / deviation
    return np.asarray(deviation * (np.exp(-0.5 * above**2) / np.sqrt(2 * np.pi) + above * ndtr(above)))


def _rows(gone: np.ndarray, come: np.ndarray, width: int) -> np.ndarray:
    """Return what each swap adds up: the cost, and a worth for another, [swaps, 1 + C]."""
    rows = np.zeros((len(gone), 1 + width))
    rows[:, 0] = 1
    every = np.arange(len(gone))
    rows[every, 1 + come] += 1
    rows[every, 1 + gone] -= 1
    return rows


def _quantiles(values: Tensor) -> np.ndarray:
    """Return the normal quantile of each filter's place in the order, [C]; ties in the order of their numbers."""
    places = values.argsort(stable=True).argsort().numpy()
    return np.asarray(ndtri((places + 0.5) / len(values)))
