"""What swaps of single filters are worth to a plan, learned from those that were judged: which to judge next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtr, ndtri
from torch import Tensor

from blendsearch.evolution.swap_forecast import SwapTable
from blendsearch.structure import Plan

SLOPE, ERROR = 0.2, 5.0
"""What a change of the proxy is of its forecast's two terms, before any swap was judged. The first would be 1 if swaps
were small, the second 1/2 if squared slopes were the curvature. On 96 swaps of ResNet-20 drawn by chance both together
tell changes with a correlation of 0.79; all constants here are near the likeliest for 78 that a climb went on to."""
SLOPE_SPREAD, ERROR_SPREAD = 0.1, 2.0
"""How both differ between networks and proxies, and, as much again, from group to group."""
COST, COST_SPREAD = -0.65, 0.3
"""What any swap changes the proxy by beside, and how groups differ in that, in units of a group's scale: filters that
were chosen to fit each other lose by one that was not, and the swaps with the best forecasts had luck."""
RISE, SPREAD = 0.3, 0.5
"""Without a forecast: how much a filter's worth rises with its place in the order (of normal quantiles). In any case:
how filters differ beside, in the same units."""
NOISE = 0.45
"""How much of a change is of neither filter by itself, in the same units."""
DOUBT = 10.0
"""Swaps for which a group's scale is taken to be what was expected."""
MEDIAN_OF_SQUARES = 0.455
"""Of a normal variable, in units of their mean."""
AT_ONCE = 4096
"""Swaps whose covariances with those that were judged are in memory at once."""
WIDEST = 64
"""Without a forecast so many filters that stay, and that go, are paired with each other in each group: by the order."""


@dataclass(frozen=True)
class Swap:
    """A filter that goes for another one of its group to stay, and by how much that is expected to raise the proxy.

    mean, variance: of what it changes. slope, error: its forecast, zero without one. rise: of the place in the order.
    """

    group: str
    gone: int
    come: int
    mean: float = 0.0
    variance: float = 1.0
    slope: float = 0.0
    error: float = 0.0
    rise: float = 0.0

    @property
    def filters(self) -> set[tuple[str, int]]:
        """Both, with their group."""
        return {(self.group, self.gone), (self.group, self.come)}

    def made(self, plan: Plan) -> Plan:
        """Return the plan after the swap."""
        kept = tuple(sorted({*plan.keep[self.group], self.come} - {self.gone}))
        return Plan({**plan.keep, self.group: kept}, plan.widths)


@dataclass(frozen=True)
class _Rows:
    """Several swaps as columns, all [n]; group: number of the group."""

    group: np.ndarray
    gone: np.ndarray
    come: np.ndarray
    slope: np.ndarray
    error: np.ndarray
    rise: np.ndarray

    def __len__(self) -> int:
        return len(self.group)

    def blocks(self) -> Iterator[_Rows]:
        """Yield the rows, AT_ONCE of them after the other."""
        for first in range(0, len(self), AT_ONCE):
            yield _Rows(*(getattr(self, name)[first : first + AT_ONCE] for name in type(self).__annotations__))

    @classmethod
    def joined(cls, parts: Sequence[_Rows]) -> _Rows:
        """Return the rows of several."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__annotations__))


class Worths:
    """A Gaussian process over swaps: two factors of the forecast, and what each filter of each group is worth beside.

    A swap changes the proxy by its forecast's terms, times factors that are learned for all groups and for each, plus
    a constant of its group, plus the worth of who comes less that of who goes, plus what is of this swap alone.
    scores: group -> [C], by whose order filters are taken to be worth something where there is no forecast. Proposed
    are the swaps with the greatest expected improvement under what is believed so far.
    Source: Jones et al., Efficient Global Optimization, 1998 (expected improvement); Rasmussen & Williams, Gaussian
    Processes for Machine Learning, 2006, section 2.7 (explicit basis functions).
    """

    def __init__(self, scores: Mapping[str, Tensor]) -> None:
        self.places = {group: _quantiles(values) for group, values in scores.items()}
        self.numbers = {group: number for number, group in enumerate(scores)}
        self.tables: Mapping[str, SwapTable] = {}
        self.judged: list[tuple[Swap, float, float]] = []

    def forecast(self, tables: Mapping[str, SwapTable]) -> None:
        """Take the forecasts of the plan that swaps are proposed for from now on."""
        self.tables = tables

    def learn(self, swap: Swap, change: float, error: float | None = None) -> None:
        """Take what the proxy changed by when a swap was made; error: what chance has in that, a standard deviation."""
        self.judged.append((swap, change, error or 0.0))

    def propose(self, plan: Plan, seen: Collection[str], count: int) -> list[Swap]:
        """Return up to `count` swaps that lead to new plans, the most promising first.

        One of each group where that is enough; then no filter is in two of them where others are left.
        """
        groups = [group for group, kept in plan.keep.items() if len(kept) < plan.widths[group]]
        parts = [part for group in groups if len(part := self._pairs(plan, group))]
        if not parts:
            return []
        rows = _Rows.joined(parts)
        scales = self._scales()
        mean, variance = self._believed(rows, scales)
        variance = variance + np.square(NOISE * scales[rows.group])
        order = np.argsort(-expected_improvement(mean, np.sqrt(variance)), kind="stable")
        names = list(self.numbers)

        def swaps() -> Iterator[Swap]:
            for place in order:
                yield Swap(
                    names[rows.group[place]], int(rows.gone[place]), int(rows.come[place]), float(mean[place]),
                    float(variance[place]), *(float(of[place]) for of in (rows.slope, rows.error, rows.rise)),
                )  # fmt: skip

        return _apart(swaps, plan, seen, count)

    def _pairs(self, plan: Plan, group: str) -> _Rows:
        """Return the swaps of a group that are thought of."""
        kept, place, table = set(plan.keep[group]), self.places[group], self.tables.get(group)
        if table is None:
            stay = np.array(plan.keep[group])
            left = np.setdiff1d(np.arange(plan.widths[group]), stay)
            gone = stay[np.argsort(place[stay], kind="stable")[:WIDEST]]
            come = left[np.argsort(-place[left], kind="stable")[:WIDEST]]
            slope = error = np.zeros((len(gone), len(come)))
        else:
            stays = np.isin(table.gone, list(kept))
            leaves = ~np.isin(table.come, list(kept))
            gone, come = table.gone[stays], table.come[leaves]
            slope, error = (of[stays][:, leaves] for of in (table.slope, table.error))
        first, second = (side.ravel() for side in np.meshgrid(gone, come, indexing="ij"))
        rise = place[second] - place[first] if table is None else np.zeros(len(first))
        numbers = np.full(len(first), self.numbers[group])
        return _Rows(numbers, first, second, slope.ravel(), error.ravel(), rise)

    def _known(self) -> _Rows:
        """Return the swaps that were judged."""
        swaps = [swap for swap, _, _ in self.judged]
        whole = [np.array([getattr(one, name) for one in swaps], dtype=int) for name in ("gone", "come")]
        parts = [np.array([getattr(one, name) for one in swaps]) for name in ("slope", "error", "rise")]
        return _Rows(np.array([self.numbers[one.group] for one in swaps], dtype=int), *whole, *parts)

    def _scales(self) -> np.ndarray:
        """Return how large changes are in each group, [groups]: as expected, then ever more as they were seen."""
        known = self._known()
        squares = np.array([change**2 - error**2 for _, change, error in self.judged])  # what chance adds is no change
        # By the median, for one group in which changes are ten times as large is no measure of the others.
        usual = max(float(np.median(squares)) / MEDIAN_OF_SQUARES, 0.0) if len(squares) else 0.0
        scales = []
        for group, number in self.numbers.items():
            table, own = self.tables.get(group), np.maximum(squares[known.group == number], 0.0)
            expected = usual or 1.0
            if table is not None:
                expected = float(np.square(SLOPE * table.slope + ERROR * table.error).mean())
            scales.append(np.sqrt((DOUBT * expected + own.sum()) / (DOUBT + len(own))) or 1.0)
        return np.array(scales)

    def _believed(self, rows: _Rows, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance [n] of what swaps change, without what is of one alone; scales: [groups]."""
        mean, variance = self._expected(rows, scales), _own_variance(rows, scales)
        if not self.judged:
            return mean, variance
        known = self._known()
        changes, errors = (np.array([one[place] for one in self.judged]) for place in (1, 2))
        noise = np.square(NOISE * scales[known.group]) + np.square(errors)
        factor = cho_factor(_covariance(known, known, scales) + np.diag(noise))
        missed = changes - self._expected(known, scales)
        means, variances = [], []
        for block in rows.blocks():
            beside = _covariance(block, known, scales)
            told = cho_solve(factor, beside.T).T
            means.append(told @ missed)
            variances.append((beside * told).sum(1))
        return mean + np.concatenate(means), np.maximum(variance - np.concatenate(variances), 0.0)

    def _expected(self, rows: _Rows, scales: np.ndarray) -> np.ndarray:
        """Return what swaps are taken to change before any was judged, [n]."""
        constant = scales[rows.group] * (COST + RISE * rows.rise)
        return np.asarray(SLOPE * rows.slope + ERROR * rows.error + constant)


def revised(swap: Swap, change: float, error: float | None) -> Swap:
    """Return a swap with what is believed of its change after it was seen, with a standard error; None: it is known."""
    if not error:
        return replace(swap, mean=change, variance=0.0)
    share = swap.variance / (swap.variance + error**2)
    return replace(swap, mean=swap.mean + share * (change - swap.mean), variance=share * error**2)


def expected_improvement(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return the mean of max(0, x) for normal x; deviation: above 0."""
    above = mean / deviation
    return np.asarray(deviation * (np.exp(-0.5 * above**2) / np.sqrt(2 * np.pi) + above * ndtr(above)))


def _apart(swaps: Callable[[], Iterator[Swap]], plan: Plan, seen: Collection[str], count: int) -> list[Swap]:
    """Return the first swaps that lead to new plans: first of groups apart, then of filters apart, then any."""
    found: dict[str, Swap] = {}
    for by_group, by_filter in ((True, True), (False, True), (False, False)):
        used = {one for swap in found.values() for one in swap.filters}
        groups = {swap.group for swap in found.values()}
        for swap in swaps():
            if len(found) == count:
                return list(found.values())
            if (by_group and swap.group in groups) or (by_filter and not used.isdisjoint(swap.filters)):
                continue
            digest = swap.made(plan).digest
            if digest not in seen and digest not in found:
                found[digest] = swap
                used |= swap.filters
                groups.add(swap.group)
    return list(found.values())


def _covariance(one: _Rows, other: _Rows, scales: np.ndarray) -> np.ndarray:
    """Return the prior covariance of what swaps change, [n, m], without what is of one alone."""
    shared = SLOPE_SPREAD**2 * np.outer(one.slope, other.slope) + ERROR_SPREAD**2 * np.outer(one.error, other.error)
    worths = sum(
        sign * (first[:, None] == second[None])
        for sign, first, second in (
            (1.0, one.come, other.come),
            (1.0, one.gone, other.gone),
            (-1.0, one.come, other.gone),
            (-1.0, one.gone, other.come),
        )
    )
    units = np.outer(scales[one.group], scales[other.group])
    same = one.group[:, None] == other.group[None]
    return np.asarray(shared + same * (shared + units * (COST_SPREAD**2 + SPREAD**2 * worths)))


def _own_variance(rows: _Rows, scales: np.ndarray) -> np.ndarray:
    """Return the diagonal of the prior covariance, [n]."""
    shared = np.square(SLOPE_SPREAD * rows.slope) + np.square(ERROR_SPREAD * rows.error)
    return np.asarray(2 * shared + np.square(scales[rows.group]) * (COST_SPREAD**2 + 2 * SPREAD**2))


def _quantiles(values: Tensor) -> np.ndarray:
    """Return the normal quantile of each filter's place in the order, [C]; ties in the order of their numbers."""
    places = values.argsort(stable=True).argsort().numpy()
    return np.asarray(ndtri((places + 0.5) / len(values)))
