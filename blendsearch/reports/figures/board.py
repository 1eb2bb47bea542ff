"""Figures of a leaderboard: critical-difference diagram, means with intervals, accuracy against FLOPs, agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from blendsearch.reports.figures.agreement import agreement_caption, draw_mean_agreement
from blendsearch.reports.figures.labels import spread
from blendsearch.reports.figures.registry import FigureSet
from blendsearch.reports.figures.style import Drawing, NotDrawn, Theme, bare, new_figure, placed_axes
from blendsearch.reports.selection import SELECTED, select
from blendsearch.results.records.leaderboard import Column
from blendsearch.results.runs import BoardRun
from blendsearch.results.words import cost_name, join_words

MOST_LABELS = 14
LABEL_GAP = 10.5  # points between labels, for letters of 8
ROOM = 1.6  # inches at the right of a panel for its labels
LINE, BAR = 0.19, 0.085  # inches: a name's line, and the room of a clique's bar
SCALE = 0.62  # inches from the top to the scale of ranks

BOARD_FIGURES: FigureSet[BoardRun] = FigureSet()
"""The figures of a leaderboard."""


def _ranks_caption(run: BoardRun) -> str:
    test = run.summary.test
    if test is None:
        return ""
    shown = " Friedman's test shows no difference, so the bars decide nothing." if test.p >= test.alpha else ""
    return (
        f"Mean ranks; bars join criteria whose ranks differ by less than the critical difference of "
        f"{test.critical_difference:.2f} (Nemenyi's test at {test.alpha} after Friedman's: chi-square "
        f"{test.statistic:.1f}, p = {test.p:.2g}; Demšar 2006).{shown} Blocks of one network share its data and its "
        "starting weights, so this speaks for the networks and data of this board, not for others."
    )


@BOARD_FIGURES.register("ranks", title="Which differences are more than chance", caption=_ranks_caption)
def draw_ranks(run: BoardRun, theme: Theme) -> Drawing:
    """Draw mean ranks on a line with names at the sides; bars join what the test cannot tell apart (Demšar 2006)."""
    summary = run.summary
    if summary.test is None:
        raise NotDrawn("Friedman's test needs at least three criteria in every column, two blocks, and a difference.")
    names, ranks, test = summary.ranked, summary.ranks, summary.test
    half = math.ceil(len(names) / 2)
    margin = 0.35 + 0.075 * max(len(name) for name in names)
    width, inner = 2 * margin + 5.6, 5.6
    first = SCALE + 0.2 + BAR * len(test.cliques)
    height = first + LINE * half + 0.1
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    bare(axes)
    low, high = math.floor(min(ranks)), math.ceil(max(ranks))
    per_rank = inner / max(high - low, 1)

    def across(rank: float) -> float:
        return margin + (rank - low) * per_rank

    _draw_scale(axes, low, high, across(low), per_rank, theme)
    _draw_difference(axes, test.critical_difference, across(low), per_rank, theme)
    for position, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        left = position < half
        line = first + LINE * (position if left else len(names) - 1 - position)
        end, colour = (margin - 0.1 if left else width - margin + 0.1), _colour(run, name, theme)
        axes.plot([across(rank), across(rank), end], [SCALE, line, line], color=colour, linewidth=0.8)
        axes.text(
            end + (-0.06 if left else 0.06), line, f"{name}  {rank:.1f}" if left else f"{rank:.1f}  {name}",
            ha="right" if left else "left", va="center", fontsize=8, color=colour,
            fontweight="bold" if colour != theme.ink else "normal",
        )  # fmt: skip
    place = dict(zip(names, ranks, strict=True))
    for number, clique in enumerate(test.cliques):
        reach = [across(place[clique[0]]) - 0.04, across(place[clique[-1]]) + 0.04]
        axes.plot(reach, [SCALE + 0.12 + BAR * number] * 2, color=theme.ink, linewidth=3, solid_capstyle="butt")
    best = [name for name in names if name in run.best]
    return Drawing(
        figure,
        f"Critical-difference diagram of {len(names)} criteria over {summary.blocks} blocks: {join_words(best)} "
        f"{'has' if len(best) == 1 else 'have'} the best mean rank, {ranks[0]:.1f}; the critical difference is "
        f"{test.critical_difference:.1f}.",
    )


def _draw_scale(axes: Axes, low: int, high: int, start: float, per_rank: float, theme: Theme) -> None:
    axes.plot([start, start + (high - low) * per_rank], [SCALE] * 2, color=theme.ink, linewidth=1)
    step = max(1, math.ceil((high - low) / 12))
    for rank in range(low, high + 1, step):
        at = start + (rank - low) * per_rank
        axes.plot([at, at], [SCALE - 0.06, SCALE], color=theme.ink, linewidth=1)
        axes.text(at, SCALE - 0.1, str(rank), ha="center", va="bottom", fontsize=8, color=theme.muted)


def _draw_difference(axes: Axes, difference: float, start: float, per_rank: float, theme: Theme) -> None:
    """Draw the critical difference as a length above the scale."""
    end = start + difference * per_rank
    axes.plot([start, end], [0.22] * 2, color=theme.ink, linewidth=1.4)
    for at in (start, end):
        axes.plot([at, at], [0.17, 0.27], color=theme.ink, linewidth=1.4)
    axes.text(end + 0.08, 0.22, f"critical difference {difference:.1f}", va="center", fontsize=8, color=theme.ink)


def _means_caption(run: BoardRun) -> str:
    intervals = any(one.interval for one in run.summary.criteria)
    words = [
        "Mean over the columns",
        "lines are 95 % intervals over the seeds" if intervals else "",
        "best mean rank on top",
        "◆ is a blend" if run.blends else "",
    ]
    selected = f" {SELECTED}" if len(shown_on(run)) < len(run.summary.criteria) else ""
    return f"{', '.join(filter(None, words))}.{selected}"


def shown_on(run: BoardRun) -> list[str]:
    """Return what a board shows at first: all of a few, otherwise the best ranked, blends and well-known criteria."""
    return select([one.name for one in run.summary.criteria], {*run.blends, *run.best})


@BOARD_FIGURES.register(
    "means",
    title="Accuracy",
    caption=_means_caption,
)
def draw_means(run: BoardRun, theme: Theme) -> Drawing:
    """Draw each criterion's mean accuracy over the columns with its 95 % interval over the seeds, best rank on top."""
    names = shown_on(run)
    shown = [one for one in run.summary.criteria if one.name in names]
    left = 0.3 + 0.075 * max(len(one.name) for one in shown)
    figure = new_figure(left + 4.2, 0.75 + LINE * len(shown))
    axes = placed_axes(figure, left, 0.55, 0.15, 0.15)
    for place, one in enumerate(shown):
        colour = _colour(run, one.name, theme)
        low, high = one.interval or (one.mean, one.mean)
        axes.plot([100 * low, 100 * high], [place, place], color=colour, linewidth=1.4)
        marker = "D" if one.kind == "blend" else "o"
        axes.plot([100 * one.mean], [place], marker=marker, markersize=4.5, color=colour)
    axes.set_yticks(range(len(shown)), [one.name for one in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.tick_params(length=0)
    axes.grid(axis="x")
    axes.set_xlabel("test accuracy, %")
    best = max(run.summary.criteria, key=lambda one: one.mean)
    of = "" if len(shown) == len(run.summary.criteria) else f" of {len(run.summary.criteria)}"
    return Drawing(figure, f"Mean test accuracy of {len(shown)}{of} criteria; {best.name} has the highest mean.")


@BOARD_FIGURES.register(
    "accuracy",
    title="Accuracy against FLOPs",
    caption="Mean over the seeds at each budget, against the FLOPs that were really kept; the dashed level is the "
    "unpruned network. Bold orange is the best mean rank, bold blue a blend, dashed grey chance; the best-ranked are "
    "named.",
)
def draw_accuracy(run: BoardRun, theme: Theme) -> Drawing:
    """Draw test accuracy against the share of FLOPs kept, a panel a network, allocation, schedule and kind of budget.

    Budgets are joined by lines where they differ in their shares alone, and not in what is limited or in options. What
    is limited is told where that is not the same everywhere.
    """
    panels: dict[tuple[str, ...], list[Column]] = {}
    several = len({column.budget_kind for column in run.summary.columns}) > 1
    for column in run.summary.columns:
        kind = f"{cost_name(column.budget_kind)} limited" if several else ""
        title = (column.network, column.allocation, column.schedule, kind, column.budget_options)
        panels.setdefault(tuple(filter(None, title)), []).append(column)
    if max(len(own) for own in panels.values()) < 2:
        raise NotDrawn("Accuracy against FLOPs needs at least two budgets that differ in their shares alone.")
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = 5.7, 3.9
    figure = new_figure(width * columns, height * rows)
    for number, (place, own) in enumerate(panels.items()):
        row, across = divmod(number, columns)
        left, bottom = 0.7 + width * across, 0.6 + height * (rows - 1 - row)
        axes = placed_axes(figure, left, bottom, width * (columns - 1 - across) + ROOM, height * row + 0.42)
        axes.set_title(", ".join(place), fontweight="bold")
        _draw_panel(axes, run, own, theme)
    return Drawing(
        figure, f"Test accuracy against FLOPs kept in {len(panels)} panels; in bold: {', '.join(sorted(run.best))}."
    )


def _draw_panel(axes: Axes, run: BoardRun, columns: Sequence[Column], theme: Theme) -> None:
    names = [one.name for one in run.summary.criteria if all(one.name in column.results for column in columns)]
    ends = []
    for name in names:
        results = sorted((column.results[name] for column in columns), key=lambda result: -result.flops_ratio)
        shares, means = ([100 * result.flops_ratio for result in results], [100 * result.mean for result in results])
        axes.plot(shares, means, marker="o", markersize=2.5, **_line(run, name, theme))
        ends.append(means[-1])
    axes.axhline(100 * columns[0].unpruned, color=theme.muted, linewidth=1, linestyle=(0, (2, 2)))
    axes.margins(x=0.02)
    axes.invert_xaxis()
    axes.tick_params(length=0, labelcolor=theme.muted)
    axes.grid(axis="y")
    axes.set_xlabel("FLOPs kept, %")
    axes.set_ylabel("test accuracy, %")
    _label(axes, run, dict(zip(names[:MOST_LABELS], ends, strict=False)), theme)


def _line(run: BoardRun, name: str, theme: Theme) -> dict[str, Any]:
    """Return how a line looks: blends blue, the best rank orange, both bold; the rest grey, `random` dashed."""
    colour = _colour(run, name, theme)
    if colour != theme.ink:
        return {"color": colour, "linewidth": 2.2, "zorder": 4}
    dashes = (0, (3, 2)) if name == "random" else "-"
    return {"color": theme.muted, "linewidth": 0.9, "alpha": 0.7, "linestyle": dashes, "zorder": 2}


def _label(axes: Axes, run: BoardRun, ends: dict[str, float], theme: Theme) -> None:
    """Write names at the right, with a thin line to where each curve ends."""
    ends = dict(sorted(ends.items(), key=lambda item: item[1]))
    points = 72 / axes.figure.dpi
    low, high = axes.get_ylim()
    scale = (high - low) / (axes.get_window_extent().height * points)
    places = spread(list(ends.values()), LABEL_GAP * scale, low, high)
    sides = blended_transform_factory(axes.transAxes, axes.transData)
    for (name, end), place in zip(ends.items(), places, strict=True):
        colour = _colour(run, name, theme)
        axes.plot([1, 1.055], [end, place], transform=sides, clip_on=False, color=colour, linewidth=0.6, alpha=0.6)
        weight = "normal" if colour == theme.ink else "bold"
        axes.text(1.065, place, name, transform=sides, va="center", fontsize=8, color=colour, fontweight=weight)


@BOARD_FIGURES.register_each(
    "agreement",
    lambda run: run.summary.agreement,
    title="How far the criteria agree on {}",
    caption=lambda run, network: agreement_caption(run.summary.agreement[network]),
)
def draw_network_agreement(run: BoardRun, network: str, theme: Theme) -> Drawing:
    """Draw how far what is compared on a network agrees."""
    agreement = run.summary.agreement[network]
    if len(agreement.criteria) < 2:
        raise NotDrawn("Agreement needs at least two criteria.")
    return draw_mean_agreement(agreement, theme)


def _colour(run: BoardRun, name: str, theme: Theme) -> str:
    if name in run.blends:
        return theme.blend
    return theme.best if name in run.best else theme.ink
