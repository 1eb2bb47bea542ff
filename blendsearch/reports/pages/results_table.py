"""The result table of a campaign: every pruned and retrained network, the best mean test accuracy first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blendsearch.reports.after import after_pruning, title
from blendsearch.reports.pages.results_words import tell_results
from blendsearch.reports.pages.search_story import own_allocations
from blendsearch.reports.selection import Fold, fold_of, shown_contenders
from blendsearch.results.outcomes import PairedDifference, Result, differences
from blendsearch.results.runs import SearchRun
from blendsearch.results.words import (
    DASH,
    decimal,
    in_percent,
    mean_and_deviation,
    milliseconds,
    percent_range,
    points_and_interval,
)

TIE = 1e-9
"""Differences between means that are rounding."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A mean, its spread and the single seeds as places in [0, 100] on one scale for all rows."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the result table in words; place: equal accuracies share it. rest: hidden while the table is folded."""

    place: int
    name: str
    kind: str
    rest: bool
    accuracy: str
    strip: Strip
    difference: str
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
    """What the section of the results shows. range: of the strips. foot: the unpruned network. told: the caption.

    before: the head of the column of accuracies before retraining. seeds_differ, has_differences, has_pruned,
    has_latency: whether there are columns of seeds, of differences, of the accuracy before retraining, of latency
    (where it is known of more than one network). fold: how the rest is unfolded, None where nothing is hidden.
    """

    title: str
    rows: tuple[Row, ...]
    range: str
    before: str
    told: tuple[str, ...]
    seeds_differ: bool
    has_differences: bool
    has_pruned: bool
    has_latency: bool
    foot: Foot
    fold: Fold | None


def results_table(run: SearchRun, ranked: Sequence[Result]) -> ResultsTable:
    """Return the table of a campaign's results."""
    unpruned, scale = run.summary.unpruned, _scale(ranked)
    shown = shown_contenders(run)
    against, places = {one.name: one for one in differences(run)}, _places(ranked)
    after = after_pruning(run.space)
    rows = [
        _row(
            run,
            item,
            place=places[item.name],
            strip=_strip(item, scale),
            against=against.get(item.name),
            rest=item.name not in shown,
        )
        for item in ranked
    ]
    return ResultsTable(
        title=title(after.equal),
        rows=tuple(rows),
        range=percent_range(scale, 1),
        before="before retraining" if after.retrained else "right after pruning",
        told=tuple(tell_results(run, ranked, list(against.values()))),
        seeds_differ=len({item.seeds for item in ranked}) > 1,
        has_differences=bool(against),
        has_pruned=any(item.pruned_test_accuracy is not None for item in ranked),
        has_latency=sum(item.latency_ms is not None for item in ranked) > 1,
        foot=Foot(
            accuracy=in_percent(unpruned.test_accuracy),
            search=in_percent(unpruned.search_accuracy),
            latency=milliseconds(unpruned.latency_ms),
        ),
        fold=fold_of(len(ranked), len(shown), "places", "the blend and what it is held to"),
    )


def _places(ranked: Sequence[Result]) -> dict[str, int]:
    """Return how many are more accurate than each, plus one; equal accuracies share a place."""
    return {item.name: 1 + sum(other.test_accuracy > item.test_accuracy + TIE for other in ranked) for item in ranked}


def _row(
    run: SearchRun, item: Result, *, place: int, strip: Strip, against: PairedDifference | None, rest: bool
) -> Row:
    best = item.name == run.summary.comparison.best_criterion
    return Row(
        place=place,
        name=f"{item.name} ({item.allocation})" if item.allocation and own_allocations(run) else item.name,
        kind="blend" if item.is_blend else "best" if best else "criterion",
        rest=rest,
        accuracy=mean_and_deviation(item.test_accuracy, item.std),
        strip=strip,
        difference=points_and_interval(against.mean, against.interval) if against else DASH,
        seeds=item.seeds,
        pruned=in_percent(item.pruned_test_accuracy),
        search=in_percent(item.search_accuracy),
        proxy=decimal(item.proxy, 4),
        flops=in_percent(item.flops_ratio, 1),
        params=in_percent(item.params_ratio, 1),
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
