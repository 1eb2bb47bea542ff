"""The page of a leaderboard."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from blendsearch.reports.after import After, after_pruning, title
from blendsearch.reports.figures.board import BOARD_FIGURES, shown_on
from blendsearch.reports.page import Page
from blendsearch.reports.pages.families_table import families_table
from blendsearch.reports.pages.parts import KeyNumber, list_sources
from blendsearch.reports.repeat_command import place_commands
from blendsearch.reports.selection import fold_of
from blendsearch.results.records.leaderboard import Column, ColumnResult, LeaderboardSummary, Standing
from blendsearch.results.runs import BoardRun, read_board_run
from blendsearch.results.words import (
    DASH,
    cost_name,
    count,
    count_criteria,
    decimal,
    duration,
    in_percent,
    join_words,
    percent,
    percent_range,
    plural,
    points,
)


def _sources(after: After) -> dict[str, str]:
    return {
        "leaderboard.json": "every rank, mean, interval, test, win and agreement of this page",
        "leaderboard.csv": f"one line a {after.one}, numbers in full, with the name of its file",
        "leaderboard.md": "the tables as text",
        "board.yaml": "every setting of the board, resolved",
        "cells": f"one file a {after.one}, named by a digest of what determines it: accuracies, losses, filters kept",
        "networks": "the unpruned networks: weights, accuracies, scores of each criterion and what they took",
        "events.jsonl": "what happened when",
    }


@dataclass(frozen=True)
class StandingRow:
    """A line of the ranking: texts, and beside each the number it is sorted by; rest: hidden while it is folded."""

    name: str
    css: str
    rest: bool
    cells: list[tuple[str, float | str]]


@dataclass(frozen=True)
class ResultRow:
    """A line of the table of results: where it is (network, allocation, ...), texts with numbers to sort by, files."""

    where: dict[str, str]
    name: str
    css: str
    cells: list[tuple[str, float]]
    seeds: list[tuple[str, str]]


def tell_leaderboard(run: BoardRun) -> dict[str, Any]:
    """Return the template's words for a run."""
    summary, found = run.summary, choices(run.summary.columns)
    shown = shown_on(run)
    after = after_pruning(run.board)
    return {
        "summary": summary,
        "blocks": plural(summary.blocks, "block"),
        "size": _size(summary),
        "numbers": key_numbers(run),
        "after": after,
        "standings": [standing_row(run, place, one) for place, one in enumerate(summary.criteria, start=1)],
        "more": fold_of(len(summary.criteria), len(shown), "places", "blends" if run.blends else ""),
        "results": [row for column in summary.columns for row in result_rows(run, column)],
        "filters": {what: values for what, values in found.items() if len(values) > 1},
        "constant": [f"{what} {values[0]}" for what, values in found.items() if len(values) == 1],
        "wins": wins_rows(run),
        "kin": {name: families_table(agreement) for name, agreement in summary.agreement.items()},
        "left_out": [(network.name, network.left_out) for network in summary.networks if network.left_out],
        "sources": list_sources(run.folder, _sources(after)),
        "seconds": duration(summary.seconds.get("total")),
        "board_text": run.board_text,
        "place": place_commands([run.board], run.folder),
        "anew": _keys_anew(run),
    }


def key_numbers(run: BoardRun) -> list[KeyNumber]:
    """Return the numbers at the head of the page: how much was compared, and the unpruned networks."""
    summary = run.summary
    blends = len(run.blends)
    criteria = len(summary.criteria) - blends
    compared = [count_criteria(criteria)] * (criteria > 0) + [plural(blends, "blend")] * (blends > 0)
    what = title(after_pruning(run.board).several)
    first = KeyNumber(what, f"{summary.cells:,}", f"{join_words(compared)}, {_size(summary)}")
    networks = [
        KeyNumber(
            f"{network.name}, not pruned",
            percent(network.unpruned.test_accuracy),
            f"{network.model} on {network.data.name}, {count(network.unpruned.flops)} FLOPs",
        )
        for network in summary.networks
    ]
    return [first, *networks]


def _keys_anew(run: BoardRun) -> str:
    """Return what a board is started with to do all of it anew: without its ledger, in the precision that it found."""
    ledger = "" if run.board.get("ledger") is None else " ledger=null"
    noted = [json.loads(file.read_text()) for file in (run.folder / "records").glob("precision-*.json")]
    auto = (run.board.get("compute") or {}).get("precision") == "auto"
    return f"{ledger} compute.precision={noted[0]}" if auto and len(noted) == 1 else ledger


def _size(summary: LeaderboardSummary) -> str:
    return f"{plural(len(summary.columns), 'column')} × {plural(summary.seeds, 'seed')}"


def standing_row(run: BoardRun, place: int, one: Standing) -> StandingRow:
    """Return a line of the ranking."""
    ranked = one.rank is not None
    record = f"{one.wins} / {one.ties} / {one.losses}" if ranked else DASH
    return StandingRow(
        one.name,
        _css(run, one.name),
        one.name not in shown_on(run),
        [
            (str(place) if ranked else DASH, place),
            (one.name, one.name),
            (decimal(one.rank), one.rank if one.rank is not None else 1e9),
            (percent(one.mean), one.mean),
            (percent_range(one.interval), one.interval[0] if one.interval else 0.0),
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


def _result_row(run: BoardRun, column: Column, name: str, result: ColumnResult) -> ResultRow:
    return ResultRow(
        whereabouts(column),
        name,
        _css(run, name),
        [
            (decimal(result.rank), result.rank),
            (percent(result.mean), result.mean),
            (percent_range(result.interval), result.interval[0] if result.interval else 0.0),
            (percent(result.flops_ratio, 1), result.flops_ratio),
            (percent(result.params_ratio, 1), result.params_ratio),
        ],
        [(in_percent(value), file) for value, file in zip(result.values, result.files, strict=True)],
    )


def whereabouts(column: Column) -> dict[str, str]:
    """Return what makes a column, in words."""
    return {
        "network": column.network,
        "allocation": column.allocation,
        "budget": f"{100 * column.budget:g} % {cost_name(column.budget_kind)}{column.options_suffix}",
        "schedule": column.schedule,
    }


def choices(columns: list[Column]) -> dict[str, list[str]]:
    """Return what -> its values on this board, each once; what has several is shown and can be filtered by."""
    places = [whereabouts(column) for column in columns]
    return {what: list(dict.fromkeys(place[what] for place in places)) for what in places[0]}


def wins_rows(run: BoardRun) -> list[tuple[str, list[tuple[str, int]]]]:
    """Return name -> (wins, per cent of the blocks) against each other, in the order of the ranking."""
    summary, rows = run.summary, []
    for one, (name, row) in enumerate(zip(summary.ranked, summary.wins, strict=True)):
        cells = [(str(won), round(100 * won / summary.blocks)) for won in row]
        cells[one] = (DASH, 0)
        rows.append((name, cells))
    return rows


def _css(run: BoardRun, name: str) -> str:
    if name in run.blends:
        return "blend"
    return "best" if name in run.best else "criterion"


PAGE = Page(
    read=read_board_run,
    figures=BOARD_FIGURES,
    template="leaderboard.html.j2",
    words=tell_leaderboard,
    file="leaderboard.html",
)
