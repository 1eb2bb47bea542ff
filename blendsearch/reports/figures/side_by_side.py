"""The figure of several campaigns: each one's blend beside its best criterion, every seed a dot."""

from __future__ import annotations

from collections.abc import Sequence

from blendsearch.reports.figures.style import Drawing, Theme, new_figure, placed_axes
from blendsearch.results.records.compare import CampaignRow


def draw_side_by_side(rows: Sequence[CampaignRow], theme: Theme) -> Drawing:
    """Draw test accuracies in %: the blend (diamond, seeds as small dots), the best criterion, the random search."""
    labels = 0.3 + 0.075 * max(len(row.label) for row in rows)
    figure = new_figure(6.8, 1.25 + 0.42 * len(rows))
    axes = placed_axes(figure, labels, 0.55, 0.25, 0.45)
    for place, row in enumerate(rows):
        axes.plot([100 * row.best, 100 * row.blend], [place, place], color=theme.line, linewidth=2, zorder=1)
        seeds = [100 * value for value in row.by_seed]
        axes.scatter(seeds, [place + 0.2] * len(seeds), s=9, color=theme.blend, alpha=0.7, linewidths=0)
        if row.random_search is not None:
            axes.scatter(100 * row.random_search, place, marker="x", s=34, color=theme.muted, zorder=3)
        axes.scatter(100 * row.best, place, marker="o", s=38, color=theme.best, zorder=3)
        axes.scatter(100 * row.blend, place, marker="D", s=40, color=theme.blend, zorder=4)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.tick_params(length=0)
    axes.grid(axis="x")
    axes.margins(x=0.08)
    axes.spines["bottom"].set_visible(False)
    axes.set_xlabel(f"test accuracy{' after retraining' if all(row.retrained for row in rows) else ''}, %")
    marks = [("blend", "D", theme.blend), ("best criterion", "o", theme.best)]
    if any(row.random_search is not None for row in rows):
        marks.append(("random search", "x", theme.muted))
    handles = [axes.scatter([], [], marker=mark, s=30, color=colour, label=name) for name, mark, colour in marks]
    figure.legend(handles=handles, loc="upper right", ncols=3, frameon=False, fontsize=8.5, handletextpad=0.2)
    best = max(rows, key=lambda row: row.blend)
    return Drawing(figure, f"Blend and best criterion of {len(rows)} campaigns; the highest blend is of {best.label}.")
