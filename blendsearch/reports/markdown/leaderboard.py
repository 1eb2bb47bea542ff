"""A leaderboard as text: every cell as CSV, the ranking and the columns as Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return one line a cell, numbers in full."""
    target = io.StringIO()
    writer = csv.DictWriter(target, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def markdown_text(summary: Mapping[str, Any]) -> str:
    """Return the ranking of all criteria, then the accuracies of each column."""
    seeds = summary["seeds"]
    lines = [
        f"# {summary['name']}",
        "",
        summary["sentence"],
        "",
        f"Test accuracy in % after equal retraining, mean over {len(summary['columns'])} columns and {seeds} seeds, "
        "with the 95 % interval over seeds; rank 1 is the best; wins, ties and losses over all rivals and blocks; "
        "scoring time is that of the criterion alone. From leaderboard.json; one line a retraining in leaderboard.csv.",
        "",
        *markdown_table(
            ["", "criterion", "rank", "test accuracy", "95 % interval", "against unpruned", "w / t / l", "scoring, s"],
            [_overall(place, one) for place, one in enumerate(summary["criteria"], start=1)],
        ),
    ]
    for column in summary["columns"]:
        results = sorted(column["results"].items(), key=lambda item: (item[1]["rank"], item[0]))
        lines += [
            "",
            f"## {column_title(column)}",
            "",
            f"Unpruned: {percent(column['unpruned'])} %.",
            "",
            *markdown_table(
                ["criterion", "rank", "test accuracy", "95 % interval", "FLOPs left", "parameters left"],
                [_in_column(name, result) for name, result in results],
            ),
        ]
    return "\n".join(lines) + "\n"


def column_title(column: Mapping[str, Any]) -> str:
    """Return for example 'resnet20, uniform, 50 % of flops, one_shot'."""
    budget = f"{100 * column['budget']:g} % of {column['budget_kind']}"
    return ", ".join([column["network"], column["allocation"], budget, column["schedule"]])


def percent(share: float) -> str:
    """Return a share in per cent with two digits."""
    return f"{100 * share:.2f}"


def _overall(place: int, one: Mapping[str, Any]) -> list[str]:
    ranked = one["rank"] is not None
    return [
        str(place) if ranked else "",
        one["name"],
        f"{one['rank']:.2f}" if ranked else "not in every column",
        percent(one["mean"]),
        _bounds(one["interval"]),
        f"{100 * one['loss']:+.2f}",
        f"{one['wins']} / {one['ties']} / {one['losses']}" if ranked else "",
        f"{one['scoring_seconds']:.2f}",
    ]


def _in_column(name: str, result: Mapping[str, Any]) -> list[str]:
    return [
        name,
        f"{result['rank']:.2f}",
        percent(result["mean"]),
        _bounds(result["interval"]),
        f"{percent(result['flops_ratio'])} %",
        f"{percent(result['params_ratio'])} %",
    ]


def _bounds(interval: Sequence[float] | None) -> str:
    return f"{percent(interval[0])} to {percent(interval[1])}" if interval else ""


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [list(head), ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
