"""Write the figures and the page of a leaderboard."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendsearch.progress import Progress, silent
from blendsearch.reports.building import draw_all, fill, write_page
from blendsearch.reports.figures.agreement import draw_compact_agreement, draw_mean_agreement
from blendsearch.reports.figures.board import draw_accuracy, draw_means, draw_ranks
from blendsearch.reports.figures.style import Drawing, NotDrawn, Theme
from blendsearch.reports.pages.parts import KeyNumber
from blendsearch.reports.repeat_command import place_of
from blendsearch.results.records.leaderboard import BoardRun, Column, Result, Standing, read_board_run
from blendsearch.results.records.search import read_yaml
from blendsearch.results.words import DASH, count, duration, percent, points

PAGE = "leaderboard.html"
MOST_NUMBERED = 20
"""Criteria up to which the agreement's cells hold numbers; above that they would make most of the page."""
FIGURES: dict[str, Callable[[BoardRun, Theme], Drawing]] = {
    "ranks": draw_ranks,
    "means": draw_means,
    "accuracy": draw_accuracy,
}
SOURCES = {
    "leaderboard.json": "every rank, mean, interval, test, win and agreement of this page",
    "leaderboard.csv": "one line a retraining, numbers in full, with the name of its file",
    "leaderboard.md": "the tables as text",
    "board.yaml": "every setting of the board, resolved",
    "cells": "one file a retraining, named by a digest of what determines it: accuracies, losses, filters kept",
    "networks": "the unpruned networks: weights, accuracies, scores of each criterion and what they took",
    "events.jsonl": "what happened when",
}


@dataclass(frozen=True)
class StandingRow:
    """A line of the ranking: texts, and beside each the number it is sorted by."""

    name: str
    css: str
    cells: list[tuple[str, float | str]]


@dataclass(frozen=True)
class ResultRow:
    """A line of the table of results: where it is (network, allocation, ...), texts with numbers to sort by, files."""

    where: dict[str, str]
    name: str
    css: str
    cells: list[tuple[str, float]]
    seeds: list[tuple[str, str]]


def build_leaderboard_report(run_dir: Path, progress: Progress = silent) -> Path:
    """Write figures/*.png, figures/*.svg and leaderboard.html into a leaderboard's folder; return the page's path.

    Raises RunError when the folder or its leaderboard.json is missing, a record is broken, or nothing can be written.
    """
    run = read_board_run(Path(run_dir))
    drawn = {**FIGURES, **_agreements(run)}
    figures = draw_all(drawn, run, progress)
    text = fill("leaderboard.html.j2", figures, **tell_leaderboard(run))
    page = write_page(run.folder, drawn, figures, text, PAGE)
    progress("report", len(drawn) + 1, len(drawn) + 1, page.name)
    return page


def _agreements(run: BoardRun) -> dict[str, Callable[[BoardRun, Theme], Drawing]]:
    return {f"agreement_{name}": functools.partial(_draw_agreement, name) for name in run.summary.agreement}


def _draw_agreement(network: str, run: BoardRun, theme: Theme) -> Drawing:
    agreement = run.summary.agreement[network]
    if len(agreement.criteria) < 2:
        raise NotDrawn("Agreement needs at least two criteria.")
    draw = draw_compact_agreement if len(agreement.criteria) > MOST_NUMBERED else draw_mean_agreement
    return draw(agreement, theme)


def tell_leaderboard(run: BoardRun) -> dict[str, Any]:
    """Return the template's words for a run."""
    summary, found = run.summary, choices(run.summary.columns)
    return {
        "summary": summary,
        "numbers": key_numbers(run),
        "standings": [standing_row(run, place, one) for place, one in enumerate(summary.criteria, start=1)],
        "results": [row for column in summary.columns for row in result_rows(run, column)],
        "filters": {what: values for what, values in found.items() if len(values) > 1},
        "constant": [f"{what} {values[0]}" for what, values in found.items() if len(values) == 1],
        "wins": wins_rows(run),
        "left_out": [(network.name, network.left_out) for network in summary.networks if network.left_out],
        "sources": [(name, what, (run.folder / name).exists()) for name, what in SOURCES.items()],
        "seconds": duration(summary.seconds.get("total")),
        "p": f"{summary.test.p:.2g}" if summary.test else DASH,
        "board_text": run.board_text,
        "place": place_of([read_yaml(run.folder / "board.yaml", run.board_text)]),
    }


def key_numbers(run: BoardRun) -> list[KeyNumber]:
    """Return the numbers at the head of the page: how much was compared, and the unpruned networks."""
    summary = run.summary
    size = f"{len(summary.columns)} columns × {summary.seeds} {'seed' if summary.seeds == 1 else 'seeds'}"
    first = KeyNumber("Retrainings", f"{summary.cells:,}", f"{len(summary.criteria)} criteria, {size}")
    networks = [
        KeyNumber(
            f"{network.name}, not pruned",
            percent(network.baseline.test_accuracy),
            f"{network.model} on {network.data.name}, {count(network.baseline.flops)} FLOPs",
        )
        for network in summary.networks
    ]
    return [first, *networks]


def standing_row(run: BoardRun, place: int, one: Standing) -> StandingRow:
    """Return a line of the ranking."""
    ranked = one.rank is not None
    record = f"{one.wins} / {one.ties} / {one.losses}" if ranked else DASH
    return StandingRow(
        one.name,
        _css(run, one.name),
        [
            (str(place) if ranked else DASH, place),
            (one.name, one.name),
            (f"{one.rank:.2f}" if one.rank is not None else DASH, one.rank if one.rank is not None else 1e9),
            (percent(one.mean), one.mean),
            (_bounds(one.interval), one.interval[0] if one.interval else 0.0),
            (points(one.loss), one.loss),
            (record, (one.wins or 0) - (one.losses or 0)),
            (duration(one.scoring_seconds), one.scoring_seconds),
            (duration(one.retraining_seconds), one.retraining_seconds),
        ],
    )


def result_rows(run: BoardRun, column: Column) -> list[ResultRow]:
    """Return the lines of one column, best rank first."""
    ordered = sorted(column.results.items(), key=lambda item: (item[1].rank, item[0]))
    return [_result_row(run, column, name, result) for name, result in ordered]


def _result_row(run: BoardRun, column: Column, name: str, result: Result) -> ResultRow:
    return ResultRow(
        whereabouts(column),
        name,
        _css(run, name),
        [
            (f"{result.rank:.2f}", result.rank),
            (percent(result.mean), result.mean),
            (_bounds(result.interval), result.interval[0] if result.interval else 0.0),
            (percent(result.flops_ratio, 1), result.flops_ratio),
            (percent(result.params_ratio, 1), result.params_ratio),
        ],
        [(f"{100 * value:.2f}", file) for value, file in zip(result.values, result.files, strict=True)],
    )


def whereabouts(column: Column) -> dict[str, str]:
    """Return what makes a column, in words."""
    return {
        "network": column.network,
        "allocation": column.allocation,
        "budget": column.limit,
        "schedule": column.schedule,
    }


def choices(columns: list[Column]) -> dict[str, list[str]]:
    """Return what -> its values on this board, each once; what has several is shown and can be filtered by."""
    places = [whereabouts(column) for column in columns]
    return {what: list(dict.fromkeys(place[what] for place in places)) for what in places[0]}


def wins_rows(run: BoardRun) -> list[tuple[str, list[tuple[str, int]]]]:
    """Return name -> (wins, per cent of the blocks) against each other, in the order of the ranking."""
    summary = run.summary
    return [
        (name, [(DASH if one == other else str(won), 0 if one == other else round(100 * won / summary.blocks))
                for other, won in enumerate(summary.wins[one])])
        for one, name in enumerate(summary.ranked)
    ]  # fmt: skip


def _css(run: BoardRun, name: str) -> str:
    if name in run.blends:
        return "blend"
    return "best" if name == run.best else "criterion"


def _bounds(interval: tuple[float, float] | None) -> str:
    return f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}" if interval else DASH
