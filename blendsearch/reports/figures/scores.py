"""The scores of the filters of each group under one criterion, from the most to the least important."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from blendsearch.reports.figures.style import Drawing, Theme, new_figure, placed_axes

COLUMNS = 4
PANEL = (2.1, 1.05)
"""Width and height of the axes of one group, in inches."""

LEFT, RIGHT, ABOVE, BELOW = 0.55, 0.12, 0.42, 0.3


@dataclass(frozen=True)
class GroupScores:
    """The scores of one group's filters, and in words which scale they have."""

    group: str
    scores: Sequence[float]
    scale: str


@dataclass(frozen=True)
class CriterionScores:
    """The scores of groups under one criterion; left: how many more groups there are that are not drawn."""

    criterion: str
    groups: Sequence[GroupScores]
    left: int = 0


def draw_scores(facts: CriterionScores, theme: Theme) -> Drawing:
    """Draw a panel for each group: its filters' scores in falling order, each panel on a scale of its own."""
    columns = min(COLUMNS, len(facts.groups))
    rows = math.ceil(len(facts.groups) / columns)
    across, down = LEFT + PANEL[0] + RIGHT, ABOVE + PANEL[1] + BELOW
    width, height = max(columns * across, 4.0), rows * down + 0.55
    figure = new_figure(width, height)
    for place, one in enumerate(facts.groups):
        row, column = divmod(place, columns)
        left, top = column * across + LEFT, 0.35 + row * down + ABOVE
        axes = placed_axes(figure, left, height - top - PANEL[1], width - left - PANEL[0], top)
        _draw_group(axes, one, theme)
    rest = f"; {facts.left} more groups are not drawn" if facts.left else ""
    figure.text(0.12 / width, 1 - 0.12 / height, facts.criterion, va="top", fontsize=11, fontweight="bold")
    figure.text(
        0.12 / width, 0.08 / height, f"filters from the most to the least important{rest}",
        fontsize=8.5, color=theme.muted,
    )  # fmt: skip
    return Drawing(figure, f"Scores by {facts.criterion} of the filters of {len(facts.groups)} groups{rest}.")


def _draw_group(axes: Axes, one: GroupScores, theme: Theme) -> None:
    falling = np.sort(np.asarray(one.scores, dtype=float))[::-1]
    edges = np.arange(len(falling) + 1)
    lowest = min(0.0, float(falling[-1]))
    axes.stairs(falling, edges, baseline=0, fill=True, color=theme.blend, alpha=0.3)
    axes.stairs(falling, edges, baseline=None, color=theme.blend, linewidth=1.2)
    axes.set(xlim=(0, len(falling)), ylim=(lowest, None))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:.2g}")  # in full: a factor would stand in the way
    axes.grid(axis="y")
    axes.tick_params(length=0, labelcolor=theme.muted, labelsize=7.5)
    axes.text(0, 1.19, one.group, transform=axes.transAxes, fontsize=8.5, fontweight="bold")
    axes.text(0, 1.05, one.scale, transform=axes.transAxes, fontsize=7, color=theme.muted)
