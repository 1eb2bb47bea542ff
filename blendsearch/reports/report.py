"""The report of a run folder, whichever job made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blendsearch.errors import RunError
from blendsearch.progress import Progress, silent
from blendsearch.reports.page import Page, build_page
from blendsearch.reports.pages import audit, curves, leaderboard, search, transfer
from blendsearch.results.run_folder import RunFolder

PAGES: dict[str, Page[Any]] = {
    "search": search.PAGE,
    "curves": curves.PAGE,
    "audit": audit.PAGE,
    "leaderboard": leaderboard.PAGE,
    "transfer": transfer.PAGE,
}
"""Job -> its page."""


def write_report(run_dir: Path, progress: Progress = silent) -> Path:
    """Write the page and figures/ from the files of a run folder; RunError when there is no such run.

    The page is report.html, leaderboard.html of a leaderboard, transfer.html of a transfer.
    """
    if not Path(run_dir).is_dir():
        raise RunError(f"{run_dir}: no such run folder")
    job = RunFolder(run_dir).job
    if job not in PAGES:
        raise RunError(f"{run_dir}: made by 'blendsearch {job}', which writes no report ({', '.join(PAGES)} do)")
    return build_page(PAGES[job], Path(run_dir), progress)
