"""A transfer as text: one line a space as CSV, the table and each space's criteria as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blendsearch.reports.markdown.leaderboard import markdown_table, percent
from blendsearch.reports.pages.transfer_words import allocated, origin_of, own_allocations, rule_of, twins_of
from blendsearch.results.records.transfer import read_found_on
from blendsearch.results.words import budget_words

COLUMNS = (
    "space", "network", "data", "budget", "rule", "transferred", "searched there", "best criterion",
    "against best criterion", "verdict", "against searched", "verdict",
)  # fmt: skip


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one line of the CSV: numbers in full, nothing where there is none."""
    best, searched = row["criteria"][row["best_criterion"]], row["searched"]
    return {
        **{key: row[key] for key in ("space", "network", "data")},
        "budget_kind": row["budget"]["kind"],
        "budget": row["budget"]["ratio"],
        **{key: row[key] for key in ("allocation", "schedule", "seeds", "rule")},
        "unpruned_test_accuracy": row["baseline"],
        **_measured("transferred", row["transferred"]),
        **_measured("searched", searched),
        "best_criterion": row["best_criterion"],
        **_measured("criterion", best),
        "criterion_allocation": best.get("allocation", ""),
        **_compared("criterion", row["against_criterion"]),
        **_compared("searched", row["against_searched"]),
        "same_filters": ", ".join(row["same_filters"]),
    }


def _measured(who: str, result: Mapping[str, Any] | None) -> dict[str, Any]:
    found = result or {}
    return {
        f"{who}_mean": found.get("test_accuracy", ""),
        f"{who}_sd": _or_nothing(found.get("test_accuracy_std")),
        f"{who}_proxy": found.get("proxy", ""),
    }


def _compared(who: str, against: Mapping[str, Any] | None) -> dict[str, Any]:
    found = against or {}
    low, high = found.get("interval") or ("", "")
    return {
        f"against_{who}": found.get("difference", ""),
        f"against_{who}_low": low,
        f"against_{who}_high": high,
        f"against_{who}_verdict": found.get("verdict", ""),
    }


def _or_nothing(value: Any) -> Any:
    return "" if value is None else value


def markdown_text(summary: Mapping[str, Any]) -> str:
    """Return the table of all spaces, then what stood behind each line: the rule, notes, and every criterion."""
    rows, blend = summary["spaces"], summary["blend"]
    found_on = read_found_on(blend["file"], blend["found_on"])
    lines = [
        "# A blend found here, applied there",
        "",
        f"{origin_of(blend['file'], found_on)} Test accuracy in % after equal retraining, mean ± "
        "standard deviation over the seeds; differences are the transferred blend minus the other in points, paired "
        "over the seeds, with the 95 % interval. The best criterion is chosen by the very numbers compared, which "
        "favours it. From transfer.json; one line a space in transfer.csv.",
        "",
        *markdown_table(COLUMNS, [_line(row) for row in rows]),
    ]
    for row in rows:
        given = [one.get("allocation") for one in row["criteria"].values()]
        lines += ["", f"## {row['space']}", "", rule_of(row["rule"]), *row["notes"]]
        lines += own_allocations(given, row["allocation"])
        lines += [*twins_of(row["same_filters"]), f"Unpruned: {percent(row['baseline'])} %.", "", *_against_all(row)]
    return "\n".join(lines) + "\n"


def mean_and_deviation(result: Mapping[str, Any] | None) -> str:
    """Return '97.25 ± 0.12', '97.25' for one seed, or nothing where there is no result."""
    if result is None:
        return ""
    spread = result["test_accuracy_std"]
    return percent(result["test_accuracy"]) + ("" if spread is None else f" ± {percent(spread)}")


def difference(against: Mapping[str, Any] | None) -> str:
    """Return '+0.50 (+0.12 to +0.88)' in points, without the range for one seed, or nothing."""
    if against is None:
        return ""
    bounds = against["interval"]
    range_ = f" ({100 * bounds[0]:+.2f} to {100 * bounds[1]:+.2f})" if bounds else ""
    return f"{100 * against['difference']:+.2f}{range_}"


def _line(row: Mapping[str, Any]) -> Sequence[str]:
    best, searched = row["criteria"][row["best_criterion"]], row["against_searched"]
    return [
        row["space"], row["network"], row["data"], budget_words(**row["budget"]), row["rule"],
        mean_and_deviation(row["transferred"]), mean_and_deviation(row["searched"]),
        f"{mean_and_deviation(best)} {_named(row, row['best_criterion'])}",
        difference(row["against_criterion"]), row["against_criterion"]["verdict"],
        difference(searched), searched["verdict"] if searched else "",
    ]  # fmt: skip


def _named(row: Mapping[str, Any], criterion: str) -> str:
    """Return a criterion's name, with its allocation where that is not the space's."""
    return allocated(criterion, row["criteria"][criterion].get("allocation"), row["allocation"])


def _against_all(row: Mapping[str, Any]) -> list[str]:
    """Return the transferred blend's table against every criterion, the best of these first."""
    ordered = sorted(row["criteria"].items(), key=lambda item: -item[1]["test_accuracy"])
    others = ([("blend searched there", row["searched"], row["against_searched"])] if row["searched"] else []) + [
        (_named(row, name), result, row["differences"][name]) for name, result in ordered
    ]
    own = row["transferred"]
    return markdown_table(
        ["pruned by", "test accuracy", "proxy", "difference", "verdict"],
        [
            ["transferred blend", mean_and_deviation(own), f"{own['proxy']:.4f}", "", ""],
            *(
                [name, mean_and_deviation(result), f"{result['proxy']:.4f}", difference(against), against["verdict"]]
                for name, result, against in others
            ),
        ],
    )
