"""The front: accuracy after retraining, and the proxy before it, against what is kept of the cost."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from blendsearch.reports.after import After, after_pruning
from blendsearch.reports.figures.registry import SEARCH_FIGURES
from blendsearch.reports.figures.style import Drawing, NotDrawn, Theme, new_figure
from blendsearch.results.records.search import FrontPoint, FrontRecord, FrontSide
from blendsearch.results.runs import SearchRun
from blendsearch.results.words import cost_name, percent

WIDTH, HEIGHT = 11.4, 4.1
"""Inches of a row: one for each cost."""

APART = 4.0
"""Points by which a blend and the criterion of its budget stand apart, so that their bars do not cover each other."""


def _caption(run: SearchRun) -> str:
    assert run.front is not None
    costs = " and ".join(cost_name(kind) for kind in run.front.costs)
    after = after_pruning(run.space)
    return (
        f"The search looked for a high proxy and few {costs} at once: {len(run.front.trials)} trials, "
        f"{len(run.front.front)} of them on the front, which no other trial beats in one without losing in another. "
        f"Points of it, spread evenly over the cost, were {after.done} (◆), and beside each the criterion that the "
        "proxy puts first at the same budget (■), on the same terms; bars reach one standard deviation over seeds to "
        "each side, and the two are drawn a little apart. The original network reaches "
        f"{percent(run.summary.unpruned.test_accuracy)}. Trials far below the front are outside the right picture."
    )


@SEARCH_FIGURES.register(
    "front", title="Accuracy against cost", caption=_caption, wanted=lambda run: run.front is not None
)
def draw_front(run: SearchRun, theme: Theme) -> Drawing:
    """Draw for each cost the retrained points beside their criteria, and next to it all trials of the search."""
    points, front = run.summary.front, run.front
    if front is None or not points:
        raise NotDrawn("records/front.json is not there: the search had one objective.")
    rows, after = len(front.costs), after_pruning(run.space)
    figure = new_figure(WIDTH, HEIGHT * rows)
    for row, kind in enumerate(front.costs):
        bottom = (0.6 + HEIGHT * (rows - 1 - row)) / (HEIGHT * rows)
        height = (HEIGHT - 1.0) / (HEIGHT * rows)
        left = figure.add_axes((0.055, bottom, 0.425, height))
        right = figure.add_axes((0.555, bottom, 0.425, height))
        _draw_accuracies(left, points, kind, theme)
        _draw_proxies(right, points, front, row, kind, theme)
        for axes, title in ((left, f"test accuracy {after.when}, %"), (right, _proxy_title(after))):
            axes.set_title(title, color=theme.muted, fontsize=9)
            axes.set_xlabel(f"{cost_name(kind)} kept, %")
            axes.grid()
            axes.tick_params(length=0, labelcolor=theme.muted)
            axes.xaxis.set_major_locator(MaxNLocator(8))
    ahead = sum(point.difference is not None and point.difference > 0 for point in points)
    return Drawing(
        figure,
        f"{len(points)} points of the front {after.when}; at {ahead} of them the blend is above the criterion that "
        "the proxy puts first at the same budget.",
    )


def _proxy_title(after: After) -> str:
    return "proxy before retraining" if after.retrained else "proxy"


def _draw_accuracies(axes: Axes, points: Sequence[FrontPoint], kind: str, theme: Theme) -> None:
    blends = [(point.shares.get(kind), point) for point in points]
    criteria = [(point.criterion.shares.get(kind), point.criterion) for point in points]
    _draw_line(axes, criteria, APART, "s", (0, (4, 2)), theme.best, "criterion that the proxy puts first", theme)
    _draw_line(axes, blends, -APART, "D", "-", theme.blend, "blend", theme)
    axes.margins(0.13, 0.16)
    for point in points:
        _name_criterion(axes, point, kind, theme)
    axes.legend(loc="lower right", frameon=False, fontsize=8.5, labelcolor=theme.ink)


def _name_criterion(axes: Axes, point: FrontPoint, kind: str, theme: Theme) -> None:
    """Write a criterion's name beyond its bar: above when it is ahead of the blend, else below."""
    other = point.criterion
    share, accuracy = other.shares.get(kind), other.test_accuracy
    if share is None:
        return
    side = 1 if accuracy > point.test_accuracy else -1
    axes.annotate(
        other.name, (100 * share, 100 * (accuracy + side * (other.test_accuracy_std or 0))), (APART, 9 * side),
        textcoords="offset points", fontsize=7.5, color=theme.ink, ha="center", va="center",
    )  # fmt: skip


def _draw_line(
    axes: Axes,
    found: Sequence[tuple[float | None, FrontSide]],
    apart: float,
    marker: str,
    style: object,
    colour: str,
    label: str,
    theme: Theme,
) -> None:
    """Draw means of the test accuracy, joined by a line, with bars of one standard deviation over seeds."""
    shown = [(100 * x, 100 * one.test_accuracy, one) for x, one in found if x is not None]
    shown.sort(key=lambda entry: entry[0])
    assert isinstance(axes.figure, matplotlib.figure.Figure)
    moved = axes.transData + ScaledTranslation(apart / 72, 0, axes.figure.dpi_scale_trans)
    for x, y, one in shown:
        if one.test_accuracy_std:
            axes.errorbar(
                x, y, 100 * one.test_accuracy_std, color=colour, linewidth=1.2, capsize=2.5, alpha=0.8, transform=moved
            )
    axes.plot(
        [x for x, *_ in shown], [y for _, y, _ in shown], color=colour, marker=marker, markersize=6.5, linewidth=1.6,
        linestyle=style, markerfacecolor=colour if marker == "D" else theme.paper, markeredgewidth=1.6, label=label,
        transform=moved, zorder=4,
    )  # fmt: skip
    # Artists of another transform do not count for the limits.
    axes.update_datalim([(x, y + sign * 100 * (one.test_accuracy_std or 0)) for x, y, one in shown for sign in (-1, 1)])
    axes.autoscale_view()


def _draw_proxies(
    axes: Axes, points: Sequence[FrontPoint], front: FrontRecord, row: int, kind: str, theme: Theme
) -> None:
    trials = [(100 * trial[1 + row], trial[0]) for trial in front.trials]
    best = sorted(trials[number] for number in front.front)
    axes.scatter(
        [x for x, _ in trials], [y for _, y in trials], s=9, color=theme.muted, alpha=0.45, linewidth=0, label="trial"
    )
    if len(front.costs) == 1:
        axes.step(*zip(*best, strict=True), where="post", color=theme.blend, linewidth=1.3, zorder=3)
    axes.scatter(
        [x for x, _ in best], [y for _, y in best], s=22, facecolor=theme.paper, edgecolor=theme.blend, linewidth=1.2,
        label="on the front", zorder=4,
    )  # fmt: skip
    for side, marker, size, label in (
        ([point.criterion for point in points], "s", 40, "first criterion"),
        (list(points), "D", 42, "blend at a point"),
    ):
        places = [
            (100 * share, one.proxy)
            for one in side
            if (share := one.shares.get(kind)) is not None and one.proxy is not None
        ]
        filled = theme.blend if marker == "D" else "none"
        edge = theme.blend if marker == "D" else theme.best
        axes.scatter(
            [x for x, _ in places], [y for _, y in places], s=size, marker=marker, facecolor=filled, edgecolor=edge,
            linewidth=1.6, label=label, zorder=5,
        )  # fmt: skip
    axes.set_ylim(*_limits(best, points))
    axes.legend(loc="lower right", frameon=False, fontsize=8.5, labelcolor=theme.ink)


def _limits(best: Sequence[tuple[float, float]], points: Sequence[FrontPoint]) -> tuple[float, float]:
    """Return limits of the proxy that show the front and the criteria; most trials early in a search are far below."""
    values = [proxy for _, proxy in best]
    values += [one.proxy for point in points for one in (point, point.criterion) if one.proxy is not None]
    low, high = min(values), max(values)
    room = max(high - low, 1e-3)
    return low - 0.35 * room, high + 0.08 * room
