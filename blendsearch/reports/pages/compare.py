"""Write the page that holds several campaigns side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blendsearch.errors import RunError
from blendsearch.files import atomic
from blendsearch.reports.building import Figures, fill
from blendsearch.reports.figures.side_by_side import draw_side_by_side
from blendsearch.reports.figures.style import render
from blendsearch.results.words import DASH, duration, interval, percent, points


def build_compare_page(result: Mapping[str, Any], page: Path) -> Path:
    """Write one HTML file, figure included, from what `compare_runs` found; RunError when it cannot be written."""
    figures = Figures({"side_by_side": render(draw_side_by_side, result["rows"])})
    settings = {key: [_value(value) for value in values] for key, values in result["settings"].items()}
    text = fill(
        "compare.html.j2", figures, rows=[_words(row) for row in result["rows"]], settings=settings,
        pairs=[_pair_words(pair) for pair in result["pairs"]], unequal=result["unequal"],
        labels=[row["label"] for row in result["rows"]],
    )  # fmt: skip
    try:
        with atomic(page) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{page}: the page cannot be written ({error})") from error
    return page


def _words(row: Mapping[str, Any]) -> dict[str, str]:
    spread = "" if row["std"] is None else f" ± {100 * row['std']:.2f}"
    kept = f"{100 * row['budget']['ratio']:g} % of the {row['budget']['kind']}"
    return {
        "label": row["label"],
        "folder": row["folder"],
        "setting": f"{row['model']} on {row['data']}, {kept}",
        "search": f"{row['allocation']}, by {row['proxy']}, {row['search']}, {row['trials']} trials",
        "baseline": percent(row["baseline"]),
        "blend": percent(row["blend"]) + spread,
        "best": f"{percent(row['best'])} ({row['best_criterion']})",
        "difference": f"{points(row['difference'])} {interval(row['interval'])}".strip(),
        "verdict": row["verdict"],
        "control": percent(row["control"]),
        "tau": DASH if row["tau"] is None else f"{row['tau']:.2f}".replace("-", "−"),
        "time": duration(row["seconds"]),
    }


def _value(value: Any) -> str:
    """Return a setting as text."""
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return DASH if value is None else str(value)


def _pair_words(pair: Mapping[str, Any]) -> str:
    range_ = f", 95 % interval {interval(pair['interval'])}" if pair["interval"] else ""
    seeds = f"{pair['seeds']} paired seed" + ("" if pair["seeds"] == 1 else "s")
    return (
        f"The blend of {pair['other']} against that of {pair['first']}: {points(pair['difference'])} points{range_}, "
        f"{seeds}: {pair['verdict']}."
    )
