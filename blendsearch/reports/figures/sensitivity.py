"""How much accuracy each layer costs under damage."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes

from blendsearch.reports.figures.style import Drawing, Theme, new_figure, placed_axes
from blendsearch.results.records.single import GroupSensitivity, SensitivityRecord
from blendsearch.results.words import rank_words

LETTERS = 78
"""Of the note in one line."""


def draw_sensitivity(record: SensitivityRecord, theme: Theme) -> Drawing:
    """Draw a bar for each group's sensitiveness with its interval, and a dot for its loss at each strength of damage.

    Groups in forward order from the top, at the right the ranks that each may have.
    """
    groups = record.groups
    note = textwrap.wrap(record.note, LETTERS)
    labels, below = 0.25 + 0.08 * max(len(group.name) for group in groups), 0.5 + 0.17 * len(note)
    figure = new_figure(labels + 5.6, 0.45 + below + 0.27 * len(groups))
    axes = placed_axes(figure, labels, below, 0.7, 0.42)
    for row, group in enumerate(groups):
        _draw_group(axes, row, group, theme)
    axes.set(ylim=(len(groups) - 0.4, -0.6))
    axes.set_yticks(range(len(groups)), [group.name for group in groups])
    axes.tick_params(length=0)
    images = f"{record.images} images of " if record.images else ""
    axes.set_xlabel("\n".join([f"points of accuracy lost on {images}the search split", *note]))
    given = ", ".join(f"{strength:g}" for strength in record.strengths)
    known = " with 95 % interval" if any(group.interval for group in groups) else ""
    axes.set_title(f"bars: mean{known}; dots, small to large: noise of {given} sd", color=theme.muted)
    axes.text(1.02, -0.6, "rank", transform=axes.get_yaxis_transform(), va="bottom", fontsize=8.5, color=theme.muted)
    most = max(groups, key=lambda group: group.sensitiveness).name
    alt = f"Loss of accuracy under damage of {len(groups)} groups; the most sensitive is {most}. {record.note}"
    return Drawing(figure, alt.strip())


def _draw_group(axes: Axes, row: int, group: GroupSensitivity, theme: Theme) -> None:
    axes.barh(row, 100 * group.sensitiveness, height=0.5, color=theme.blend, alpha=0.35, zorder=1)
    if group.interval is not None:
        low, high = (100 * end for end in group.interval)
        axes.plot([low, high], [row, row], color=theme.ink, linewidth=1.1, zorder=3)
        axes.plot([low, high], [row, row], "|", color=theme.ink, markersize=5, zorder=3)
    for number, drop in enumerate(group.drops, start=1):
        size = 44 * number / len(group.drops)
        axes.scatter(100 * drop, row, s=size, color=theme.blend, zorder=2, clip_on=False)
    axes.text(
        1.02, row, rank_words(group.rank, group.ranks), transform=axes.get_yaxis_transform(), va="center", fontsize=8.5
    )
