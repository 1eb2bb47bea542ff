"""The figure of a transfer: the blend from elsewhere minus each of what stands against it in a space."""

from __future__ import annotations

from blendsearch.reports.figures.forest import Bar, Kind, forest
from blendsearch.reports.figures.registry import FigureSet
from blendsearch.reports.figures.style import Drawing, Theme
from blendsearch.reports.selection import SELECTED, select
from blendsearch.results.records.common import Difference
from blendsearch.results.records.transfer import SpaceRecord
from blendsearch.results.runs import TransferRun

SEARCHED = "searched there"

TRANSFER_FIGURES: FigureSet[TransferRun] = FigureSet()
"""The figures of a transfer."""


def _caption(run: TransferRun, space: str) -> str:
    row = run.row_of(space)
    tested = any(one.interval is not None for one in row.differences.values())
    basis = row.basis or "the seeds"
    lines = f"Lines are 95 % intervals from {basis}" if tested else "There are no intervals"
    searched = ", ◆ the blend searched there" if run.summary.searches else ""
    selected = f" {SELECTED}" if len(shown_in(row)) < len(row.criteria) else ""
    return (
        f"Above 0 the transferred blend is better. {lines}; ■ is the best criterion{searched}. The scale is this "
        f"space's own.{selected}"
    )


@TRANSFER_FIGURES.register_each(
    "differences",
    lambda run: [row.space for row in run.summary.spaces],
    title="{}: the transferred blend against the others",
    caption=_caption,
)
def draw_space(run: TransferRun, space: str, theme: Theme) -> Drawing:
    """Draw the differences in one space."""
    return draw_transfer(run.row_of(space), theme)


def draw_transfer(row: SpaceRecord, theme: Theme) -> Drawing:
    """Draw the difference to the blend searched there and to every criterion, highest accuracy of these first."""
    bars = [] if row.against_searched is None else [_bar(SEARCHED, row.against_searched, "blend")]
    bars += [
        _bar(name, row.differences[name], "best" if name == row.best_criterion else "other") for name in shown_in(row)
    ]
    ahead = sum(row.differences[name].difference > 0 for name in row.criteria)
    alt = f"{row.space}: the transferred blend's mean test accuracy is above that of {ahead} of {len(row.criteria)}"
    return Drawing(forest(bars, "transferred", theme), f"{alt} criteria.")


def shown_in(row: SpaceRecord) -> list[str]:
    """Return the criteria that a space shows at first, highest accuracy first."""
    return select(row.ranked, {row.best_criterion})


def _bar(name: str, against: Difference, kind: Kind) -> Bar:
    return Bar(name, against.difference, against.interval, kind)
