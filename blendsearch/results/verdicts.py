"""The verdicts of a campaign in one order, for terminal and page alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # not loaded at run time, so that --help does not wait for them
    from blendsearch.results.records.search import SearchSummary


def against_no_search(summary: SearchSummary) -> list[str]:
    """Return what the blend is worth against what one would have had without a search, and against chance."""
    comparison = summary.comparison
    found = [comparison.without_search, comparison.random_search]
    return [one.sentence for one in found if one is not None and one.sentence]


def against_rivals(summary: SearchSummary) -> list[str]:
    """Return what the blend is worth against each fixed blend, and which fixed blends are not there or not whole."""
    said = [one.sentence for one in summary.comparison.rivals.values() if one.sentence]
    notes = [f"{name} is {one.note}." for name, one in summary.rivals.items() if one.note]
    return [*said, *notes, *(f"No {name}: {why}." for name, why in summary.rivals_left_out.items())]


def of_parts(summary: SearchSummary) -> list[str]:
    """Return what the blend is worth against each of its two parts."""
    return [part.sentence for part in summary.ablation.values() if part.sentence]


def difference_sentences(summary: SearchSummary) -> list[str]:
    """Return all sentences on differences: against the best in hindsight first."""
    best = [summary.comparison.sentence] if summary.comparison.sentence else []
    return [*best, *against_no_search(summary), *against_rivals(summary), *of_parts(summary)]


def limits_of_search(summary: SearchSummary) -> list[str]:
    """Return what fresh search images showed, and how far the search images flatter."""
    found = [summary.choice, summary.optimism]
    return [one.sentence for one in found if one is not None]
