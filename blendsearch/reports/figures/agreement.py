"""How much the criteria agree: Spearman's rho as heat maps, ordered and joined by average-linkage dendrograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from blendsearch.reports.figures.registry import SEARCH_FIGURES
from blendsearch.reports.figures.style import Drawing, NotDrawn, Theme, bare, new_figure, placed_axes, text_on
from blendsearch.results.records.common import AgreementRecord, Number
from blendsearch.results.runs import SearchRun

MOST_PANELS = 24
COLUMNS = 4


@SEARCH_FIGURES.register(
    "agreement",
    title="How far the criteria agree",
    caption="Spearman's ρ between the ranks of the filters, mean over the layers: 1 same order, 0 unrelated, below 0 "
    "opposed. The tree joins criteria by average linkage of 1 − ρ.",
)
def draw_agreement(run: SearchRun, theme: Theme) -> Drawing:
    """Draw the mean agreement over all groups of a run."""
    return draw_mean_agreement(_agreement(run), theme)


def draw_mean_agreement(agreement: AgreementRecord, theme: Theme) -> Drawing:
    """Draw the mean agreement over all groups with its dendrogram and the numbers in the cells."""
    drawing, cells, matrix = _mean_agreement(agreement, 0.37, theme)
    _write_numbers(cells, matrix, theme)
    return drawing


def draw_compact_agreement(agreement: AgreementRecord, theme: Theme) -> Drawing:
    """Draw the same with small cells, for many criteria: no numbers, a dash where rho is below 0.

    The cells are one picture within the figure; as thousands of shapes they would be most of a page.
    """
    drawing, cells, matrix = _mean_agreement(agreement, 0.17, theme)
    rows, columns = np.nonzero(matrix < -0.05)
    cells.plot(columns + 0.5, rows + 0.5, "_", markersize=4, color=theme.ink)
    for artist in (*cells.collections, *cells.lines):
        artist.set_rasterized(True)
    return drawing


def _mean_agreement(agreement: AgreementRecord, cell: float, theme: Theme) -> tuple[Drawing, Axes, np.ndarray]:
    """Draw cells of a size in inches, tree and names; return the drawing, the axes and the matrix as ordered there."""
    names = agreement.criteria
    size = cell * len(names)
    labels = 0.25 + 0.078 * max(len(name) for name in names)
    figure = new_figure(0.95 + size + labels, size + labels + 0.1)
    tree = placed_axes(figure, 0.1, labels, size + labels + 0.03, 0.1)
    cells = placed_axes(figure, 0.95, labels, labels, 0.1)
    matrix = _matrix(agreement.mean)
    order = _draw_tree(tree, matrix, theme)
    _draw_cells(cells, matrix[np.ix_(order, order)], theme)
    ordered = [names[index] for index in order]
    cells.set_xticks(np.arange(len(names)) + 0.5, ordered, rotation=90)
    cells.set_yticks(np.arange(len(names)) + 0.5, ordered)
    cells.yaxis.tick_right()
    cells.tick_params(length=0, labelcolor=theme.ink)
    words = f"Heat map of Spearman's rho between {len(names)} criteria, mean over the groups. {_words(names, matrix)}"
    return Drawing(figure, words), cells, matrix[np.ix_(order, order)]


def _groups_caption(run: SearchRun) -> str:
    groups = [] if run.agreement is None else list(run.agreement.groups)
    words, shown = "Each layer with its own tree and order; – marks ρ below 0.", len(shown_groups(groups))
    if shown == len(groups):
        return words
    return f"{words} {shown} of {len(groups)} layers, evenly spread; all are in records/agreement.json."


@SEARCH_FIGURES.register("agreement_groups", title="Layer by layer", caption=_groups_caption)
def draw_group_agreement(run: SearchRun, theme: Theme) -> Drawing:
    """Draw a small heat map with its own dendrogram and order for each group, at most MOST_PANELS of them."""
    agreement = _agreement(run)
    shown = shown_groups(list(agreement.groups))
    if not shown:
        raise NotDrawn("records/agreement.json holds no groups.")
    longest = max(len(name) for name in agreement.criteria)
    cell, labels, tree_width = 0.118, 0.1 + 0.055 * longest, 0.3
    side = max(cell * len(agreement.criteria), 1.0)
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    panel_width, panel_height = tree_width + side + labels + 0.1, side + 0.4
    figure = new_figure(panel_width * columns, panel_height * rows)
    for index, group in enumerate(shown):
        left = panel_width * (index % columns)
        bottom = panel_height * (rows - 1 - index // columns) + 0.05
        tree = _axes_at(figure, left + 0.03, bottom, tree_width - 0.05, side)
        cells = _axes_at(figure, left + tree_width, bottom, side, side)
        _draw_panel(tree, cells, agreement, group, theme)
    return Drawing(figure, f"Heat maps of the criteria's agreement in {len(shown)} of {len(agreement.groups)} groups.")


def shown_groups(groups: Sequence[str]) -> list[str]:
    """Return the groups that get a panel: all, or MOST_PANELS spread evenly from the first to the last."""
    if len(groups) <= MOST_PANELS:
        return list(groups)
    return [groups[index] for index in np.linspace(0, len(groups) - 1, MOST_PANELS).round().astype(int)]


def _agreement(run: SearchRun) -> AgreementRecord:
    if run.agreement is None:
        raise NotDrawn("records/agreement.json is not there.")
    if len(run.agreement.criteria) < 2:
        raise NotDrawn("Agreement needs at least two criteria.")
    return run.agreement


def _matrix(rows: list[list[Number]]) -> np.ndarray:
    """Return the matrix with NaN where a rho is undefined (a criterion that scores all filters alike)."""
    return np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=float)


def _draw_panel(tree: Axes, cells: Axes, agreement: AgreementRecord, group: str, theme: Theme) -> None:
    matrix = _matrix(agreement.groups[group])
    order = _draw_tree(tree, matrix, theme)
    ordered = matrix[np.ix_(order, order)]
    _draw_cells(cells, ordered, theme)
    for row, column in zip(*np.nonzero(ordered < -0.05), strict=True):
        cells.text(column + 0.5, row + 0.5, "–", ha="center", va="center", fontsize=5, color=theme.ink)
    cells.set_title(group, fontsize=8.5, fontweight="bold", pad=4)
    names = [agreement.criteria[index] for index in order]
    cells.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=6.2)
    cells.yaxis.tick_right()
    cells.tick_params(length=0, pad=2, labelcolor=theme.ink)


def _draw_tree(axes: Axes, matrix: np.ndarray, theme: Theme) -> list[int]:
    """Draw the dendrogram with its root at the left and return the order of its leaves from top to bottom."""
    distance = 1 - np.nan_to_num((matrix + matrix.T) / 2)
    np.fill_diagonal(distance, 0)
    joined = linkage(squareform(distance.clip(0), checks=False), method="average")
    parts = dendrogram(joined, no_plot=True)
    # scipy puts leaf i at 5 + 10 i; cell i has its middle at i + 1/2.
    lines = [
        [(far, at / 10) for far, at in zip(fars, ats, strict=True)]
        for fars, ats in zip(parts["dcoord"], parts["icoord"], strict=True)
    ]
    axes.add_collection(LineCollection(lines, colors=theme.muted, linewidths=0.9))
    axes.set(xlim=(max(joined[:, 2].max(), 1e-6) * 1.03, 0), ylim=(len(matrix), 0))
    bare(axes)
    return [int(leaf) for leaf in parts["leaves"]]


def _draw_cells(axes: Axes, matrix: np.ndarray, theme: Theme) -> None:
    axes.pcolormesh(matrix, cmap=theme.diverging, vmin=-1, vmax=1, edgecolors=theme.paper, linewidth=0.6)
    axes.set(xlim=(0, len(matrix)), ylim=(len(matrix), 0), aspect="auto")
    bare(axes)


def _write_numbers(axes: Axes, matrix: np.ndarray, theme: Theme) -> None:
    for (row, column), rho in np.ndenumerate(matrix):
        if row == column or not np.isfinite(rho):
            continue
        text = f"{rho:.2f}".replace("0.", ".").replace("-", "−")
        colour = text_on(theme.diverging((rho + 1) / 2))
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=6.8, color=colour)


def _axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a place in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _words(names: Sequence[str], matrix: np.ndarray) -> str:
    """Name the pair that agrees most and the one that agrees least."""
    upper = np.where(np.triu(np.ones_like(matrix), 1) == 1, matrix, np.nan)
    if not np.isfinite(upper).any():
        return "No pair has a defined agreement."
    most = divmod(int(np.nanargmax(upper)), len(names))
    least = divmod(int(np.nanargmin(upper)), len(names))
    return (
        f"{names[most[0]]} and {names[most[1]]} agree most ({upper[most]:.2f}), "
        f"{names[least[0]]} and {names[least[1]]} least ({upper[least]:.2f})."
    )
