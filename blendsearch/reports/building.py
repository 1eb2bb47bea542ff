"""What every page is built with: figures drawn or the reason why not, templates filled, files written whole."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from blendsearch.errors import RunError
from blendsearch.files import atomic
from blendsearch.progress import Progress
from blendsearch.reports.figures.style import Drawing, NotDrawn, Rendered, Theme, render

TEMPLATES = Path(__file__).parent / "templates"
R = TypeVar("R")


@dataclass(frozen=True)
class Figures:
    """Figures by name, and for those that were not drawn the sentence that says why."""

    drawn: dict[str, Rendered] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def draw_all(figures: Mapping[str, Callable[[R, Theme], Drawing]], run: R, progress: Progress) -> Figures:
    """Draw every figure of a run; the step that is left of the progress is the page."""
    result = Figures()
    for done, (name, draw) in enumerate(figures.items()):
        progress("report", done, len(figures) + 1, name)
        try:
            result.drawn[name] = render(draw, run)
        except NotDrawn as reason:
            result.reasons[name] = str(reason)
    progress("report", len(figures), len(figures) + 1, "page")
    return result


def fill(template: str, figures: Figures, **words: Any) -> str:
    """Fill a template; it finds the figures under `figures` and the missing ones under `reasons`."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template(template).render(figures=figures.drawn, reasons=figures.reasons, **words)


def write_page(folder: Path, names: Iterable[str], figures: Figures, page: str, name: str = "report.html") -> Path:
    """Write figures/*.png, figures/*.svg and the page; RunError when that is not possible.

    Figures of `names` that an earlier report drew and this one does not are taken away.
    """
    try:
        (folder / "figures").mkdir(exist_ok=True)
        for figure in names:
            _write_figure(folder / "figures", figure, figures.drawn.get(figure))
        return _write(folder / name, page.encode())
    except OSError as error:
        raise RunError(f"{folder}: the report cannot be written ({error})") from error


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _write_figure(folder: Path, name: str, figure: Rendered | None) -> None:
    if figure is None:
        (folder / f"{name}.png").unlink(missing_ok=True)
        (folder / f"{name}.svg").unlink(missing_ok=True)
    else:
        _write(folder / f"{name}.png", figure.png)
        _write(folder / f"{name}.svg", figure.svg)


def _write(path: Path, content: bytes) -> Path:
    with atomic(path) as part:
        part.write_bytes(content)
    return path
