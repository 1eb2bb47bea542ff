"""From the cells of a leaderboard to its record: means, intervals, ranks, wins, tests, times, agreement."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blendsearch.campaigns.leaderboard.network import BoardNetwork
from blendsearch.config import Board
from blendsearch.results.paired import interval
from blendsearch.results.ranking import ALPHA, Friedman, Table, cliques, friedman, mean_ranks, wins
from blendsearch.results.versions import versions

Row = Mapping[str, Any]
SHARES_UNUSED = (
    "The blend '{}' also has shares of the layers, found in its search; here every allocation shares out the budget "
    "for it as for the criteria."
)
COLUMN = ("network", "allocation", "budget_kind", "budget", "min_keep", "schedule")


def summarise(
    board: Board, networks: Sequence[BoardNetwork], rows: Sequence[Row], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Put a board into one record."""
    columns = columns_of(rows)
    ranked = ranking(rows, columns)
    return {
        "job": "leaderboard",
        "name": board.name,
        "seed": board.seed,
        "seeds": board.retraining.seeds,
        "cells": len(rows),
        "sentence": ranked.pop("sentence"),
        "criteria": criteria_of(rows, columns, ranked),
        **ranked,
        "columns": columns,
        "networks": [network.record() for network in networks],
        "agreement": {network.config.name: network.agreement() for network in networks},
        "seconds": dict(seconds),
        "versions": versions(),
        "notes": [SHARES_UNUSED.format(name) for name, blend in networks[0].blends.items() if blend.keep],
    }


def columns_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one record a column (network, allocation, budget, schedule), with each criterion's result in it.

    Keys: those of COLUMN, unpruned (test accuracy), results (criterion -> mean, interval and values over the seeds,
    rank as mean over the seeds, flops_ratio, params_ratio, retraining_seconds, files).
    """
    grouped: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        grouped.setdefault(tuple(row[key] for key in COLUMN), []).append(row)
    return [
        {
            **dict(zip(COLUMN, key, strict=True)),
            "unpruned": own[0]["unpruned_test_accuracy"],
            "results": _results(own),
        }
        for key, own in grouped.items()
    ]


def _results(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Return criterion -> result of one column."""
    by_name: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        by_name.setdefault(row["criterion"], []).append(row)
    accuracies = {name: [row["test_accuracy"] for row in own] for name, own in by_name.items()}
    ranks = mean_ranks(np.array(list(accuracies.values())).T)
    return {
        name: {
            "mean": statistics.fmean(accuracies[name]),
            "interval": within(interval(accuracies[name])),
            "values": accuracies[name],
            "rank": rank,
            **{key: statistics.fmean(row[key] for row in own)
               for key in ("search_accuracy", "flops_ratio", "params_ratio", "retraining_seconds")},
            "files": [row["file"] for row in own],
        }
        for (name, own), rank in zip(by_name.items(), ranks, strict=True)
    }  # fmt: skip


def ranking(rows: Sequence[Row], columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rank what stands in every column over all blocks.

    Keys: ranked (names, best first), ranks (mean over the blocks), blocks, wins (matrix: blocks in which the row is
    better than the column, in the order of `ranked`), test (Friedman's, or None), sentence.
    """
    names = list(dict.fromkeys(row["criterion"] for row in rows))
    whole = [name for name in names if all(name in column["results"] for column in columns)]
    if not whole:
        sentence = "No criterion stands in every column, so there is no ranking over all of them."
        return {"ranked": [], "ranks": [], "blocks": 0, "wins": [], "test": None, "sentence": sentence}
    table = _table(columns, whole)
    order = np.argsort(mean_ranks(table), kind="stable")
    table, whole = table[:, order], [whole[position] for position in order]
    ranks, test = mean_ranks(table), friedman(table)
    return {
        "ranked": whole,
        "ranks": ranks,
        "blocks": len(table),
        "wins": wins(table),
        "test": _test(test, whole, ranks),
        "sentence": _sentence(whole, ranks, len(table), test),
    }


def _table(columns: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    """Return the test accuracies, a block a row (column by column, seed by seed)."""
    return np.array(
        [
            accuracies
            for column in columns
            for accuracies in zip(*(column["results"][name]["values"] for name in names), strict=True)
        ]
    )


def _test(test: Friedman | None, names: Sequence[str], ranks: Sequence[float]) -> dict[str, Any] | None:
    if test is None:
        return None
    return {
        "name": "Friedman",
        "statistic": test.statistic,
        "p": test.p,
        "alpha": ALPHA,
        "critical_difference": test.critical_difference,
        "cliques": [[names[position] for position in clique] for clique in cliques(ranks, test.critical_difference)],
    }


def within(bounds: Sequence[float] | None) -> list[float] | None:
    """Return an interval of an accuracy as far as it lies in [0, 1]: with two seeds Student's t reaches beyond."""
    return None if bounds is None else [min(max(bound, 0.0), 1.0) for bound in bounds]


def _sentence(names: Sequence[str], ranks: Sequence[float], blocks: int, test: Friedman | None) -> str:
    first = [name for name, rank in zip(names, ranks, strict=True) if rank == ranks[0]]
    if test is not None and test.p < ALPHA and len(first) > 1:
        return (
            f"{', '.join(first[:-1])} and {first[-1]} rank first of {len(names)} over {blocks} blocks alike, "
            f"with a mean rank of {ranks[0]:.1f}."
        )
    if test is None:
        return f"{names[0]} has the best mean rank ({ranks[0]:.1f} of {len(names)}); too few results for a test."
    if test.p >= ALPHA:
        return (
            f"No difference between the {len(names)} is shown over {blocks} blocks (Friedman test, p = {test.p:.2g}); "
            f"{names[0]} has the best mean rank, {ranks[0]:.1f}."
        )
    near = sum(rank - ranks[0] < test.critical_difference for rank in ranks[1:])
    others = "none is" if near == 0 else "one other is" if near == 1 else f"{near} others are"
    return (
        f"{names[0]} ranks first of {len(names)} over {blocks} blocks, with a mean rank of {ranks[0]:.1f}; "
        f"{others} within the critical difference of {test.critical_difference:.1f}."
    )


def criteria_of(
    rows: Sequence[Row], columns: Sequence[Mapping[str, Any]], ranked: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return one record a criterion or blend, best mean rank first, those that are not in every column last.

    Keys: name, kind, rank (None outside the ranking), mean (over columns), interval (over seeds, of the means over
    columns), loss (against the unpruned networks), wins, ties, losses (over blocks and rivals), columns (how many it
    stands in), scoring_seconds (added up over the networks), retraining_seconds (mean of a cell).
    """
    own: dict[str, list[Row]] = {}
    for row in rows:
        own.setdefault(row["criterion"], []).append(row)
    order = [*ranked["ranked"], *(name for name in own if name not in ranked["ranked"])]
    return [_criterion(name, own[name], columns, ranked) for name in order]


def _criterion(
    name: str, rows: Sequence[Row], columns: Sequence[Mapping[str, Any]], ranked: Mapping[str, Any]
) -> dict[str, Any]:
    stands = [column for column in columns if name in column["results"]]
    by_seed = list(zip(*(column["results"][name]["values"] for column in stands), strict=True))
    means = [statistics.fmean(values) for values in by_seed]
    place = ranked["ranked"].index(name) if name in ranked["ranked"] else None
    scoring = {row["network"]: row["scoring_seconds"] for row in rows}
    return {
        "name": name,
        "kind": rows[0]["kind"],
        "rank": None if place is None else ranked["ranks"][place],
        "mean": statistics.fmean(means),
        "interval": within(interval(means)),
        "loss": statistics.fmean(row["test_accuracy"] - row["unpruned_test_accuracy"] for row in rows),
        **(_won(place, ranked["wins"], ranked["blocks"]) if place is not None else {}),
        "columns": len(stands),
        "scoring_seconds": round(sum(scoring.values()), 3),
        "retraining_seconds": statistics.fmean(row["retraining_seconds"] for row in rows),
    }


def _won(place: int, matrix: Sequence[Sequence[int]], blocks: int) -> dict[str, int]:
    """Return how often a criterion was better than a rival, equal, or worse, over all rivals and blocks."""
    won = sum(matrix[place])
    lost = sum(row[place] for row in matrix)
    return {"wins": won, "ties": blocks * (len(matrix) - 1) - won - lost, "losses": lost}
