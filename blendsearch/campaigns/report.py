"""The report of a run folder."""

from __future__ import annotations

from pathlib import Path

from blendsearch.errors import RunError
from blendsearch.progress import Progress, silent
from blendsearch.reports import build_report


def write_report(run_dir: Path, progress: Progress = silent) -> Path:
    """Write report.html and figures/ from the files of a run folder; RunError when there is no such run."""
    if not Path(run_dir).is_dir():
        raise RunError(f"{run_dir}: no such run folder")
    return build_report(Path(run_dir), progress)
