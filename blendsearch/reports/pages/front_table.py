"""The front of a campaign as a table: each retrained point beside the criterion of the same budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blendsearch.results.records.search import FrontPoint
from blendsearch.results.runs import SearchRun
from blendsearch.results.words import DASH, cost_name, decimal, interval, mean_and_deviation, percent, points


@dataclass(frozen=True, kw_only=True)
class FrontRow:
    """A point in words. shares: kept, one for each kind of cost. better: whether the interval lies above 0."""

    place: int
    budget: str
    shares: tuple[str, ...]
    proxy: str
    accuracy: str
    criterion: str
    criterion_proxy: str
    criterion_accuracy: str
    difference: str
    interval: str
    better: bool


@dataclass(frozen=True, kw_only=True)
class FrontTable:
    """What the section of the front shows. kinds: column heads. told: how many points are shown to be better."""

    kinds: tuple[str, ...]
    rows: tuple[FrontRow, ...]
    told: str


def front_table(run: SearchRun) -> FrontTable | None:
    """Return the table of a campaign's front, or None when it had one objective."""
    if run.front is None or not run.summary.front:
        return None
    found, kinds = run.summary.front, tuple(run.summary.front[0].shares)
    return FrontTable(
        kinds=tuple(cost_name(kind) for kind in kinds),
        rows=tuple(_row(point, kinds) for point in found),
        told=_told(found),
    )


def _row(point: FrontPoint, kinds: Sequence[str]) -> FrontRow:
    other = point.criterion
    return FrontRow(
        place=point.place,
        budget=percent(point.budget, 1),
        shares=tuple(percent(point.shares.get(kind), 1) for kind in kinds),
        proxy=decimal(point.proxy, 4),
        accuracy=mean_and_deviation(point.test_accuracy, point.test_accuracy_std),
        criterion=f"{other.name} (same filters)" if point.same_filters else other.name,
        criterion_proxy=decimal(other.proxy, 4),
        criterion_accuracy=mean_and_deviation(other.test_accuracy, other.test_accuracy_std),
        difference=points(point.difference),
        interval=interval(point.interval) or DASH,
        better=point.interval is not None and point.interval[0] > 0,
    )


def _told(found: Sequence[FrontPoint]) -> str:
    tested = [point.interval for point in found if point.interval is not None]
    if not tested:
        once = all(point.test_accuracy_std is None for point in found)
        return f"{'One retraining seed' if once else 'Nothing varies'}: no difference is tested."
    better, worse = sum(bounds[0] > 0 for bounds in tested), sum(bounds[1] < 0 for bounds in tested)
    sentence = f"At {better} of {len(found)} points the interval of the difference lies above 0"
    return f"{sentence}, at {worse} below it." if worse else f"{sentence}."
