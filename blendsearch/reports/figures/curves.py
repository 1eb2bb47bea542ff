"""Figures of a scarce-data run: accuracy against the share removed, and its mean against the number of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from blendsearch.reports.figures.labels import spread
from blendsearch.reports.figures.registry import FigureSet
from blendsearch.reports.figures.style import Drawing, NotDrawn, Theme, new_figure, placed_axes
from blendsearch.results.records.curves import Curve, FamilyComparison
from blendsearch.results.runs import CurvesRun
from blendsearch.results.words import cost_name, plural

MOST_LABELS = 18
LABEL_GAP = 10.5  # points between labels, for letters of 8
ROOM = 1.55  # inches at the right of a panel for its labels

CURVES_FIGURES: FigureSet[CurvesRun] = FigureSet()
"""The figures of a scarce-data run."""


def _curves_caption(run: CurvesRun) -> str:
    curves = run.summary.curves
    both = len(run.highlighted(run.summary.samples_per_class[0])) > 1
    colours = (
        "Blue: relevance criteria; orange: the best of the others; grey: the rest"
        if both
        else "In colour: the best by area; grey: the rest"
    )
    unmoved = ", dashed where a criterion looks at no image and so stays the same in every panel"
    dashed = unmoved if any(curve.samples is None for curve in curves) and _panels(run)[1:] else ""
    bold = "Bold lines are the best of each side by area; their" if both else "Its"
    bands = (
        f" {bold} bands reach from the lowest to the highest draw." if any(curve.samples for curve in curves) else ""
    )
    return f"Lines are means over the draws. {colours}{dashed}.{bands}"


def _panels(run: CurvesRun) -> list[int]:
    """Return the numbers of images that have a panel: one where no criterion looks at images."""
    counts = run.summary.samples_per_class
    return counts if any(curve.samples for curve in run.summary.curves) else counts[:1]


@CURVES_FIGURES.register(
    "curves",
    title="Accuracy against the share removed",
    caption=_curves_caption,
)
def draw_curves(run: CurvesRun, theme: Theme) -> Drawing:
    """Draw one panel a number of images: a line a criterion, a band for the best relevance criterion and its rival."""
    counts = _panels(run)
    columns = min(2, len(counts))
    rows = math.ceil(len(counts) / columns)
    width, height = 5.6, 3.7
    figure = new_figure(width * columns, height * rows)
    for number, samples in enumerate(counts):
        row, column = divmod(number, columns)
        left, bottom = 0.55 + width * column, 0.6 + height * (rows - 1 - row)
        axes = placed_axes(figure, left, bottom, width * (columns - 1 - column) + ROOM, height * row + 0.42)
        _draw_panel(axes, run, samples, theme)
    compared = run.summary.comparison.by_samples
    best = ", ".join(f"{' and '.join(_first(compared[str(samples)]))} with {samples}" for samples in counts)
    return Drawing(figure, f"Test accuracy against the share removed, for images per class. In colour: {best}.")


def _first(compared: FamilyComparison) -> tuple[str, ...]:
    return compared.most if compared.best is None else (compared.best,)


def _areas_caption(run: CurvesRun) -> str:
    removed = f"{100 * run.summary.removed[-1]:g} % of the {cost_name(run.summary.budget.kind)} removed"
    return (
        f"Mean accuracy from 0 to {removed}; upright lines reach from the lowest to the highest draw. Names stand "
        "where the curves end."
    )


@CURVES_FIGURES.register("areas", title="More images, better scores?", caption=_areas_caption)
def draw_areas(run: CurvesRun, theme: Theme) -> Drawing:
    """Draw each criterion's mean accuracy over the shares against the number of images, with the draws' range."""
    counts = run.summary.samples_per_class
    if len(counts) < 2:
        raise NotDrawn("More images than one number of them were not tried.")
    if not any(curve.samples for curve in run.summary.curves):
        raise NotDrawn("No criterion of this run looks at images, so their number changes nothing.")
    names = list(dict.fromkeys(curve.criterion for curve in run.summary.curves))
    figure = new_figure(6.9, max(4.2, 0.9 + min(len(names), MOST_LABELS) * LABEL_GAP / 72))
    axes = placed_axes(figure, 0.55, 0.6, ROOM, 0.42)
    by_criterion = run.summary.curves_by_criterion()
    last = run.summary.curves_at(counts[-1])
    marked = run.highlighted(counts[-1])
    for place, name in enumerate(names):
        curves = by_criterion[name]
        style = _style(curves[-1], marked, theme)
        shift = 0.16 * (place / max(len(names) - 1, 1) - 0.5)
        places = [position + shift for position in range(len(counts))]
        axes.plot(places, [100 * curve.area for curve in curves], marker="o", markersize=3, **style)
        for at, curve in zip(places, curves, strict=True):
            axes.plot([at, at], [100 * curve.area_low, 100 * curve.area_high], **{**style, "linewidth": 0.8})
    axes.set_xticks(range(len(counts)), [str(samples) for samples in counts])
    axes.set_xlim(-0.3, len(counts) - 0.8)
    axes.tick_params(length=0, labelcolor=theme.muted)
    axes.grid(axis="y")
    axes.set_xlabel("images per class")
    axes.set_title("mean test accuracy over the shares removed, %", color=theme.muted, fontsize=9)
    _label(axes, last, [100 * curve.area for curve in last], marked, theme)
    return Drawing(figure, f"Mean test accuracy of {len(names)} criteria against the number of images per class.")


def _draw_panel(axes: Axes, run: CurvesRun, samples: int, theme: Theme) -> None:
    summary = run.summary
    curves, marked = run.summary.curves_at(samples), run.highlighted(samples)
    whole = summary.unpruned.test_accuracy or 0.0
    shares = [0.0, *(100 * share for share in summary.removed)]
    for curve in reversed(curves):
        style = _style(curve, marked, theme)
        axes.plot(shares, [100 * value for value in (whole, *curve.mean)], **style)
        if curve.criterion in marked:
            low, high = ([100 * value for value in (whole, *side)] for side in (curve.low, curve.high))
            axes.fill_between(shares, low, high, color=style["color"], alpha=0.16, linewidth=0)
    axes.set_ylim(0, 100)
    axes.set_xlim(0, shares[-1])
    axes.set_xticks(shares)
    _thin_ticks(axes, shares)
    axes.tick_params(length=0, labelcolor=theme.muted)
    axes.grid(axis="y")
    axes.set_xlabel(f"{cost_name(summary.budget.kind)} removed, %")
    looked = any(curve.samples for curve in curves)
    axes.set_title(f"{plural(samples, 'image')} per class" if looked else "no images needed", fontweight="bold")
    axes.text(
        1, 1, "test accuracy, %", transform=axes.transAxes, ha="right", va="bottom", fontsize=8, color=theme.muted
    )
    _label(axes, curves, [100 * curve.mean[-1] for curve in curves], marked, theme)


def _thin_ticks(axes: Axes, shares: Sequence[float]) -> None:
    """Name the shares that are at least a tenth of the axis apart."""
    named: list[float] = []
    for share in shares:
        if not named or share - named[-1] >= shares[-1] / 10 - 1e-9:
            named.append(share)
    axes.set_xticks(named, [f"{share:g}" for share in named])


def _style(curve: Curve, marked: Sequence[str], theme: Theme) -> dict[str, Any]:
    """Return how a line looks: relevance blue, the best of the others orange, the rest grey; the two best bold."""
    colour = _colour(curve, marked, theme)
    if curve.criterion in marked:
        return {"color": colour, "linewidth": 2.4, "zorder": 4}
    if curve.is_relevance:
        return {"color": colour, "linewidth": 1.1, "zorder": 3}
    dashes = "-" if curve.samples else (0, (3, 2))
    return {"color": theme.muted, "linewidth": 0.8, "alpha": 0.6, "linestyle": dashes, "zorder": 2}


def _colour(curve: Curve, marked: Sequence[str], theme: Theme) -> str:
    if curve.is_relevance:
        return theme.blend
    return theme.best if curve.criterion in marked else theme.muted


def _label(axes: Axes, curves: Sequence[Curve], ends: Sequence[float], marked: Sequence[str], theme: Theme) -> None:
    """Write names at the right, in the order of area, with a thin line to where each curve ends.

    With more than MOST_LABELS criteria those of relevance and the best of the others are named.
    """
    ranked = sorted(curves, key=lambda curve: (not curve.is_relevance, -curve.area))[:MOST_LABELS]
    shown = [(curve, end) for curve, end in zip(curves, ends, strict=True) if curve in ranked]
    shown.sort(key=lambda pair: (pair[1], pair[0].area))
    frame = axes.get_window_extent()
    points = 72 / axes.figure.dpi
    low, high = axes.get_ylim()
    scale = (high - low) / (frame.height * points)
    places = spread([end for _, end in shown], LABEL_GAP * scale, low, high)
    sides = blended_transform_factory(axes.transAxes, axes.transData)
    for (curve, end), place in zip(shown, places, strict=True):
        colour = _colour(curve, marked, theme)
        axes.plot([1, 1.055], [end, place], transform=sides, clip_on=False, color=colour, linewidth=0.6, alpha=0.6)
        axes.text(
            1.065, place, curve.criterion, transform=sides, va="center", fontsize=8, color=colour,
            fontweight="bold" if curve.criterion in marked else "normal",
        )  # fmt: skip
