"""A leaderboard as Markdown: the ranking, then the columns."""

from __future__ import annotations

from blendsearch.reports.markdown.tables import format_table
from blendsearch.results.records.leaderboard import Column, ColumnResult, LeaderboardSummary, Standing
from blendsearch.results.words import in_percent, percent, percent_range, plain_points, plural


def format_leaderboard(summary: LeaderboardSummary) -> str:
    """Return the ranking of all criteria, then the accuracies of each column."""
    lines = [
        f"# {summary.name}",
        "",
        summary.sentence,
        "",
        f"Test accuracy in % on equal terms, mean over {plural(len(summary.columns), 'column')} and "
        f"{plural(summary.seeds, 'seed')}, with the 95 % interval over seeds; rank 1 is the best; wins, ties and "
        "losses over all rivals and blocks; scoring time is that of the criterion alone. From leaderboard.json; "
        "one line a network in leaderboard.csv.",
        "",
        *(line for note in summary.notes for line in (note, "")),
        *format_table(
            ["", "criterion", "rank", "test accuracy", "95 % interval", "against unpruned", "w / t / l", "scoring, s"],
            [_standing_cells(place, one) for place, one in enumerate(summary.criteria, start=1)],
        ),
    ]
    for column in summary.columns:
        results = sorted(column.results.items(), key=lambda item: (item[1].rank, item[0]))
        lines += [
            "",
            f"## {_column_title(column)}",
            "",
            f"Unpruned: {percent(column.unpruned)}.",
            "",
            *format_table(
                ["criterion", "rank", "test accuracy", "95 % interval", "FLOPs left", "parameters left"],
                [_result_cells(name, result) for name, result in results],
            ),
        ]
    return "\n".join(lines) + "\n"


def _column_title(column: Column) -> str:
    """Return for example 'resnet20, uniform, 50 % of flops, one_shot'."""
    budget = f"{100 * column.budget:g} % of {column.budget_kind}{column.options_suffix}"
    return ", ".join([column.network, column.allocation, budget, column.schedule])


def _standing_cells(place: int, one: Standing) -> list[str]:
    return [
        "" if one.rank is None else str(place),
        one.name,
        "not in every column" if one.rank is None else f"{one.rank:.2f}",
        in_percent(one.mean),
        percent_range(one.interval, otherwise=""),
        plain_points(one.loss),
        "" if one.rank is None else f"{one.wins} / {one.ties} / {one.losses}",
        f"{one.scoring_seconds:.2f}",
    ]


def _result_cells(name: str, result: ColumnResult) -> list[str]:
    return [
        name,
        f"{result.rank:.2f}",
        in_percent(result.mean),
        percent_range(result.interval, otherwise=""),
        percent(result.flops_ratio),
        percent(result.params_ratio),
    ]
