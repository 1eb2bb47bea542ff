"""The front of a campaign as a table: each retrained point beside the criterion of the same budget."""

from __future__ import annotations

from dataclasses import dataclass

from blendsearch.results.records.search import FrontPoint, Outcome, Run
from blendsearch.results.words import DASH, cost_name, interval, percent, points


@dataclass(frozen=True)
class FrontRow:
    """A point in words. shares: kept, one for each kind of cost. better: whether the interval lies above 0."""

    place: str
    budget: str
    shares: tuple[str, ...]
    proxy: str
    accuracy: str
    std: str
    criterion: str
    criterion_proxy: str
    criterion_accuracy: str
    criterion_std: str
    difference: str
    interval: str
    better: bool


@dataclass(frozen=True)
class FrontTable:
    """What the section of the front shows. kinds: column heads. told: how many points are shown to be better."""

    kinds: tuple[str, ...]
    rows: tuple[FrontRow, ...]
    costs: str
    trials: int
    on_front: int
    told: str


def front_table(run: Run) -> FrontTable | None:
    """Return the table of a campaign's front, or None when it had one objective."""
    if run.front is None or not run.summary.front:
        return None
    found, kinds = run.summary.front, tuple(run.summary.front[0].shares)
    return FrontTable(
        kinds=tuple(cost_name(kind) for kind in kinds),
        rows=tuple(_row(point, kinds) for point in found),
        costs=" and ".join(cost_name(kind) for kind in run.front.costs),
        trials=len(run.front.trials),
        on_front=len(run.front.front),
        told=_told(found),
    )


def _row(point: FrontPoint, kinds: tuple[str, ...]) -> FrontRow:
    other = point.criterion
    return FrontRow(
        place=str(point.place),
        budget=percent(point.budget, 1),
        shares=tuple(percent(point.shares.get(kind), 1) for kind in kinds),
        proxy=_proxy(point),
        accuracy=percent(point.test_accuracy),
        std=_std(point),
        criterion=f"{other.name} (same filters)" if point.same_filters else other.name,
        criterion_proxy=_proxy(other),
        criterion_accuracy=percent(other.test_accuracy),
        criterion_std=_std(other),
        difference=DASH if point.difference is None else points(point.difference),
        interval=interval(point.interval) or DASH,
        better=point.interval is not None and point.interval[0] > 0,
    )


def _told(found: list[FrontPoint]) -> str:
    tested = [point.interval for point in found if point.interval is not None]
    if not tested:
        return "One retraining seed: no difference is tested."
    better, worse = sum(bounds[0] > 0 for bounds in tested), sum(bounds[1] < 0 for bounds in tested)
    sentence = f"At {better} of {len(found)} points the interval of the difference lies above 0"
    return f"{sentence}, at {worse} below it." if worse else f"{sentence}."


def _proxy(one: Outcome) -> str:
    return DASH if one.proxy is None else f"{one.proxy:.4f}"


def _std(one: Outcome) -> str:
    return DASH if one.test_accuracy_std is None else f"{100 * one.test_accuracy_std:.2f}"
