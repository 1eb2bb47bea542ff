"""How much accuracy each layer costs under damage."""

from __future__ import annotations

from blendsearch.reports.figures.style import Drawing, Theme, new_figure, placed_axes
from blendsearch.results.records.single import SensitivityRecord


def draw_sensitivity(record: SensitivityRecord, theme: Theme) -> Drawing:
    """Draw a bar for each group's sensitiveness, and a dot for its loss of accuracy at each strength of damage.

    Groups in forward order from the top.
    """
    groups, strengths = record.groups, record.strengths
    labels = 0.25 + 0.08 * max(len(group.name) for group in groups)
    figure = new_figure(labels + 5.2, 0.95 + 0.27 * len(groups))
    axes = placed_axes(figure, labels, 0.5, 0.3, 0.42)
    for row, group in enumerate(groups):
        axes.barh(row, 100 * group.sensitiveness, height=0.5, color=theme.blend, alpha=0.35, zorder=1)
        for number, drop in enumerate(group.drops, start=1):
            size = 44 * number / len(strengths)
            axes.scatter(100 * drop, row, s=size, color=theme.blend, zorder=2, clip_on=False)
    axes.set(ylim=(len(groups) - 0.4, -0.6))
    axes.set_yticks(range(len(groups)), [group.name for group in groups])
    axes.tick_params(length=0)
    axes.set_xlabel("points of accuracy lost on the search split")
    given = ", ".join(f"{strength:g}" for strength in strengths)
    axes.set_title(f"bars: mean; dots, small to large: noise of {given} sd", color=theme.muted)
    most = max(groups, key=lambda group: group.sensitiveness).name
    return Drawing(figure, f"Loss of accuracy under damage of {len(groups)} groups; the most sensitive is {most}.")
