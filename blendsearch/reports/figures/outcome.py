"""What came of it: paired differences after retraining, the proxy's fidelity, learning curves, time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from blendsearch.reports.after import After, after_pruning
from blendsearch.reports.figures.forest import Bar, forest
from blendsearch.reports.figures.labels import place
from blendsearch.reports.figures.registry import SEARCH_FIGURES
from blendsearch.reports.figures.style import Drawing, NotDrawn, Theme, new_figure, placed_axes
from blendsearch.reports.selection import SELECTED, shown_contenders
from blendsearch.results.outcomes import PairedDifference, Result, differences, results
from blendsearch.results.records.common import Bounds
from blendsearch.results.records.retraining import BLEND
from blendsearch.results.runs import SearchRun
from blendsearch.results.words import decimal, decimal_range, duration

STAGES = ("train", "statistics", "search", "retrain")


def _differences_caption(run: SearchRun) -> str:
    found = differences(run)
    seeds = min((len(difference.single) for difference in found), default=0)
    words = f"Differences in test accuracy between networks {after_pruning(run.space).done} with the same seed."
    if any(difference.interval is not None for difference in found):
        marks = "Large marks are means, small dots single seeds, lines" if seeds > 1 else "There is one seed; lines are"
        words += (
            f" {marks} 95 % intervals{' of the mean' if seeds > 1 else ''}{_basis(run)}; they are not corrected for "
            "the number of comparisons. An interval that holds 0 shows no difference."
        )
    elif seeds == 1:
        words += " There is one seed, so there are no intervals, and the order may be chance."
    elif seeds:
        words += " Nothing varies, so there are no intervals."
    return words if len(_shown(run, found)) == len(found) else f"{words} {SELECTED}"


def _shown(run: SearchRun, found: Sequence[PairedDifference]) -> list[PairedDifference]:
    """Return the differences that are drawn: all of a few, otherwise those that the table shows at first."""
    names = shown_contenders(run)
    return [one for one in found if one.name in names]


def _basis(run: SearchRun) -> str:
    """Say what the intervals come from; those of older campaigns are Student's t over the seeds."""
    basis = run.summary.comparison.basis
    return f", from {basis}" if basis else " (Student's t)"


@SEARCH_FIGURES.register("differences", title="Blend against each of the others", caption=_differences_caption)
def draw_differences(run: SearchRun, theme: Theme) -> Drawing:
    """Draw blend - criterion in percentage points: mean, 95 % interval, one dot a seed."""
    found = differences(run)
    if not found:
        raise NotDrawn("The blend and the criteria have no retraining seed in common yet.")
    best = run.summary.comparison.best_criterion
    bars = [
        Bar(item.name, item.mean, item.interval, "best" if item.name == best else "other", item.single)
        for item in _shown(run, found)
    ]
    figure = forest(bars, "blend", theme)
    ahead = sum(difference.mean > 0 for difference in found)
    return Drawing(figure, f"The blend's mean test accuracy is above that of {ahead} of {len(found)} others.")


def _fidelity_caption(run: SearchRun) -> str:
    fidelity = run.summary.fidelity
    if fidelity is None or fidelity.tau is None:
        return "Kendall's tau is not known."
    after = after_pruning(run.space)
    bounds = fidelity.interval
    range_ = f" (95 % interval {decimal_range(bounds)})" if bounds else ""
    return Markup("<b>Kendall's tau {}</b>{} over {} candidates. {}").format(
        decimal(fidelity.tau), range_, fidelity.candidates, _reading(bounds, after)
    )


def _reading(bounds: Bounds | None, after: After) -> str:
    """Say in words what the data show about the proxy."""
    if bounds is None:
        return "There is no interval, so how sure this is remains open."
    if bounds[0] > 0:
        return "The interval lies above 0: on these candidates a higher proxy went with a higher accuracy."
    if bounds[1] < 0:
        return "The interval lies below 0: on these candidates the proxy misled the search."
    truth = "retraining" if after.retrained else "the test set"
    return f"The interval holds 0: these candidates do not show that the proxy orders them as {truth} does."


@SEARCH_FIGURES.register("fidelity", title="Does the proxy tell the truth?", caption=_fidelity_caption)
def draw_fidelity(run: SearchRun, theme: Theme) -> Drawing:
    """Draw accuracy after retraining against the proxy, one point a candidate, named where there is room."""
    # Those that tau is worked out over; the blend's parts and the random search are variants of the blend.
    candidates = [item for item in results(run) if item.is_blend or item.is_criterion]
    shown = [item for item in candidates if item.proxy is not None]
    if len(shown) < 3:
        raise NotDrawn("Fewer than three candidates have both a proxy and a test accuracy.")
    best = run.summary.comparison.best_criterion
    figure = new_figure(6.4, 4.6)
    axes = placed_axes(figure, 0.7, 0.55, 0.15, 0.3)
    for item in shown:
        _draw_candidate(axes, item, best, theme)
    axes.margins(0.12)
    axes.grid()
    axes.tick_params(length=0, labelcolor=theme.muted)
    axes.set_xlabel("proxy")
    axes.set_title(f"test accuracy {after_pruning(run.space).when}, %", color=theme.muted, fontsize=9)
    _label_candidates(axes, shown, shown_contenders(run), best, theme)
    fidelity = run.summary.fidelity
    known = "not known" if fidelity is None or fidelity.tau is None else f"{fidelity.tau:.2f}"
    return Drawing(figure, f"Test accuracy against proxy for {len(shown)} candidates; Kendall's tau {known}.")


@SEARCH_FIGURES.register("learning", title="Retraining", caption="Mean over seeds; grey lines are the other criteria.")
def draw_learning(run: SearchRun, theme: Theme) -> Drawing:
    """Draw the training loss of the retraining by epoch, mean over seeds."""
    shown = [item for item in results(run) if len(item.losses) > 1]
    if not shown and not after_pruning(run.space).retrained:
        raise NotDrawn("Nothing was retrained (retraining.epochs is 0).")
    if not shown:
        raise NotDrawn("records/retrained.json holds no losses over at least two epochs.")
    best = run.summary.comparison.best_criterion
    figure = new_figure(6.4, 3.4)
    axes = placed_axes(figure, 0.62, 0.55, 0.15, 0.3)
    ranked = sorted(shown, key=lambda item: (item.is_blend, item.name == best))
    for item in ranked:
        style = _line_style(item, best, theme)
        axes.plot(range(1, len(item.losses) + 1), item.losses, **style)
    axes.grid(axis="y")
    axes.tick_params(length=0, labelcolor=theme.muted)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch of retraining")
    axes.set_title("training loss", color=theme.muted, fontsize=9)
    axes.legend(frameon=False, fontsize=8.5)
    return Drawing(figure, f"Training loss of {len(shown)} networks over {len(shown[0].losses)} epochs of retraining.")


@SEARCH_FIGURES.register(
    "time", title="Time", caption=lambda run: f"{duration(run.summary.seconds.get('total'))} in all."
)
def draw_time(run: SearchRun, theme: Theme) -> Drawing:
    """Draw the seconds of each stage as bars with their numbers."""
    stages = _stages(run)
    if not stages:
        raise NotDrawn("summary.json holds no seconds.")
    whole = sum(stages.values())
    figure = new_figure(6.4, 0.25 + 0.32 * len(stages))
    axes = placed_axes(figure, 1.1, 0.1, 1.5, 0.1)
    axes.barh(list(stages), list(stages.values()), height=0.6, color=theme.muted)
    for row, seconds in enumerate(stages.values()):
        share = f"{duration(seconds)}  ({seconds / whole:.0%})"
        axes.annotate(
            share,
            (seconds, row),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=theme.ink,
            annotation_clip=False,
        )
    axes.set_ylim(len(stages) - 0.5, -0.5)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    longest = max(stages, key=lambda stage: stages[stage])
    return Drawing(figure, f"Of {duration(whole)} in all, {longest} took {duration(stages[longest])}.")


def _point(item: Result) -> tuple[float, float]:
    """Return proxy and test accuracy in percent."""
    assert item.proxy is not None
    return item.proxy, 100 * item.test_accuracy


def _draw_candidate(axes: Axes, item: Result, best: str, theme: Theme) -> None:
    x, y = _point(item)
    marker, size, colour = "o", 26, theme.muted
    if item.is_blend:
        marker, size, colour = "D", 60, theme.blend
    elif item.name == best:
        marker, size, colour = "s", 56, theme.best
    if item.std is not None:
        axes.errorbar(x, y, 100 * item.std, color=colour, alpha=0.55, linewidth=1)
    axes.scatter(x, y, marker=marker, s=size, color=colour, zorder=3)


def _label_candidates(axes: Axes, shown: list[Result], names: Sequence[str], best: str, theme: Theme) -> None:
    """Write names beside the points that have one, blend and best criterion first, where there is free room."""
    first = sorted(shown, key=lambda item: (not item.is_blend, item.name != best, item.name not in names))
    axes.autoscale_view()
    scale = 72 / axes.figure.dpi
    anchors = [tuple(scale * axes.transData.transform(_point(item))) for item in first]
    # 8-point DejaVu Sans is about 4.9 points a letter; exact extents would need a full extra drawing.
    sizes = [(5.0 * len(item.name) + 2, 10.0) for item in first]
    frame = axes.get_window_extent()
    left, bottom, right, top = (scale * side for side in frame.extents)
    boxes = place(anchors, sizes, (left, bottom, right, top))
    for item, anchor, box in zip(first, anchors, boxes, strict=True):
        if box is None or item.name not in names:
            continue
        colour = theme.blend if item.is_blend else theme.best if item.name == best else theme.ink
        offset = (box[0] - anchor[0], (box[1] + box[3]) / 2 - anchor[1])
        far = abs(offset[1]) > 20 or offset[0] > 20
        axes.annotate(
            item.name,
            _point(item),
            offset,
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=colour,
            fontweight="bold" if colour != theme.ink else "normal",
            arrowprops={"arrowstyle": "-", "color": theme.line, "linewidth": 0.8} if far else None,
        )


def _line_style(item: Result, best: str, theme: Theme) -> dict[str, Any]:
    if item.is_blend:
        return {"color": theme.blend, "linewidth": 2.4, "label": BLEND, "zorder": 4}
    if item.name == best:
        return {"color": theme.best, "linewidth": 1.8, "linestyle": (0, (4, 2)), "label": best, "zorder": 3}
    return {"color": theme.line, "linewidth": 0.9, "label": "_others"}


def _stages(run: SearchRun) -> dict[str, float]:
    """Return the stages' seconds in their order, with what the total has on top as "other"."""
    given = {name: seconds for name, seconds in run.summary.seconds.items() if seconds is not None}
    total = given.pop("total", None)
    ordered = {name: given[name] for name in (*STAGES, *sorted(given.keys() - set(STAGES))) if name in given}
    rest = (total or 0) - sum(ordered.values())
    if total and rest > 0.01 * total:
        ordered["other"] = rest
    names = {} if after_pruning(run.space).retrained else {"retrain": "prune and test"}
    return {names.get(name, name): seconds for name, seconds in ordered.items() if seconds > 0}
