"""How figures look: two themes of one colour-blind safe palette, and matplotlib settings that stay local."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure


class NotDrawn(Exception):
    """A figure's records are not there; the message is the sentence that the page shows in its place."""


@dataclass(frozen=True)
class Theme:
    """The colours of a page in light or dark; the blend is blue, the best criterion orange, the rest grey."""

    paper: str
    ink: str
    muted: str
    line: str
    fill: str
    blend: str
    best: str

    @property
    def diverging(self) -> Colormap:
        """Orange for -1, paper for 0, blue for +1."""
        return LinearSegmentedColormap.from_list("diverging", [self.best, self.paper, self.blend])

    @property
    def sequential(self) -> Colormap:
        """Paper for 0, blue for 1."""
        return LinearSegmentedColormap.from_list("sequential", [self.paper, self.blend])


LIGHT = Theme("#ffffff", "#1b2328", "#5a666e", "#d3dade", "#e8ecef", "#0067a6", "#bb4c00")
DARK = Theme("#1b2126", "#e6eaec", "#a3aeb5", "#3b464d", "#2b343a", "#62b6ee", "#f0a03c")


@dataclass(frozen=True)
class Drawing:
    """A figure and its text for those who do not see it."""

    figure: Figure
    alt: str


@dataclass(frozen=True)
class Rendered:
    """A figure as bytes: PNG and SVG on light paper, SVG on dark; width and height in CSS pixels."""

    png: bytes
    svg: bytes
    dark_svg: bytes
    width: int
    height: int
    alt: str


Facts = TypeVar("Facts")


def render(draw: Callable[[Facts, Theme], Drawing], run: Facts) -> Rendered:
    """Draw a figure of a run (or other facts) in both themes, matplotlib's own settings untouched; raises NotDrawn."""
    with _settings(LIGHT):
        drawing = draw(run, LIGHT)
        svg = _save(drawing.figure, "svg")
        png = _save(drawing.figure, "png")
    with _settings(DARK):
        dark_svg = _save(draw(run, DARK).figure, "svg")
    width, height = drawing.figure.get_size_inches()
    return Rendered(png, svg, dark_svg, round(width * 96), round(height * 96), drawing.alt)


class ShownFigure(Figure):
    """A figure that a notebook shows by itself, without pyplot."""

    def _repr_png_(self) -> bytes:
        return _save(self, "png")


def draw_light(draw: Callable[[Facts, Theme], Drawing], facts: Facts) -> Figure:
    """Return a figure on light paper as an object, for notebooks and files of one's own; may raise NotDrawn."""
    with _settings(LIGHT):
        return draw(facts, LIGHT).figure


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches that no pyplot knows of."""
    figure = ShownFigure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def placed_axes(figure: Figure, left: float, bottom: float, right: float, top: float) -> Axes:
    """Add axes with margins in inches, so that labels have the same room whatever the figure's size."""
    width, height = figure.get_size_inches()
    return figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    )


def bare(axes: Axes) -> None:
    """Take away ticks and frame."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def text_on(colour: tuple[float, float, float, float]) -> str:
    """Return black or white, whichever stands out more on a colour (WCAG contrast)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#10161a" if luminance > 0.2 else "#ffffff"


@contextlib.contextmanager
def _settings(theme: Theme) -> Iterator[None]:
    colours = {
        "figure.facecolor": theme.paper,
        "axes.facecolor": "none",
        "savefig.facecolor": theme.paper,
        "text.color": theme.ink,
        "axes.labelcolor": theme.muted,
        "axes.edgecolor": theme.line,
        "xtick.color": theme.line,
        "ytick.color": theme.line,
        "xtick.labelcolor": theme.muted,
        "ytick.labelcolor": theme.ink,
        "grid.color": theme.line,
    }
    shapes = {
        "font.family": ["DejaVu Sans"],
        "text.parse_math": False,  # names are the user's: two dollar signs in one are no formula
        "font.size": 9.5,
        "axes.titlesize": 9.5,
        "axes.labelsize": 9,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.titlelocation": "left",
        "axes.axisbelow": True,
        "grid.linewidth": 0.7,
        "lines.solid_capstyle": "round",
        "svg.fonttype": "path",
        "svg.hashsalt": "blendsearch",
        "savefig.dpi": 160,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: dict[Any, Any] = {**shapes, **colours}
        matplotlib.rcParams.update(settings)
        yield


def _save(figure: Figure, kind: str) -> bytes:
    """Return the figure's file content, without a date, so that the same run gives the same bytes."""
    target = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(target, format=kind, metadata=metadata)
    return target.getvalue()
