"""The page of a transfer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from blendsearch.reports.after import After, after_steps
from blendsearch.reports.figures.transfer import SEARCHED, TRANSFER_FIGURES, shown_in
from blendsearch.reports.page import Page
from blendsearch.reports.pages.parts import VERDICTS, list_sources
from blendsearch.reports.pages.transfer_words import (
    after_all,
    headline,
    tell_allocations,
    tell_origin,
    tell_rule,
    tell_setting,
    tell_verdicts,
)
from blendsearch.reports.repeat_command import place_commands
from blendsearch.reports.selection import Fold, fold_of
from blendsearch.results.records.common import Difference
from blendsearch.results.records.provenance import FoundResults
from blendsearch.results.records.search import Outcome
from blendsearch.results.records.transfer import SpaceRecord
from blendsearch.results.runs import TransferRun, read_transfer_run
from blendsearch.results.words import DASH, decimal, in_percent, interval, mean_and_deviation, percent, points

SOURCES = {
    "transfer.json": "every mean, deviation, difference, interval and verdict of this page",
    "transfer.csv": "the table of all spaces, numbers in full",
    "transfer.md": "the tables as text",
    "blend.json": "the blend that was transferred: calibration factors, and what it was found on",
    "events.jsonl": "what happened when",
}
SOURCES_OF_A_SPACE = {
    "result.json": "its part of transfer.json",
    "space.yaml": "every setting, resolved",
    "blend.json": "the blend as adapted to this network",
    "records/retrained": "one file a network and seed: test accuracy, losses, filters kept",
    "records/proxies.json": "the proxies",
    "search/report.html": "the report of the campaign that searched a blend there",
    "search/summary.json": "the numbers of that campaign",
    "search/records/retrained": "its networks: of the blend searched there and of every criterion",
}


@dataclass(frozen=True)
class Line:
    """A line of a table: its name, how it looks, and its cells as (text, css class).

    place: of a criterion among the criteria. rest: hidden while the table is folded.
    """

    name: str
    css: str
    cells: list[tuple[str, str]]
    place: str = ""
    rest: bool = False


@dataclass(frozen=True, kw_only=True)
class SpaceStory:
    """A space's section: sentences, lines of its table and how they are unfolded, and where its single records are."""

    row: SpaceRecord
    after: After
    figure: str
    setting: str
    verdicts: list[str]
    rule: str
    own_allocations: list[str]
    lines: list[Line]
    more: Fold | None
    unpruned: str
    behind: list[str]


def tell_transfer(run: TransferRun) -> dict[str, Any]:
    """Return the template's words for a run."""
    summary = run.summary
    spaces, found_on = summary.spaces, summary.blend.found_on
    return {
        "summary": summary,
        "headline": headline(spaces),
        "origin": tell_origin(summary.blend.file, found_on),
        "found": tell_results(found_on.results),
        "after": after_all(spaces),
        "lines": [space_line(row, summary.searches) for row in spaces],
        "stories": [story_of(run, row) for row in spaces],
        "sources": [*list_sources(run.folder, SOURCES), *(one for row in spaces for one in _sources_of(run, row))],
        "place": place_commands(run.settings, run.folder),
        "deviations": any(row.transferred.test_accuracy_std is not None for row in spaces),
        "intervals": any(row.against_criterion.interval is not None for row in spaces),
    }


def tell_results(results: FoundResults | None) -> str:
    """Return what the blend came to where it was found; nothing where its file does not say."""
    if results is None:
        return ""
    own, best = results.test_accuracy.mean, results.best_criterion
    other = f"{percent(best.test_accuracy.mean)} of {best.name}, the best criterion there"
    return f"Where it was found it came to {percent(own)} against {other}: {results.verdict}."


def space_line(row: SpaceRecord, searches: bool) -> Line:
    """Return a space's line of the main table; the cells on the blend searched there only where there was one."""
    cells = [
        (tell_setting(row), "setting"),
        (in_percent(row.unpruned), ""),
        (_accuracy(row.transferred), "main"),
        (row.label_of(row.best_criterion), "name"),
        (_accuracy(row.criteria[row.best_criterion]), "whole"),
        *_compared(row.against_criterion),
    ]
    if searches:
        cells += [(_accuracy(row.searched), "whole"), *_compared(row.against_searched)]
    return Line(row.space, "criterion", cells)


def story_of(run: TransferRun, row: SpaceRecord) -> SpaceStory:
    """Return what the section of a space tells."""
    return SpaceStory(
        row=row,
        after=after_steps(row.transferred.steps),
        figure=f"differences_{row.space}",
        setting=tell_setting(row),
        verdicts=tell_verdicts(row),
        rule=tell_rule(row.rule),
        own_allocations=tell_allocations(row),
        lines=compared_lines(row),
        more=fold_of(len(row.criteria), len(shown_in(row)), "criteria"),
        unpruned=in_percent(row.unpruned),
        behind=[name for name, _, _ in _sources_of(run, row) if name.endswith("records/retrained")],
    )


def _sources_of(run: TransferRun, row: SpaceRecord) -> list[tuple[str, str, bool]]:
    """Return the files of a space that are there, as `list_sources` does."""
    files = {f"{row.space}/{name}": what for name, what in SOURCES_OF_A_SPACE.items()}
    return [source for source in list_sources(run.folder, files) if source[2]]


def compared_lines(row: SpaceRecord) -> list[Line]:
    """Return the transferred blend, the blend searched there, then the criteria, highest accuracy first."""
    lines = [Line("transferred blend", "blend", _cells(row.transferred, None))]
    if row.searched is not None:
        lines.append(Line(f"blend {SEARCHED}", "criterion", _cells(row.searched, row.against_searched)))
    shown = shown_in(row)
    for place, name in enumerate(row.ranked, start=1):
        css = "best" if name == row.best_criterion else "criterion"
        cells = _cells(row.criteria[name], row.differences[name])
        lines.append(Line(row.label_of(name), css, cells, str(place), name not in shown))
    return lines


def _cells(outcome: Outcome, against: Difference | None) -> list[tuple[str, str]]:
    kept = [(in_percent(outcome.flops_ratio, 1), ""), (in_percent(outcome.params_ratio, 1), "")]
    return [(_accuracy(outcome), "main"), (decimal(outcome.proxy, 4), ""), *kept, *_compared(against)]


def _compared(against: Difference | None) -> list[tuple[str, str]]:
    """Return the difference with its interval, and the verdict, as cells."""
    if against is None:
        return [(DASH, ""), (DASH, "said")]
    symbol, _ = VERDICTS[against.verdict]
    bounds = interval(against.interval).replace(" ", "\N{NO-BREAK SPACE}")
    return [(f"{points(against.difference)} {bounds}".strip(), ""), (f"{symbol} {against.verdict}", "said")]


def _accuracy(outcome: Outcome | None) -> str:
    return mean_and_deviation(outcome.test_accuracy, outcome.test_accuracy_std) if outcome else DASH


PAGE = Page(
    read=read_transfer_run,
    figures=TRANSFER_FIGURES,
    template="transfer.html.j2",
    words=tell_transfer,
    file="transfer.html",
)
