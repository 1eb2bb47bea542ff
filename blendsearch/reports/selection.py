"""What a long list shows before it is unfolded: its first lines, what the page is about, and what everybody knows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from blendsearch.results.outcomes import results
from blendsearch.results.records.retraining import BLEND, RANDOM_SEARCH_NAME
from blendsearch.results.records.search import SearchSummary
from blendsearch.results.runs import SearchRun

FIRST = 5
SHORT = 18
"""Lines up to which all of a list is shown."""

WORTH_FOLDING = 4
"""Lines that must go out of sight for a longer list to be folded at all."""

SELECTED = f"Shown are the first {FIRST}, those that this page speaks of, and well-known criteria; the table has all."
"""What the caption of a figure says that shows a selection."""

KNOWN = ("l1", "l2", "fpgm", "bn_scale", "taylor", "hrank", "random")
"""Criteria that most papers on filter pruning compare with, and chance."""


@dataclass(frozen=True)
class Fold:
    """The line by which a table is unfolded: what it says, and what is seen until then."""

    summary: str
    note: str


def select(ranked: Sequence[str], named: Collection[str] = ()) -> list[str]:
    """Return the first, those that are named and the well known ones, in the list's order; all of a short list."""
    kept = {*ranked[:FIRST], *named, *KNOWN}
    chosen = [name for name in ranked if name in kept]
    folded = len(ranked) > SHORT and len(ranked) - len(chosen) >= WORTH_FOLDING
    return chosen if folded else list(ranked)


def fold_of(total: int, shown: int, what: str, named: str = "") -> Fold | None:
    """Return how a table of `what` is unfolded, None where all of it is shown; named: what else is shown, in words."""
    if shown == total:
        return None
    parts = [f"the first {FIRST}", named, "well-known criteria"]
    return Fold(f"Show all {total} {what}", f"Shown: {', '.join(filter(None, parts))}.")


def shown_contenders(run: SearchRun) -> list[str]:
    """Return whom the table and the figures of a campaign show at first, best test accuracy first."""
    return select([item.name for item in results(run)], named_contenders(run.summary))


def named_contenders(summary: SearchSummary) -> set[str]:
    """Return whom a campaign's page speaks of: the blend, its parts, and the best of each kind that it is held to."""
    comparison, rivals = summary.comparison, summary.rivals
    proxy_first = [] if comparison.without_search is None else [comparison.without_search.name]
    best_rival = [max(rivals, key=lambda name: rivals[name].test_accuracy)] if rivals else []
    return {BLEND, RANDOM_SEARCH_NAME, comparison.best_criterion, *proxy_first, *best_rival, *summary.ablation}
