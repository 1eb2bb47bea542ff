"""How much the criteria agree: Spearman's rho as heat maps, ordered and joined by average-linkage dendrograms.

Many criteria are shown as families of those that rank alike, whose names can be read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram

from blendsearch.reports.families import MANY, find_families, rho_matrix, tree_of, within_groups
from blendsearch.reports.figures.registry import SEARCH_FIGURES
from blendsearch.reports.figures.style import Drawing, NotDrawn, Theme, bare, new_figure, placed_axes, text_on
from blendsearch.results.records.common import AgreementRecord
from blendsearch.results.runs import SearchRun

MOST_PANELS = 24
COLUMNS = 4
CELL, LETTER = 0.37, 0.071
"""Inches: a cell of a heat map, and a letter of a name beside it."""


RHO = "Spearman's ρ between the ranks of the filters, mean over the layers: 1 same order, 0 unrelated, below 0 opposed."


def agreement_caption(agreement: AgreementRecord | None) -> str:
    """Return how the figure of a mean agreement is read."""
    if agreement is None or len(agreement.criteria) <= MANY:
        return f"{RHO} The tree joins criteria by average linkage of 1 − ρ."
    alike = find_families(agreement).alike
    return (
        f"{RHO} Criteria are joined by average linkage while those of a family have a mean ρ of at least {alike:g}; a "
        "family is called after its most central member. In the cells: mean ρ of the pairs between two families, on "
        "the diagonal of the pairs within one."
    )


@SEARCH_FIGURES.register(
    "agreement", title="How far the criteria agree", caption=lambda run: agreement_caption(run.agreement)
)
def draw_agreement(run: SearchRun, theme: Theme) -> Drawing:
    """Draw the mean agreement over all groups of a run."""
    return draw_mean_agreement(_agreement(run), theme)


def draw_mean_agreement(agreement: AgreementRecord, theme: Theme) -> Drawing:
    """Draw the mean agreement over all groups, of every pair of criteria or, of many, between their families."""
    names = agreement.criteria
    if len(names) <= MANY:
        matrix = rho_matrix(agreement.mean)
        figure, cells, ordered = _draw_heat_map(names, matrix, theme)
        _write_numbers(cells, np.where(np.eye(len(names)) == 1, np.nan, ordered), theme)
        words = (
            f"Heat map of Spearman's rho between {len(names)} criteria, mean over the groups. {_words(names, matrix)}"
        )
        return Drawing(figure, words)
    found = find_families(agreement)
    if len(found.all) < 2:
        raise NotDrawn(f"All {len(names)} criteria rank alike and are one family.")
    figure, cells, ordered = _draw_heat_map([family.label for family in found.all], found.between, theme)
    _write_numbers(cells, ordered, theme)
    return Drawing(figure, f"Heat map of Spearman's rho between {len(found.all)} families of {len(names)} criteria.")


def _draw_heat_map(names: Sequence[str], matrix: np.ndarray, theme: Theme) -> tuple[Figure, Axes, np.ndarray]:
    """Draw cells, tree and names; return the figure, the axes of the cells and the matrix as ordered there."""
    size = CELL * len(names)
    labels = 0.12 + LETTER * max(len(name) for name in names)
    figure = new_figure(0.95 + size + labels, size + labels + 0.1)
    tree = placed_axes(figure, 0.1, labels, size + labels + 0.03, 0.1)
    cells = placed_axes(figure, 0.95, labels, labels, 0.1)
    order = _draw_tree(tree, matrix, theme)
    ordered = matrix[np.ix_(order, order)]
    _draw_cells(cells, ordered, theme)
    told = [names[index] for index in order]
    cells.set_xticks(np.arange(len(names)) + 0.5, told, rotation=90)
    cells.set_yticks(np.arange(len(names)) + 0.5, told)
    cells.yaxis.tick_right()
    cells.tick_params(length=0, labelcolor=theme.ink)
    return figure, cells, ordered


def _groups_caption(run: SearchRun) -> str:
    groups = [] if run.agreement is None else list(run.agreement.groups)
    shown = len(shown_groups(groups))
    words = (
        "Mean ρ of the pairs within each family: which hold together in every layer, which do not."
        if run.agreement is not None and len(run.agreement.criteria) > MANY
        else "Each layer with its own tree and order; – marks ρ below 0."
    )
    if shown == len(groups):
        return words
    return f"{words} {shown} of {len(groups)} layers, evenly spread; all are in records/agreement.json."


@SEARCH_FIGURES.register("agreement_groups", title="Layer by layer", caption=_groups_caption)
def draw_group_agreement(run: SearchRun, theme: Theme) -> Drawing:
    """Draw for each group a small heat map, or of many criteria a column of families; at most MOST_PANELS groups."""
    agreement = _agreement(run)
    shown = shown_groups(list(agreement.groups))
    if not shown:
        raise NotDrawn("records/agreement.json holds no groups.")
    draw = _draw_panels if len(agreement.criteria) <= MANY else _draw_families_by_group
    return draw(agreement, shown, theme)


def _draw_panels(agreement: AgreementRecord, shown: Sequence[str], theme: Theme) -> Drawing:
    """Draw a small heat map with its own dendrogram and order for each group."""
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


def _draw_families_by_group(agreement: AgreementRecord, shown: Sequence[str], theme: Theme) -> Drawing:
    """Draw the mean rho within each family of several criteria, families down, groups across."""
    families = [family for family in find_families(agreement).all if len(family.members) > 1]
    if not families:
        raise NotDrawn("No two criteria rank alike.")
    by_family = [within_groups(agreement, family) for family in families]
    matrix = np.array([[within[group] for group in shown] for within in by_family])
    labels = 0.2 + LETTER * max(len(family.label) for family in families)
    below = 0.2 + LETTER * max(len(group) for group in shown)
    figure = new_figure(labels + CELL * len(shown) + 0.3, 0.1 + CELL * len(families) + below)
    cells = placed_axes(figure, labels, below, 0.3, 0.1)
    _draw_cells(cells, matrix, theme)
    _write_numbers(cells, matrix, theme)
    cells.set_xticks(np.arange(len(shown)) + 0.5, shown, rotation=90)
    cells.set_yticks(np.arange(len(families)) + 0.5, [family.label for family in families])
    cells.tick_params(length=0, labelcolor=theme.ink)
    return Drawing(figure, f"Mean rho within {len(families)} families of criteria in {len(shown)} groups.")


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


def _draw_panel(tree: Axes, cells: Axes, agreement: AgreementRecord, group: str, theme: Theme) -> None:
    matrix = rho_matrix(agreement.groups[group])
    order = _draw_tree(tree, matrix, theme)
    ordered = matrix[np.ix_(order, order)]
    _draw_cells(cells, ordered, theme)
    for artist in cells.collections:  # as thousands of shapes the cells of all panels would be most of a page
        artist.set_rasterized(True)
    for row, column in zip(*np.nonzero(ordered < -0.05), strict=True):
        cells.text(column + 0.5, row + 0.5, "–", ha="center", va="center", fontsize=5, color=theme.ink)
    cells.set_title(group, fontsize=8.5, fontweight="bold", pad=4)
    names = [agreement.criteria[index] for index in order]
    cells.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=6.2)
    cells.yaxis.tick_right()
    cells.tick_params(length=0, pad=2, labelcolor=theme.ink)


def _draw_tree(axes: Axes, matrix: np.ndarray, theme: Theme) -> list[int]:
    """Draw the dendrogram with its root at the left and return the order of its leaves from top to bottom."""
    joined = tree_of(matrix)
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
    axes.set(xlim=(0, matrix.shape[1]), ylim=(len(matrix), 0), aspect="auto")
    bare(axes)


def _write_numbers(axes: Axes, matrix: np.ndarray, theme: Theme) -> None:
    for (row, column), rho in np.ndenumerate(matrix):
        if not np.isfinite(rho):
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
