"""The figure of a transfer: the blend from elsewhere minus each of what stands against it in a space."""

from __future__ import annotations

from blendsearch.reports.figures.forest import Bar, Kind, forest
from blendsearch.reports.figures.style import Drawing, Theme
from blendsearch.results.records.transfer import Against, SpaceRecord

SEARCHED = "searched there"


def draw_transfer(row: SpaceRecord, theme: Theme) -> Drawing:
    """Draw the difference to the blend searched there and to every criterion, highest accuracy of these first."""
    bars = [] if row.against_searched is None else [_bar(SEARCHED, row.against_searched, "blend")]
    bars += [
        _bar(name, row.differences[name], "best" if name == row.best_criterion else "other") for name in row.ranked
    ]
    ahead = sum(row.differences[name].difference > 0 for name in row.criteria)
    alt = f"{row.space}: the transferred blend's mean test accuracy is above that of {ahead} of {len(row.criteria)}"
    return Drawing(forest(bars, "transferred", theme), f"{alt} criteria.")


def _bar(name: str, against: Against, kind: Kind) -> Bar:
    return Bar(name, against.difference, against.interval, kind)
