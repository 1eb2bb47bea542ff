"""Write a run's figures and its page."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from blendsearch.errors import RunError
from blendsearch.files import atomic
from blendsearch.progress import Progress, silent
from blendsearch.reports.figures import FIGURES, NotDrawn, Rendered, render
from blendsearch.reports.figures.agreement import shown_groups
from blendsearch.reports.records import Run, read_run
from blendsearch.reports.story import paired_seeds, tell

TEMPLATES = Path(__file__).parent / "templates"


def build_report(run_dir: Path, progress: Progress = silent) -> Path:
    """Write figures/*.png, figures/*.svg and report.html into a run folder and return the page's path.

    The page holds its figures in itself, in a light and a dark version, and needs no network and no scripts.
    Raises RunError when the folder or its summary is missing, a record is broken, or nothing can be written.
    """
    run = read_run(Path(run_dir))
    drawn: dict[str, Rendered] = {}
    reasons: dict[str, str] = {}
    steps = len(FIGURES) + 1
    for done, (name, draw) in enumerate(FIGURES.items()):
        progress("report", done, steps, name)
        try:
            drawn[name] = render(draw, run)
        except NotDrawn as reason:
            reasons[name] = str(reason)
    progress("report", steps - 1, steps, "page")
    try:
        _write_figures(run.folder / "figures", drawn)
        page = _write(run.folder / "report.html", _page(run, drawn, reasons).encode())
    except OSError as error:
        raise RunError(f"{run.folder}: the report cannot be written ({error})") from error
    progress("report", steps, steps, page.name)
    return page


def _page(run: Run, drawn: dict[str, Rendered], reasons: dict[str, str]) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    groups = list(run.agreement.groups) if run.agreement else []
    template = environment.get_template("report.html.j2")
    return template.render(
        **tell(run),
        figures=drawn,
        reasons=reasons,
        paired_seeds=paired_seeds(run),
        panels=len(shown_groups(groups)),
        panel_groups=len(groups),
    )


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _write_figures(folder: Path, drawn: dict[str, Rendered]) -> None:
    """Write each figure twice and take away those of an earlier report that are no longer drawn."""
    folder.mkdir(exist_ok=True)
    for name in FIGURES:
        if name in drawn:
            _write(folder / f"{name}.png", drawn[name].png)
            _write(folder / f"{name}.svg", drawn[name].svg)
        else:
            (folder / f"{name}.png").unlink(missing_ok=True)
            (folder / f"{name}.svg").unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> Path:
    with atomic(path) as part:
        part.write_bytes(content)
    return path
