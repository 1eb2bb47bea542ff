"""Write a run's figures and its page."""

from __future__ import annotations

from pathlib import Path

from blendsearch.progress import Progress, silent
from blendsearch.reports.building import draw_all, fill, write_page
from blendsearch.reports.figures import FIGURES, OF_A_FRONT
from blendsearch.reports.figures.agreement import shown_groups
from blendsearch.reports.pages.search_story import paired_seeds, tell
from blendsearch.reports.repeat_command import place_of
from blendsearch.results.records.search import read_run


def build_report(run_dir: Path, progress: Progress = silent) -> Path:
    """Write figures/*.png, figures/*.svg and report.html into a run folder and return the page's path.

    The page holds its figures in itself, in a light and a dark version, and needs no network and no scripts.
    Raises RunError when the folder or its summary is missing, a record is broken, or nothing can be written.
    """
    run = read_run(Path(run_dir))
    wanted = FIGURES if run.front is None else {**FIGURES, **OF_A_FRONT}
    figures = draw_all(wanted, run, progress)
    groups = list(run.agreement.groups) if run.agreement else []
    text = fill(
        "report.html.j2", figures, **tell(run), paired_seeds=paired_seeds(run), panels=len(shown_groups(groups)),
        panel_groups=len(groups), place=place_of([run.space]),
    )  # fmt: skip
    page = write_page(run.folder, [*FIGURES, *OF_A_FRONT], figures, text)
    progress("report", len(wanted) + 1, len(wanted) + 1, page.name)
    return page
