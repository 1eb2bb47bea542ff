"""A transfer as text: one line a space for CSV, the table and each space's criteria as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from blendsearch.reports.markdown.tables import format_table
from blendsearch.reports.pages.transfer_words import after_all, tell_allocations, tell_origin, tell_rule
from blendsearch.results.records.common import Difference
from blendsearch.results.records.search import Outcome
from blendsearch.results.records.transfer import SpaceRecord, TransferSummary
from blendsearch.results.words import budget_words, mean_and_deviation, percent, plain_points, plain_range

COLUMNS = (
    "space",
    "network",
    "data",
    "budget",
    "rule",
    "transferred",
    "searched there",
    "best criterion",
    "against best criterion",
    "verdict",
    "against searched",
    "verdict",
)


def flatten_space(row: SpaceRecord) -> dict[str, object]:
    """Return one line of the CSV: numbers in full, None where there is none."""
    best = row.criteria[row.best_criterion]
    return {
        "space": row.space,
        "network": row.network,
        "data": row.data,
        "budget_kind": row.budget.kind,
        "budget": row.budget.ratio,
        "allocation": row.allocation,
        "schedule": row.schedule,
        "seeds": row.seeds,
        "rule": row.rule,
        "unpruned_test_accuracy": row.unpruned,
        **_flatten_outcome("transferred", row.transferred),
        **_flatten_outcome("searched", row.searched),
        "best_criterion": row.best_criterion,
        **_flatten_outcome("criterion", best),
        "criterion_allocation": best.allocation,
        **_flatten_difference("criterion", row.against_criterion),
        **_flatten_difference("searched", row.against_searched),
        "same_filters": ", ".join(row.same_filters),
    }


def _flatten_outcome(who: str, outcome: Outcome | None) -> dict[str, object]:
    return {
        f"{who}_mean": outcome and outcome.test_accuracy,
        f"{who}_sd": outcome and outcome.test_accuracy_std,
        f"{who}_proxy": outcome and outcome.proxy,
    }


def _flatten_difference(who: str, against: Difference | None) -> dict[str, object]:
    low, high = (against and against.interval) or (None, None)
    return {
        f"against_{who}": against and against.difference,
        f"against_{who}_low": low,
        f"against_{who}_high": high,
        f"against_{who}_verdict": against and against.verdict,
    }


def format_transfer(summary: TransferSummary) -> str:
    """Return the table of all spaces, then what stood behind each line: the rule, notes, and every criterion."""
    lines = [
        "# A blend found here, applied there",
        "",
        f"{tell_origin(summary.blend.file, summary.blend.found_on)} Test accuracy in % "
        f"{after_all(summary.spaces).equal}, mean ± standard deviation over the seeds; differences are the "
        "transferred blend minus the other in points, paired over the seeds, with the 95 % interval. The best "
        "criterion is chosen by the very numbers compared, which favours it. From transfer.json; one line a space in "
        "transfer.csv.",
        "",
        *format_table(COLUMNS, [_space_cells(row) for row in summary.spaces]),
    ]
    for row in summary.spaces:
        lines += ["", f"## {row.space}", "", tell_rule(row.rule), *row.notes, *tell_allocations(row)]
        lines += [*row.twins, f"Unpruned: {percent(row.unpruned)}.", "", *_compare_all(row)]
    return "\n".join(lines) + "\n"


def _space_cells(row: SpaceRecord) -> Sequence[str]:
    best, searched = row.criteria[row.best_criterion], row.against_searched
    return [
        row.space,
        row.network,
        row.data,
        budget_words(row.budget.kind, row.budget.ratio),
        row.rule,
        _accuracy(row.transferred),
        _accuracy(row.searched),
        f"{_accuracy(best)} {row.label_of(row.best_criterion)}",
        _difference(row.against_criterion),
        row.against_criterion.verdict,
        _difference(searched),
        searched.verdict if searched else "",
    ]


def _compare_all(row: SpaceRecord) -> list[str]:
    """Return the transferred blend's table against every criterion, the best of these first."""
    lines = [_compared_cells("transferred blend", row.transferred, None)]
    if row.searched is not None:
        lines.append(_compared_cells("blend searched there", row.searched, row.against_searched))
    lines += [_compared_cells(row.label_of(name), row.criteria[name], row.differences[name]) for name in row.ranked]
    return format_table(["pruned by", "test accuracy", "proxy", "difference", "verdict"], lines)


def _compared_cells(name: str, outcome: Outcome, against: Difference | None) -> list[str]:
    proxy = "" if outcome.proxy is None else f"{outcome.proxy:.4f}"
    return [name, _accuracy(outcome), proxy, _difference(against), against.verdict if against else ""]


def _accuracy(outcome: Outcome | None) -> str:
    return mean_and_deviation(outcome.test_accuracy, outcome.test_accuracy_std) if outcome else ""


def _difference(against: Difference | None) -> str:
    """Return '+0.50 (+0.12 to +0.88)' in points, without the range for one seed, or nothing."""
    if against is None:
        return ""
    range_ = f" ({plain_range(against.interval)})" if against.interval else ""
    return plain_points(against.difference) + range_
