"""From the cells of a leaderboard to its record: means, intervals, ranks, wins, tests, times, agreement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import TypeVar

import numpy as np

from blendsearch.campaigns.leaderboard.network import BoardNetwork
from blendsearch.config import Board
from blendsearch.experiment.members import tell_shares_of_members
from blendsearch.results.paired import interval
from blendsearch.results.ranking import ALPHA, Friedman, Table, cliques, friedman, mean_ranks, wins
from blendsearch.results.records.common import Bounds
from blendsearch.results.records.leaderboard import (
    CellRow,
    Column,
    ColumnResult,
    LeaderboardSummary,
    Ranking,
    RankTest,
    Standing,
)
from blendsearch.results.run_folder import versions
from blendsearch.results.words import join_words, plural

K = TypeVar("K")


def summarise(
    board: Board, networks: Sequence[BoardNetwork], rows: Sequence[CellRow], seconds: dict[str, float]
) -> LeaderboardSummary:
    """Put a board into one record."""
    columns = make_columns(rows)
    ranking = rank_criteria(rows, columns)
    return LeaderboardSummary(
        **dict(ranking),
        name=board.name,
        seed=board.seed,
        seeds=board.retraining.seeds,
        cells=len(rows),
        criteria=make_standings(rows, columns, ranking),
        columns=columns,
        networks=[network.describe() for network in networks],
        agreement={network.name: network.measure_agreement() for network in networks},
        seconds=seconds,
        versions=versions(),
        notes=[
            *tell_shares_of_members(networks[0].blends),
            *_tell_alike(columns),
        ],
    )


def make_columns(rows: Iterable[CellRow]) -> list[Column]:
    """Return one record a column (network, allocation, budget, schedule), with each criterion's result in it."""
    grouped = _group(rows, _column_of)
    return [
        Column(
            network=own[0].network,
            allocation=own[0].allocation,
            budget_kind=own[0].budget_kind,
            budget=own[0].budget,
            min_keep=own[0].min_keep,
            budget_options=own[0].budget_options,
            schedule=own[0].schedule,
            unpruned=own[0].unpruned_test_accuracy,
            seeds_alike=_seeds_alike(own),
            results=_make_results(own),
        )
        for own in grouped.values()
    ]


def _column_of(row: CellRow) -> tuple[str | float, ...]:
    """Return what all rows of one column have in common."""
    budget = (row.budget_kind, row.budget, row.min_keep, row.budget_options)
    return (row.network, row.allocation, *budget, row.schedule)


def _seeds_alike(rows: Sequence[CellRow]) -> bool:
    """Tell whether the seeds of a column repeat each other: each gave every criterion the same accuracies.

    Those on the search images are looked at, too: where something is trained, a few test images may agree by chance.
    """
    found = {(row.criterion, row.test_accuracy, row.search_accuracy) for row in rows}
    return len({row.seed for row in rows}) > 1 and len(found) == len({row.criterion for row in rows})


def _group(rows: Iterable[CellRow], key: Callable[[CellRow], K]) -> dict[K, list[CellRow]]:
    grouped: dict[K, list[CellRow]] = {}
    for row in rows:
        grouped.setdefault(key(row), []).append(row)
    return grouped


def _make_results(rows: Sequence[CellRow]) -> dict[str, ColumnResult]:
    """Return criterion -> result of one column."""
    by_name = _group(sorted(rows, key=lambda row: row.seed), lambda row: row.criterion)
    accuracies = {name: [row.test_accuracy for row in own] for name, own in by_name.items()}
    ranks = mean_ranks(np.array(list(accuracies.values())).T)
    return {
        name: ColumnResult(
            mean=fmean(accuracies[name]),
            interval=clip(interval(accuracies[name])),
            values=accuracies[name],
            rank=rank,
            search_accuracy=fmean(row.search_accuracy for row in own),
            flops_ratio=fmean(row.flops_ratio for row in own),
            params_ratio=fmean(row.params_ratio for row in own),
            retraining_seconds=fmean(row.retraining_seconds for row in own),
            files=[row.file for row in own],
        )
        for (name, own), rank in zip(by_name.items(), ranks, strict=True)
    }


def rank_criteria(rows: Iterable[CellRow], columns: Sequence[Column]) -> Ranking:
    """Rank what is in every column over all blocks."""
    names = dict.fromkeys(row.criterion for row in rows)
    whole = [name for name in names if all(name in column.results for column in columns)]
    if not whole:
        sentence = "No criterion stands in every column, so there is no ranking over all of them."
        return Ranking(sentence=sentence, ranked=[], ranks=[], blocks=0, wins=[])
    table = _table(columns, whole)
    order = np.argsort(mean_ranks(table), kind="stable")
    table, whole = table[:, order], [whole[position] for position in order]
    ranks, test = mean_ranks(table), friedman(table)
    return Ranking(
        sentence=_tell_ranking(whole, ranks, table, test),
        ranked=whole,
        ranks=ranks,
        blocks=len(table),
        wins=wins(table),
        test=None if test is None else _describe_test(test, whole, ranks),
    )


def _table(columns: Iterable[Column], names: Sequence[str]) -> Table:
    """Return the test accuracies, a block a row (column by column, seed by seed); seeds that are alike are one block.

    Seeds that repeat each other would add blocks without adding anything that speaks for a difference.
    """
    blocks: list[tuple[float, ...]] = []
    for column in columns:
        own = list(zip(*(column.results[name].values for name in names), strict=True))
        blocks += own[:1] if column.seeds_alike else own
    return np.array(blocks)


def _tell_alike(columns: Sequence[Column]) -> list[str]:
    """Return a sentence on seeds that repeat each other, where they do."""
    alike = sum(column.seeds_alike for column in columns)
    if not alike:
        return []
    where = "every column" if alike == len(columns) else f"{alike} of {len(columns)} columns"
    return [f"In {where} all seeds gave the same accuracies, so there they count as one block and give no interval."]


def _describe_test(test: Friedman, names: Sequence[str], ranks: Sequence[float]) -> RankTest:
    return RankTest(
        statistic=test.statistic,
        p=test.p,
        alpha=ALPHA,
        critical_difference=test.critical_difference,
        cliques=[[names[position] for position in clique] for clique in cliques(ranks, test.critical_difference)],
    )


def clip(bounds: Bounds | None) -> Bounds | None:
    """Return an interval of an accuracy as far as it lies in [0, 1]: with two seeds Student's t reaches beyond."""
    return None if bounds is None else (min(max(bounds[0], 0.0), 1.0), min(max(bounds[1], 0.0), 1.0))


def _tell_ranking(names: Sequence[str], ranks: Sequence[float], table: Table, test: Friedman | None) -> str:
    blocks = plural(len(table), "block")
    first = [name for name, rank in zip(names, ranks, strict=True) if rank == ranks[0]]
    if len(names) == 1:
        return f"{names[0]} stands alone, so there is nothing to rank."
    if not np.ptp(table, axis=1).any():
        return f"The {len(names)} came to the same accuracy in {'the one' if len(table) == 1 else 'every'} block."
    best = f"{join_words(first)} {'has' if len(first) == 1 else 'have'} the best mean rank"
    if test is None:
        return f"{best} ({ranks[0]:.1f} of {len(names)}); too few results for a test."
    if test.p >= ALPHA:
        return (
            f"No difference between the {len(names)} is shown over {blocks} (Friedman test, p = {test.p:.2g}); "
            f"{best}, {ranks[0]:.1f}."
        )
    if len(first) > 1:
        return (
            f"{join_words(first)} rank first of {len(names)} over {blocks} alike, with a mean rank of {ranks[0]:.1f}."
        )
    near = sum(rank - ranks[0] < test.critical_difference for rank in ranks[1:])
    others = "none is" if near == 0 else "one other is" if near == 1 else f"{near} others are"
    return (
        f"{names[0]} ranks first of {len(names)} over {blocks}, with a mean rank of {ranks[0]:.1f}; "
        f"{others} within the critical difference of {test.critical_difference:.1f}."
    )


def make_standings(rows: Iterable[CellRow], columns: Sequence[Column], ranking: Ranking) -> list[Standing]:
    """Return one record a criterion or blend, best mean rank first, those that are not in every column last."""
    own = _group(rows, lambda row: row.criterion)
    order = [*ranking.ranked, *(name for name in own if name not in ranking.ranked)]
    return [_make_standing(name, own[name], columns, ranking) for name in order]


def _make_standing(name: str, rows: Sequence[CellRow], columns: Iterable[Column], ranking: Ranking) -> Standing:
    results = [column.results[name] for column in columns if name in column.results]
    means = [fmean(values) for values in zip(*(result.values for result in results), strict=True)]
    position = ranking.ranked.index(name) if name in ranking.ranked else None
    won, tied, lost = (None, None, None) if position is None else _count_wins(position, ranking)
    return Standing(
        name=name,
        kind=rows[0].kind,
        rank=None if position is None else ranking.ranks[position],
        mean=fmean(means),
        interval=clip(interval(means)),
        loss=fmean(row.test_accuracy - row.unpruned_test_accuracy for row in rows),
        wins=won,
        ties=tied,
        losses=lost,
        columns=len(results),
        scoring_seconds=round(sum({row.network: row.scoring_seconds for row in rows}.values()), 3),
        retraining_seconds=fmean(row.retraining_seconds for row in rows),
    )


def _count_wins(position: int, ranking: Ranking) -> tuple[int, int, int]:
    """Return how often a criterion was better than another, equal, or worse, over all others and blocks."""
    won = sum(ranking.wins[position])
    lost = sum(row[position] for row in ranking.wins)
    return won, ranking.blocks * (len(ranking.wins) - 1) - won - lost, lost
