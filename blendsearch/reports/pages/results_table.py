"""The result table of a campaign: every pruned and retrained network, the best mean test accuracy first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blendsearch.reports.pages.search_story import own_allocations
from blendsearch.results.outcomes import Result
from blendsearch.results.runs import SearchRun
from blendsearch.results.words import decimal, in_percent, milliseconds, percent, percent_range


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A mean, its spread and the single seeds as places in [0, 100] on one scale for all rows."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the result table in words."""

    place: int
    name: str
    kind: str
    accuracy: str
    std: str
    strip: Strip
    seeds: int
    pruned: str
    search: str
    proxy: str
    flops: str
    params: str
    latency: str


@dataclass(frozen=True, kw_only=True)
class Foot:
    """The unpruned network's line of the result table in words."""

    accuracy: str
    search: str
    latency: str


@dataclass(frozen=True, kw_only=True)
class ResultsTable:
    """What the section of the results shows. range: of the strips. foot: the unpruned network.

    has_pruned: whether the accuracy before retraining is known of any row.
    """

    rows: tuple[Row, ...]
    range: str
    has_pruned: bool
    has_latency: bool
    foot: Foot


def results_table(run: SearchRun, ranked: Sequence[Result]) -> ResultsTable:
    """Return the table of a campaign's results."""
    unpruned, scale = run.summary.unpruned, _scale(ranked)
    return ResultsTable(
        rows=tuple(_row(place, item, scale, run) for place, item in enumerate(ranked, start=1)),
        range=f"{percent_range(scale, 1)} %",
        has_pruned=any(item.pruned_test_accuracy is not None for item in ranked),
        has_latency=any(item.latency_ms is not None for item in ranked),
        foot=Foot(
            accuracy=percent(unpruned.test_accuracy),
            search=percent(unpruned.search_accuracy),
            latency=milliseconds(unpruned.latency_ms),
        ),
    )


def _row(place: int, item: Result, scale: tuple[float, float], run: SearchRun) -> Row:
    best = item.name == run.summary.comparison.best_criterion
    return Row(
        place=place,
        name=f"{item.name} ({item.allocation})" if item.allocation and own_allocations(run) else item.name,
        kind="blend" if item.is_blend else "best" if best else "criterion",
        accuracy=percent(item.test_accuracy),
        std=in_percent(item.std),
        strip=_strip(item, scale),
        seeds=item.seeds,
        pruned=percent(item.pruned_test_accuracy),
        search=percent(item.search_accuracy),
        proxy=decimal(item.proxy, 4),
        flops=percent(item.flops_ratio, 1),
        params=percent(item.params_ratio, 1),
        latency=milliseconds(item.latency_ms),
    )


def _scale(ranked: Sequence[Result]) -> tuple[float, float]:
    """Return the least and greatest accuracy that the strips show."""
    values = [value for item in ranked for value in item.accuracies.values()]
    for item in ranked:
        values += [item.test_accuracy - (item.std or 0), item.test_accuracy + (item.std or 0)]
    return min(values), max(values)


def _strip(item: Result, scale: tuple[float, float]) -> Strip:
    low, width = scale[0], max(scale[1] - scale[0], 1e-9)

    def at(value: float) -> float:
        return round(100 * (value - low) / width, 1)

    mean, std = item.test_accuracy, item.std or 0
    seeds = tuple(at(value) for value in item.accuracies.values())
    return Strip(mean=at(mean), low=at(mean - std), high=at(mean + std), seeds=seeds)
