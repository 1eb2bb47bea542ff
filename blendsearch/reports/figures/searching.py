"""What the search did: evolution of the proxy, the calibration factors it found, the filters they keep."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes

from blendsearch.reports.after import after_pruning
from blendsearch.reports.figures.labels import spread
from blendsearch.reports.figures.registry import SEARCH_FIGURES
from blendsearch.reports.figures.style import Drawing, NotDrawn, Theme, bare, new_figure, placed_axes, text_on
from blendsearch.reports.selection import named_contenders, select
from blendsearch.results.records.retraining import BLEND
from blendsearch.results.records.search import BlendWeights, Generation, GroupRecord
from blendsearch.results.runs import SearchRun
from blendsearch.results.words import DROP_LOSS, part_name


def _evolution_caption(run: SearchRun) -> str:
    after = after_pruning(run.space)
    holds = "after retraining" if after.retrained else "on the test set"
    finals = "" if run.finals is None else " (the finals may choose another of its best)"
    return (
        "The base criteria are in the first generation, so the search cannot end below the best of them on its own "
        f"proxy{finals}; whether that holds {holds} is the table's matter."
    )


@SEARCH_FIGURES.register("evolution", title="How the search went", caption=_evolution_caption)
def draw_evolution(run: SearchRun, theme: Theme) -> Drawing:
    """Draw best so far and generation mean against evaluations, the base criteria as labelled lines."""
    steps = run.evolution
    if not steps:
        raise NotDrawn("records/evolution.json is not there or empty.")
    bases, best = _base_proxies(run), run.summary.comparison.best_criterion
    names = select(sorted(bases, key=lambda name: -bases[name]), named_contenders(run.summary))
    figure = new_figure(6.4, max(4.2, 1.2 + 0.17 * len(names)))
    axes = placed_axes(figure, 0.62, 0.55, 1.55, 0.3)
    _draw_bases(axes, bases, best, theme)
    _draw_progress(axes, steps, theme)
    _draw_phases(axes, steps, theme)
    axes.set_ylim(*_limits(steps, list(bases.values())))
    axes.set_xlabel("evaluations of the proxy")
    axes.set_title(f"proxy ({part_name(run.summary.proxy)})", color=theme.muted, fontsize=9)
    _label_bases(axes, {name: bases[name] for name in names}, best, theme)
    axes.legend(loc="lower right", frameon=False, fontsize=8.5, labelcolor=theme.ink)
    first, last = steps[0].best_so_far, steps[-1].best_so_far
    return Drawing(figure, f"Best proxy so far rises from {first:.3f} to {last:.3f} in {len(steps)} generations.")


def _factors_caption(run: SearchRun) -> str:
    words = "Calibration factors: a filter's score is the sum of factor × rank, ranks in [0, 1] within its layer."
    if run.blend is None:
        return words
    if any(run.blend.alpha.values()):
        words = (
            "Filter after filter goes that has the least of: the logarithm of the loss that dropping it causes, times "
            "the exponent (under drop loss), plus the sum of factor × standardised rank."
        )
    return f"{words} One set of factors for each {'whole network' if run.blend.unit == 'network' else run.blend.unit}."


@SEARCH_FIGURES.register("factors", title="The blend", caption=_factors_caption)
def draw_factors(run: SearchRun, theme: Theme) -> Drawing:
    """Draw the blend's calibration factors, units down, criteria across; empty where a criterion has none."""
    if run.blend is None:
        raise NotDrawn("blend.json is not there.")
    units, names, matrix = _factor_matrix(run.blend)
    labels = 0.3 + 0.08 * max(len(unit) for unit in units)
    top = 0.25 + 0.075 * max(len(name) for name in names)
    figure = new_figure(max(labels + 0.46 * len(names) + 0.35, 3.2), top + max(0.31 * len(units), 0.31) + 0.1)
    axes = placed_axes(figure, labels, 0.1, 0.35, top)
    highest = max(float(np.nanmax(matrix)), 1e-9)
    axes.pcolormesh(matrix, cmap=theme.sequential, vmin=0, vmax=highest, edgecolors=theme.paper, linewidth=1)
    for (row, column), factor in np.ndenumerate(matrix):
        if np.isfinite(factor):
            colour = text_on(theme.sequential(factor / highest))
            axes.text(column + 0.5, row + 0.5, f"{factor:.2f}", ha="center", va="center", fontsize=8, color=colour)
        else:
            axes.text(column + 0.5, row + 0.5, "·", ha="center", va="center", fontsize=8, color=theme.muted)
    bare(axes)
    axes.set(xlim=(0, len(names)), ylim=(len(units), 0))
    axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=60, ha="left", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(units)) + 0.5, units)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=theme.ink)
    return Drawing(figure, f"Calibration factors of {len(names)} criteria in {len(units)} units, up to {highest:.2f}.")


@SEARCH_FIGURES.register(
    "kept", title="Filters kept in each layer", caption="The grey bar is the layer's original width."
)
def draw_kept(run: SearchRun, theme: Theme) -> Drawing:
    """Draw the share of filters kept in each group by the blend and by the best criterion."""
    groups = [group for group in run.groups if BLEND in group.kept]
    if not groups:
        raise NotDrawn("records/groups.json is not there or does not say what the blend keeps.")
    best = run.summary.comparison.best_criterion
    labels = 0.25 + 0.08 * max(len(group.name) for group in groups)
    figure = new_figure(6.4, 0.95 + 0.27 * len(groups))
    axes = placed_axes(figure, labels, 0.5, 1.25, 0.42)
    for row, group in enumerate(groups):
        _draw_group(axes, row, group, best, theme)
    axes.set(xlim=(0, 1), ylim=(len(groups) - 0.4, -0.6))
    axes.set_yticks(range(len(groups)), [group.name for group in groups])
    axes.set_xticks(np.linspace(0, 1, 5), [f"{part} %" for part in (0, 25, 50, 75, 100)])
    axes.tick_params(length=0)
    axes.set_xlabel("filters kept")
    axes.spines["bottom"].set_visible(False)
    axes.scatter([], [], marker="D", s=34, color=theme.blend, label="blend")
    axes.scatter([], [], marker="s", s=42, facecolor="none", edgecolor=theme.best, linewidth=1.6, label=best)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8.5, borderpad=0.2)
    axes.annotate(
        "blend / best of width", (1, 1), (8, 8), xycoords="axes fraction", textcoords="offset points", fontsize=7.5,
        color=theme.muted,
    )  # fmt: skip
    kept, width = sum(group.kept[BLEND] for group in groups), sum(group.width for group in groups)
    return Drawing(figure, f"The blend keeps {kept} of {width} filters in {len(groups)} groups.")


def _base_proxies(run: SearchRun) -> dict[str, float]:
    return {name: outcome.proxy for name, outcome in run.summary.criteria.items() if outcome.proxy is not None}


def _draw_progress(axes: Axes, steps: list[Generation], theme: Theme) -> None:
    at, best = [step.evaluations for step in steps], [step.best_so_far for step in steps]
    axes.step(at, best, where="post", color=theme.blend, linewidth=2.6, label="best so far", zorder=5)
    axes.plot(at[-1], best[-1], marker="D", color=theme.blend, markersize=6, zorder=6)
    axes.plot(
        at,
        [step.mean for step in steps],
        color=theme.ink,
        linewidth=1.3,
        linestyle=(0, (4, 2)),
        marker="o",
        markersize=3,
        label="mean of the generation",
        zorder=4,
    )
    axes.margins(x=0.03)


def _draw_phases(axes: Axes, steps: list[Generation], theme: Theme) -> None:
    """Mark where a search from coarse to fine went on to the next unit: a thin line, and the unit's name at its top."""
    changes = [(left, right) for left, right in pairwise(steps) if left.unit != right.unit]
    if not changes:
        return
    places = [(steps[0].evaluations, steps[0].unit), *((left.evaluations, right.unit) for left, right in changes)]
    for number, (at, unit) in enumerate(places):
        if number:
            axes.axvline(at, color=theme.muted, linewidth=0.9, linestyle=(0, (1, 2)), zorder=3)
        axes.annotate(
            f"by {unit}", (at, 1), (3, -3), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
            va="top", fontsize=7.5, color=theme.muted, zorder=7,
        )  # fmt: skip


def _draw_bases(axes: Axes, bases: dict[str, float], best: str, theme: Theme) -> None:
    for name, proxy in bases.items():
        colour, width = (theme.best, 1.6) if name == best else (theme.line, 0.9)
        axes.axhline(proxy, color=colour, linewidth=width, zorder=2 if name == best else 1)


def _limits(steps: list[Generation], bases: list[float]) -> tuple[float, float]:
    values = bases + [value for step in steps for value in (step.best_so_far, step.mean)]
    low, high = min(values), max(values)
    margin = 0.06 * max(high - low, 1e-3)
    return low - margin, high + margin


def _label_bases(axes: Axes, bases: dict[str, float], best: str, theme: Theme) -> None:
    """Write the criteria's names at the right of their lines, moved apart and led back by thin lines."""
    low, high = axes.get_ylim()
    figure_height = axes.figure.get_size_inches()[1] * axes.get_position().height  # type: ignore[union-attr]
    places = spread(list(bases.values()), 0.15 * (high - low) / figure_height, low, high)
    across = axes.get_yaxis_transform()
    for (name, proxy), place in zip(bases.items(), places, strict=True):
        colour = theme.best if name == best else theme.muted
        axes.plot([1.0, 1.05], [proxy, place], transform=across, color=colour, linewidth=0.7, clip_on=False)
        weight = "bold" if name == best else "normal"
        axes.text(1.065, place, name, transform=across, va="center", fontsize=8, color=colour, fontweight=weight)


def _factor_matrix(blend: BlendWeights) -> tuple[list[str], list[str], np.ndarray]:
    """Return units, criteria by their sum of factors, and the matrix with NaN for a factor of 0.

    The exponents of a set-aware blend stand among the factors as those of the drop loss.
    """
    units = list(blend.weights)
    weights = {unit: {DROP_LOSS: blend.alpha.get(unit, 0.0), **factors} for unit, factors in blend.weights.items()}
    totals: dict[str, float] = {}
    for factors in weights.values():
        for name, factor in factors.items():
            totals[name] = totals.get(name, 0.0) + factor
    names = sorted((name for name, total in totals.items() if total > 0), key=lambda name: -totals[name])
    if not names:
        raise NotDrawn("blend.json holds no factor above 0.")
    matrix = np.array([[weights[unit].get(name, 0.0) for name in names] for unit in units])
    return units, names, np.where(matrix > 0, matrix, np.nan)


def _draw_group(axes: Axes, row: int, group: GroupRecord, best: str, theme: Theme) -> None:
    axes.barh(row, 1, height=0.5, color=theme.fill, zorder=1)
    blend = group.kept[BLEND]
    axes.barh(row, blend / group.width, height=0.5, color=theme.blend, alpha=0.3, zorder=2)
    numbers = str(blend)
    if best in group.kept:
        axes.scatter(
            group.kept[best] / group.width,
            row,
            marker="s",
            s=42,
            facecolor="none",
            edgecolor=theme.best,
            linewidth=1.6,
            zorder=3,
            clip_on=False,
        )
        numbers = f"{blend} / {group.kept[best]}"
    axes.scatter(blend / group.width, row, marker="D", s=30, color=theme.blend, zorder=4, clip_on=False)
    axes.annotate(
        f"{numbers} of {group.width}",
        (1, row),
        (8, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=theme.ink,
        annotation_clip=False,
    )
