"""Differences in rows around a line of no difference: a mark each, its 95 % interval, the numbers at the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from blendsearch.reports.figures.style import Theme, new_figure, placed_axes
from blendsearch.results.records.common import Bounds
from blendsearch.results.words import interval, points

Kind = Literal["best", "blend", "other"]
MARKERS: dict[Kind, str] = {"best": "s", "blend": "D", "other": "o"}
"""The kinds differ in shape too, and all but "other" have bold names, so that they are told apart without colours."""


@dataclass(frozen=True)
class Bar:
    """A difference of accuracies in [0, 1] against `name`; no interval for one seed; single: by seed."""

    name: str
    mean: float
    interval: Bounds | None
    kind: Kind = "other"
    single: tuple[float, ...] = ()


def forest(bars: Sequence[Bar], subject: str, theme: Theme) -> Figure:
    """Draw subject - bar in percentage points, the first bar on top: mean, 95 % interval, one dot a seed."""
    labels = 0.3 + 0.08 * max(len(bar.name) for bar in bars)
    figure = new_figure(6.4, 1.15 + 0.26 * len(bars))
    numbers = 0.15 + 0.068 * max(len(_numbers(bar)) for bar in bars)
    axes = placed_axes(figure, labels, 0.55, max(numbers, 1.0), 0.35)
    axes.axvline(0, color=theme.ink, linewidth=1.1, zorder=1)
    for row, bar in enumerate(bars):
        _draw_bar(axes, row, bar, theme)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
    for label, bar in zip(axes.get_yticklabels(), bars, strict=True):
        if bar.kind != "other":
            label.set(fontweight="bold", color=_colour(bar.kind, theme))
    axes.tick_params(length=0)
    axes.grid(axis="x")
    axes.spines["bottom"].set_visible(False)
    axes.margins(x=0.06)
    _keep_zero_inside(axes)
    axes.set_xlabel(f"test accuracy, {subject} − the other, percentage points")
    sides = blended_transform_factory(axes.transData, axes.transAxes)
    axes.annotate(f"{subject} better →", (0, 1), (6, 6), sides, "offset points", fontsize=8, color=theme.muted)
    axes.annotate(
        "← the other better", (0, 1), (-6, 6), sides, "offset points", ha="right", fontsize=8, color=theme.muted
    )
    return figure


def _draw_bar(axes: Axes, row: int, bar: Bar, theme: Theme) -> None:
    colour = _colour(bar.kind, theme)
    axes.scatter(
        [100 * value for value in bar.single],
        [row] * len(bar.single),
        s=9,
        color=theme.muted,
        alpha=0.6,
        linewidth=0,
        zorder=2,
    )
    if bar.interval is not None:
        axes.plot([100 * end for end in bar.interval], [row, row], color=colour, linewidth=1.8, zorder=3)
    axes.scatter(100 * bar.mean, row, marker=MARKERS[bar.kind], s=38, color=colour, zorder=4)
    across = axes.get_yaxis_transform()
    axes.text(
        1.03,
        row,
        _numbers(bar),
        transform=across,
        va="center",
        fontsize=8,
        color=colour,
        fontweight="normal" if bar.kind == "other" else "bold",
    )


def _numbers(bar: Bar) -> str:
    return f"{points(bar.mean)}  {interval(bar.interval)}".rstrip()


def _colour(kind: Kind, theme: Theme) -> str:
    return {"best": theme.best, "blend": theme.blend, "other": theme.ink}[kind]


def _keep_zero_inside(axes: Axes) -> None:
    """Widen the axis so that the line of no difference has room on both sides."""
    low, high = axes.get_xlim()
    room = 0.25 * (high - low)
    axes.set_xlim(min(low, -room), max(high, room))
