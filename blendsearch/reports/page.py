"""How every page is made: its run read, its figures drawn or the reason why not, its template filled, files written."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from blendsearch.errors import RunError
from blendsearch.files import atomic
from blendsearch.progress import Progress, silent
from blendsearch.reports.figures.registry import FigureSet, PageFigure
from blendsearch.reports.figures.style import NotDrawn, Rendered, render

TEMPLATES = Path(__file__).parent / "templates"
NARROW = 640
"""Pixels up to which figures stand in two columns."""

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Page(Generic[R]):
    """A kind of page: what reads its run, its figures, its template with the words for it, and the name of its file."""

    read: Callable[[Path], R]
    figures: FigureSet[R]
    template: str
    words: Callable[[R], Mapping[str, Any]]
    file: str = "report.html"


def build_page(page: Page[R], run_dir: Path, progress: Progress = silent) -> Path:
    """Write figures/*.png, figures/*.svg and the page into a run folder and return the page's path.

    The page holds its figures in itself, in a light and a dark version, and needs no network. Raises RunError when the
    folder or its summary is missing, a record is broken, or nothing can be written.
    """
    folder = Path(run_dir)
    run = page.read(folder)
    figures = draw_all(page.figures.of(run), run, progress)
    text = fill(page.template, figures, page.words(run))
    try:
        _write_figures(folder / "figures", page.figures.names, figures)
        _write(folder / page.file, text.encode())
    except OSError as error:
        raise RunError(f"{folder}: the report cannot be written ({error})") from error
    steps = len(figures.names) + 1
    progress("report", steps, steps, page.file)
    return folder / page.file


@dataclass(frozen=True, kw_only=True)
class ShownFigure:
    """A figure as a template has it; picture: None where it was not drawn, and `reason` says why."""

    name: str
    title: str
    caption: str
    picture: Rendered | None
    reason: str = ""

    @property
    def narrow(self) -> bool:
        """Whether it can stand in one of two columns."""
        return self.picture is not None and self.picture.width <= NARROW


class Figures:
    """The figures of one page; what its template does not name is left for the end."""

    def __init__(self, figures: Iterable[ShownFigure]) -> None:
        self._figures = {figure.name: figure for figure in figures}
        self._left = dict.fromkeys(self._figures)

    @property
    def names(self) -> list[str]:
        """The names of all figures."""
        return list(self._figures)

    def __getitem__(self, name: str) -> ShownFigure:
        return self._figures[name]

    def show(self, name: str) -> ShownFigure:
        """Return a figure that is being shown."""
        self._left.pop(name, None)
        return self._figures[name]

    def rows(self, names: Iterable[str]) -> list[list[ShownFigure]]:
        """Return those of the named figures that are drawn, narrow ones that follow each other together."""
        wanted = [self.show(name) for name in names]
        drawn = [figure for figure in wanted if figure.picture is not None]
        runs = [list(group) for _, group in itertools.groupby(drawn, key=lambda figure: figure.narrow)]
        return [row for run in runs for row in ([run] if run[0].narrow else [[figure] for figure in run])]

    @property
    def left(self) -> list[str]:
        """The names of those that have not been shown yet."""
        return list(self._left)

    @property
    def undrawn(self) -> list[ShownFigure]:
        """Those that were not drawn, each with its reason."""
        return [figure for figure in self._figures.values() if figure.picture is None]


def draw_all(figures: Iterable[PageFigure[R]], run: R, progress: Progress = silent) -> Figures:
    """Draw figures of a run; the step that is left of the progress is the page."""
    wanted, drawn = list(figures), []
    for done, figure in enumerate(wanted):
        progress("report", done, len(wanted) + 1, figure.name)
        drawn.append(_draw(figure, run))
    progress("report", len(wanted), len(wanted) + 1, "page")
    return Figures(drawn)


def fill(template: str, figures: Figures, words: Mapping[str, Any]) -> str:
    """Fill a template with words; it finds the figures under `figures`."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template(template).render(figures=figures, **words)


def _draw(figure: PageFigure[R], run: R) -> ShownFigure:
    try:
        picture, reason = render(figure.draw, run), ""
    except NotDrawn as undrawn:
        picture, reason = None, str(undrawn)
    return ShownFigure(name=figure.name, title=figure.title, caption=figure.caption, picture=picture, reason=reason)


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _write_figures(folder: Path, registered: Iterable[str], figures: Figures) -> None:
    """Write what was drawn; figures that an earlier report drew and this one does not are taken away."""
    folder.mkdir(exist_ok=True)
    for name in dict.fromkeys([*registered, *figures.names]):
        picture = figures[name].picture if name in figures.names else None
        if picture is None:
            (folder / f"{name}.png").unlink(missing_ok=True)
            (folder / f"{name}.svg").unlink(missing_ok=True)
        else:
            _write(folder / f"{name}.png", picture.png)
            _write(folder / f"{name}.svg", picture.svg)


def _write(path: Path, content: bytes) -> None:
    with atomic(path) as part:
        part.write_bytes(content)
