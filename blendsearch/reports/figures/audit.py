"""Figures of an audit: how well each proxy orders plans, and accuracy against estimate for each of them."""

from __future__ import annotations

import math
import textwrap

from matplotlib.axes import Axes

from blendsearch.reports.after import after_pruning
from blendsearch.reports.figures.registry import FigureSet
from blendsearch.reports.figures.style import Drawing, NotDrawn, Theme, new_figure, placed_axes
from blendsearch.results.records.audit import EVOLVED, RANDOM, PlanRecord, ProxyRecord
from blendsearch.results.records.retraining import CRITERION
from blendsearch.results.runs import AuditRun
from blendsearch.results.words import decimal

MARKS = {CRITERION: ("o", 20), RANDOM: ("x", 18), EVOLVED: ("D", 22)}
"""Kind of a plan -> its mark and the size of that."""

LABEL = 30
"""Letters in a line of a proxy's name with its options."""

AUDIT_FIGURES: FigureSet[AuditRun] = FigureSet()
"""The figures of an audit."""


def _taus_caption(run: AuditRun) -> str:
    seeds, after = len(run.summary.plans[0].seeds), after_pruning(run.space)
    words = f"Dots are Kendall's tau between estimate and test accuracy {after.when}, lines 95 % intervals over plans."
    if not after.retrained or run.summary.ceiling is None or run.summary.ceiling.tau is None:
        return words
    return (
        f"{words} The noise ceiling is the tau between two retrainings of the same plans with different seeds. The "
        f"truth here is a mean over {seeds} seeds and so less noisy than one of them: a proxy "
        "may come out above the ceiling."
    )


@AUDIT_FIGURES.register("taus", title="How well the proxies order the plans", caption=_taus_caption)
def draw_taus(run: AuditRun, theme: Theme) -> Drawing:
    """Draw Kendall's tau of every proxy with its interval, and the noise ceiling as an upright line with a band."""
    ranked = [(name, proxy) for name, proxy in run.summary.ranked if proxy.tau is not None]
    if not ranked:
        raise NotDrawn("No proxy orders the plans at all: all estimates or all accuracies are equal.")
    names = [_wrapped(name) for name, _ in ranked]
    labels = 0.3 + 0.075 * max(len(line) for name in names for line in name.splitlines())
    lines = max(len(name.splitlines()) for name in names)
    figure = new_figure(6.4, 1.1 + (0.16 + 0.14 * lines) * len(ranked))
    axes = placed_axes(figure, labels, 0.55, 0.55, 0.35)
    axes.axvline(0, color=theme.line, linewidth=1)
    after = after_pruning(run.space)
    ceiling = run.summary.ceiling if after.retrained else None
    if ceiling and ceiling.tau is not None:
        axes.axvline(ceiling.tau, color=theme.best, linewidth=1.4)
        axes.annotate(
            "noise ceiling", (ceiling.tau, 1), (0, 6), ("data", "axes fraction"), "offset points", ha="center",
            fontsize=8, color=theme.best,
        )  # fmt: skip
        if ceiling.interval:
            axes.axvspan(*ceiling.interval, color=theme.best, alpha=0.1, linewidth=0)
    for row, (_, proxy) in enumerate(ranked):
        _draw_tau(axes, row, proxy, theme)
    axes.set_ylim(len(ranked) - 0.4, -0.6)
    axes.set_yticks(range(len(ranked)), names)
    axes.tick_params(length=0)
    axes.grid(axis="x")
    axes.spines["bottom"].set_visible(False)
    lowest = [proxy.interval[0] if proxy.interval else proxy.tau or 0 for _, proxy in ranked]
    axes.set_xlim(min(-0.3, *lowest) - 0.05, 1.02)
    axes.set_xlabel(f"Kendall's tau with the accuracy {after.when}", loc="right")
    best, first = ranked[0]
    return Drawing(figure, f"Kendall's tau of {len(ranked)} proxies; {best} has the highest, {first.tau:.2f}.")


def _wrapped(name: str) -> str:
    # A line may also end behind "+", which joins the proxies of an average.
    loose = name.replace("+", "+ ")
    filled = textwrap.fill(loose, LABEL, break_long_words=False, break_on_hyphens=False)
    return filled.replace("+ ", "+")


def _draw_tau(axes: Axes, row: int, proxy: ProxyRecord, theme: Theme) -> None:
    assert proxy.tau is not None
    if proxy.interval:
        axes.plot(proxy.interval, [row, row], color=theme.blend, linewidth=1.8, zorder=3)
    axes.scatter(proxy.tau, row, s=38, color=theme.blend, zorder=4)
    across = axes.get_yaxis_transform()
    axes.text(1.03, row, f"{decimal(proxy.tau)}", transform=across, va="center", fontsize=8.5, color=theme.ink)


@AUDIT_FIGURES.register(
    "estimates",
    title="Accuracy against the estimate",
    caption=lambda run: (
        f"Upwards: test accuracy {after_pruning(run.space).when} in %, mean over seeds. ● plans of base "
        "criteria, × of random blends, ◆ of blends that a search by the space's proxy came upon."
    ),
)
def draw_estimates(run: AuditRun, theme: Theme) -> Drawing:
    """Draw accuracy after retraining against the estimate, one panel a proxy, one mark a plan."""
    ranked = run.summary.ranked
    # As few empty places as possible, rather three panels across than four.
    columns = min(len(ranked), 3 if -len(ranked) % 3 <= -len(ranked) % 4 else 4)
    rows = math.ceil(len(ranked) / columns)
    lines = max(len(_wrapped(_title(name, proxy)).splitlines()) for name, proxy in ranked)
    width, height = 3.1, 2.55 + 0.15 * lines
    figure = new_figure(width * columns, height * rows + 0.3)
    for number, (name, proxy) in enumerate(ranked):
        row, column = divmod(number, columns)
        axes = placed_axes(
            figure, 0.5 + width * column, 0.5 + height * (rows - 1 - row), width * (columns - 1 - column) + 0.15,
            0.5 + 0.15 * lines + height * row,
        )  # fmt: skip
        _draw_panel(axes, run.summary.plans, name, proxy, theme)
    shown = {plan.kind for plan in run.summary.plans}
    handles = [
        figure.axes[0].scatter([], [], marker=mark, s=size, color=_colour(kind, theme), label=kind)
        for kind, (mark, size) in MARKS.items()
        if kind in shown
    ]
    figure.legend(handles=handles, loc="upper right", ncols=3, frameon=False, fontsize=8.5, handletextpad=0.2)
    return Drawing(
        figure,
        f"Test accuracy against the estimate of {len(ranked)} proxies, {len(run.summary.plans)} plans.",
    )


def _title(name: str, proxy: ProxyRecord) -> str:
    return f"{name}, {'no tau' if proxy.tau is None else f'tau {decimal(proxy.tau)}'}"


def _colour(kind: str, theme: Theme) -> str:
    return {CRITERION: theme.best, EVOLVED: theme.blend}.get(kind, theme.muted)


def _draw_panel(axes: Axes, plans: list[PlanRecord], name: str, proxy: ProxyRecord, theme: Theme) -> None:
    for kind, (mark, size) in MARKS.items():
        own = [plan for plan in plans if plan.kind == kind]
        axes.scatter(
            [plan.estimates[name] for plan in own], [100 * plan.test_accuracy for plan in own], marker=mark, s=size,
            color=_colour(kind, theme), linewidths=1.2 if mark == "x" else 0,
        )  # fmt: skip
    axes.grid()
    axes.margins(0.08)
    axes.tick_params(length=0, labelcolor=theme.muted, labelsize=8)
    axes.set_title(_wrapped(_title(name, proxy)), fontsize=9, fontweight="bold", loc="left")
    axes.set_xlabel("estimate", fontsize=8.5, color=theme.muted)
