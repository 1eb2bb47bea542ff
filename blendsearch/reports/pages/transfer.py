"""Write the figures and the page of a transfer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendsearch.progress import Progress, silent
from blendsearch.reports.building import draw_all, fill, write_page
from blendsearch.reports.figures.style import Drawing, Theme
from blendsearch.reports.figures.transfer import SEARCHED, draw_transfer
from blendsearch.reports.pages.parts import VERDICTS
from blendsearch.reports.pages.transfer_words import (
    allocated,
    headline,
    origin_of,
    own_allocations,
    rule_of,
    setting_of,
    verdicts_of,
)
from blendsearch.reports.repeat_command import place_of
from blendsearch.results.records.transfer import (
    Against,
    FoundResults,
    Reached,
    SpaceRecord,
    TransferRun,
    read_spaces,
    read_transfer,
)
from blendsearch.results.words import DASH, interval, percent, points

PAGE = "transfer.html"
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
    "blend.json": "the blend as fitted to this network",
    "records/retrained": "one file a retraining done here: test accuracy, losses, filters kept",
    "records/proxies.json": "the proxies",
    "search/report.html": "the report of the campaign that searched a blend there",
    "search/summary.json": "the numbers of that campaign",
    "search/records/retrained": "its retrainings: the blend searched there and every criterion",
}


@dataclass(frozen=True)
class SpaceLine:
    """A space's line of the main table: cells as (text, css class)."""

    space: str
    setting: str
    cells: list[tuple[str, str]]


@dataclass(frozen=True)
class RivalLine:
    """A line of a space's table: the blend, or what stands against it."""

    name: str
    css: str
    cells: list[tuple[str, str]]


@dataclass(frozen=True)
class SpaceStory:
    """A space's section: sentences, lines of its table, and its files with what they hold; behind: retrainings."""

    name: str
    figure: str
    setting: str
    verdicts: list[str]
    rule: str
    notes: list[str]
    allocation: str
    own_allocations: list[str]
    schedule: str
    seeds: int
    lines: list[RivalLine]
    baseline: str
    matched: dict[str, str]
    sources: dict[str, str]
    behind: list[str]


def build_transfer_report(run_dir: Path, progress: Progress = silent) -> Path:
    """Write figures/*.png, figures/*.svg and transfer.html into a transfer's folder; return the page's path.

    Raises RunError when the folder or its transfer.json is missing or broken, or nothing can be written.
    """
    run = read_transfer(Path(run_dir))
    drawn = {figure_name(row): _figure_of(row) for row in run.summary.spaces}
    figures = draw_all(drawn, run, progress)
    page = write_page(run.folder, drawn, figures, fill("transfer.html.j2", figures, **tell_transfer(run)), PAGE)
    progress("report", len(drawn) + 1, len(drawn) + 1, page.name)
    return page


def figure_name(row: SpaceRecord) -> str:
    """Return the name of a space's figure, and of its files below figures/."""
    return f"differences_{row.space}"


def _figure_of(row: SpaceRecord) -> Callable[[TransferRun, Theme], Drawing]:
    return lambda run, theme: draw_transfer(row, theme)


def tell_transfer(run: TransferRun) -> dict[str, Any]:
    """Return the template's words for a run."""
    summary = run.summary
    spaces, found_on = summary.spaces, summary.blend.found_on
    return {
        "summary": summary,
        "headline": headline(spaces),
        "origin": origin_of(summary.blend.file, found_on),
        "found": found_there(found_on.results),
        "lines": [space_line(row, summary.searches) for row in spaces],
        "stories": [story_of(run, row) for row in spaces],
        "sources": [(name, what, (run.folder / name).exists()) for name, what in SOURCES.items()],
        "place": place_of(read_spaces(run)),
        "several_seeds": any(row.seeds > 1 for row in spaces),
    }


def found_there(results: FoundResults | None) -> str:
    """Return what the blend came to where it was found; nothing where its file does not say."""
    if results is None:
        return ""
    own, best = results.test_accuracy.mean, results.best_criterion
    other = f"{percent(best.test_accuracy.mean)} of {best.name}, the best criterion there"
    return f"Where it was found it came to {percent(own)} against {other}: {results.verdict}."


def space_line(row: SpaceRecord, searches: bool) -> SpaceLine:
    """Return a space's line of the main table; the cells on the blend searched there only where there was one."""
    best = row.criteria[row.best_criterion]
    cells = [
        (_number(row.baseline), ""),
        (_spread(row.transferred), "main"),
        (_named(row, row.best_criterion), "name"),
        (_spread(best), "whole"),
        *_compared(row.against_criterion),
    ]
    if searches:
        cells += [(_spread(row.searched), "whole"), *_compared(row.against_searched)]
    return SpaceLine(row.space, setting_of(row), cells)


def story_of(run: TransferRun, row: SpaceRecord) -> SpaceStory:
    """Return what the section of a space tells."""
    files = {f"{row.space}/{name}": what for name, what in SOURCES_OF_A_SPACE.items()}
    sources = {name: what for name, what in files.items() if (run.folder / name).exists()}
    given = [result.allocation for result in row.criteria.values()]
    return SpaceStory(
        row.space, figure_name(row), setting_of(row), verdicts_of(row), rule_of(row.rule), row.notes, row.allocation,
        own_allocations(given, row.allocation), row.schedule, row.seeds, rival_lines(row), _number(row.baseline),
        row.matched, sources, [name for name in sources if name.endswith("records/retrained")],
    )  # fmt: skip


def rival_lines(row: SpaceRecord) -> list[RivalLine]:
    """Return the transferred blend, the blend searched there, then the criteria, highest accuracy first."""
    lines = [RivalLine("transferred blend", "blend", _reached(row.transferred, None))]
    if row.searched is not None:
        lines.append(RivalLine(f"blend {SEARCHED}", "criterion", _reached(row.searched, row.against_searched)))
    for name in row.ranked:
        css = "best" if name == row.best_criterion else "criterion"
        lines.append(RivalLine(_named(row, name), css, _reached(row.criteria[name], row.differences[name])))
    return lines


def _named(row: SpaceRecord, criterion: str) -> str:
    """Return a criterion's name, with its allocation where that is not the space's."""
    return allocated(criterion, row.criteria[criterion].allocation, row.allocation)


def _reached(result: Reached, against: Against | None) -> list[tuple[str, str]]:
    proxy = DASH if result.proxy is None else f"{result.proxy:.4f}"
    kept = [(_number(result.flops_ratio, 1), ""), (_number(result.params_ratio, 1), "")]
    return [(_spread(result), "main"), (proxy, ""), *kept, *_compared(against)]


def _compared(against: Against | None) -> list[tuple[str, str]]:
    """Return the difference with its interval, and the verdict, as cells."""
    if against is None:
        return [(DASH, ""), (DASH, "said")]
    symbol, _ = VERDICTS[against.verdict]
    bounds = interval(against.interval).replace(" ", "\N{NO-BREAK SPACE}")
    return [
        (f"{points(against.difference)} {bounds}".strip(), ""),
        (f"{symbol} {against.verdict}", "said"),
    ]


def _spread(result: Reached | None) -> str:
    """Return '97.25 ± 0.12' in per cent, '97.25' for one seed, a dash where there is nothing."""
    if result is None:
        return DASH
    spread = result.test_accuracy_std
    return _number(result.test_accuracy) + ("" if spread is None else f" ± {_number(spread)}")


def _number(share: float | None, digits: int = 2) -> str:
    """Return a share in [0, 1] in per cent without the sign, which the column's head has, or a dash."""
    return DASH if share is None else f"{100 * share:.{digits}f}"
