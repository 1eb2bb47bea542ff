"""The page that holds several campaigns side by side; it has no folder of its own, so it is one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blendsearch.errors import RunError
from blendsearch.files import atomic
from blendsearch.reports.figures.registry import PageFigure
from blendsearch.reports.figures.side_by_side import draw_side_by_side
from blendsearch.reports.page import draw_all, fill
from blendsearch.results.records.compare import CampaignPair, CampaignRow, CampaignsRecord
from blendsearch.results.words import (
    DASH,
    budget_words,
    decimal,
    duration,
    interval,
    percent,
    percent_and_deviation,
    plural,
    points,
    points_and_interval,
)

CAPTION = (
    "◆ the blend, mean over seeds (each seed a small dot below), ● the best criterion, × the best of a random search."
)


def build_compare_page(record: CampaignsRecord, page: Path) -> Path:
    """Write one HTML file, figure included; RunError when it cannot be written."""
    words = {
        "labels": [row.label for row in record.rows],
        "rows": [_tell_row(row) for row in record.rows],
        "settings": {key: [_tell_value(value) for value in values] for key, values in record.settings.items()},
        "pairs": [_tell_pair(pair) for pair in record.pairs],
        "unequal": record.unequal,
    }
    figure = PageFigure(name="side_by_side", title=_tell_stage(record.rows), caption=CAPTION, draw=draw_side_by_side)
    text = fill("compare.html.j2", draw_all([figure], record.rows), words)
    try:
        with atomic(page) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{page}: the page cannot be written ({error})") from error
    return page


def _tell_stage(rows: Sequence[CampaignRow]) -> str:
    """Say of what the accuracies are; where campaigns differ in that, the table of settings tells which."""
    stages = {row.retrained for row in rows}
    return "Test accuracy" if len(stages) > 1 else "After retraining" if stages.pop() else "Without retraining"


def _tell_row(row: CampaignRow) -> dict[str, str]:
    return {
        "label": row.label,
        "folder": row.folder,
        "setting": f"{row.model} on {row.data}, {budget_words(row.budget.kind, row.budget.ratio)}"
        + ("" if row.retrained else ", not retrained"),
        "search": f"{row.allocation}, by {row.proxy}, {row.search}, {row.trials} trials",
        "unpruned": percent(row.unpruned),
        "blend": percent_and_deviation(row.blend, row.std),
        "best": f"{percent(row.best)} ({row.best_criterion})",
        "difference": points_and_interval(row.difference, row.interval),
        "verdict": row.verdict,
        "random_search": percent(row.random_search),
        "tau": decimal(row.tau),
        "time": duration(row.seconds),
    }


def _tell_value(value: object) -> str:
    """Return a setting as text."""
    if isinstance(value, list):
        return ", ".join(map(_tell_value, value))
    return DASH if value is None else str(value)


def _tell_pair(pair: CampaignPair) -> str:
    range_ = f", 95 % interval {interval(pair.interval)}" if pair.interval else ""
    return (
        f"The blend of {pair.other} against that of {pair.first}: {points(pair.difference)} points{range_}, "
        f"{plural(pair.seeds, 'paired seed')}: {pair.verdict}."
    )
