"""The decision at the head of a campaign's page: which network to ship, what it costs, how to load it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blendsearch.results.outcomes import Result, results
from blendsearch.results.records.retraining import BLEND
from blendsearch.results.records.search import LatencyPair, SearchSummary, Shipped
from blendsearch.results.runs import SearchRun
from blendsearch.results.words import count, percent, plural, points, points_and_interval


@dataclass(frozen=True, kw_only=True)
class Change:
    """A line of the table: what is measured, before, after, and what that means."""

    what: str
    before: str
    after: str
    change: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the head of the page shows. hindsight: who was better on test, as a sentence; "" for nobody."""

    headline: str
    sentence: str
    hindsight: str
    changes: tuple[Change, ...]


def decide(run: SearchRun) -> Decision | None:
    """Return the decision; None for records of older versions, which made none.

    Latencies are those of a later benchmark where there was one.
    """
    shipped = run.summary.shipped
    if shipped is None:
        return None
    own = next((one for one in results(run) if one.name == shipped.name), None)
    return _decision(run.summary, shipped, own, run.benchmark or shipped.latency)


def _decision(summary: SearchSummary, shipped: Shipped, own: Result | None, latency: Sequence[LatencyPair]) -> Decision:
    whose = "the blend" if shipped.kind == BLEND else shipped.name
    gain = "lost" if shipped.lost >= 0 else "gained"
    return Decision(
        headline=(
            f"Ship the network pruned by {whose}: {percent(shipped.flops_ratio, 0)} of the FLOPs, "
            f"{100 * abs(shipped.lost):.2f} points {gain}"
        ),
        sentence=shipped.sentence,
        hindsight=_hindsight(shipped, own),
        changes=(
            Change(
                what="test accuracy",
                before=percent(summary.unpruned.test_accuracy),
                after=percent(shipped.test_accuracy),
                change=f"{points_and_interval(-shipped.lost, _turned(shipped.interval))} points",
            ),
            _cost("FLOPs", summary.unpruned.flops, shipped.flops, shipped.flops_ratio),
            _cost("parameters", summary.unpruned.params, shipped.params, shipped.params_ratio),
            Change(
                what="file of weights",
                before=_megabytes(shipped.unpruned_megabytes),
                after=_megabytes(shipped.megabytes),
                change=percent(shipped.megabytes / shipped.unpruned_megabytes, 1),
            ),
            *(_latency(pair) for pair in latency),
        ),
    )


def _turned(bounds: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (-bounds[1], -bounds[0])


def _cost(what: str, before: float | None, after: float | None, ratio: float) -> Change:
    return Change(what=what, before=count(before), after=count(after), change=percent(ratio, 1))


def _latency(pair: LatencyPair) -> Change:
    threads = f", {plural(pair.threads, 'thread')}" if pair.device == "cpu" else ""
    return Change(
        what=f"latency of {plural(pair.images, 'image')} ({pair.runtime}, {pair.device}{threads})",
        before=f"{pair.unpruned_ms:.3g} ms",
        after=f"{pair.shipped_ms:.3g} ms",
        change=f"{pair.unpruned_ms / pair.shipped_ms:.2f} times as fast",
    )


def _megabytes(size: float) -> str:
    return f"{size:.3g} MB" if size >= 0.1 else f"{1000 * size:.3g} kB"


def _hindsight(shipped: Shipped, own: Result | None) -> str:
    """Say who was better on test; own: what the shipped network's contender came to, by its mean like the others."""
    gap = shipped.best_on_test_accuracy - (shipped.test_accuracy if own is None else own.test_accuracy)
    if gap <= 0 or shipped.best_on_test == shipped.name:
        return ""
    whose = "The blend" if shipped.best_on_test == BLEND else shipped.best_on_test
    means = "" if own is None or own.seeds == 1 else f" (means over {own.seeds} seeds)"
    return (
        f"{whose} came to {percent(shipped.best_on_test_accuracy)} on the test images, {points(gap)} points{means}; "
        "which of many is best there is known in hindsight only, and is partly luck."
    )
