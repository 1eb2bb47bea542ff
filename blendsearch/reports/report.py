"""The report of a run folder, whichever job made it."""

from __future__ import annotations

from pathlib import Path

from blendsearch.errors import RunError
from blendsearch.progress import Progress, silent
from blendsearch.reports import (
    build_audit_report,
    build_curves_report,
    build_leaderboard_report,
    build_report,
    build_transfer_report,
)
from blendsearch.results.run_folder import RunFolder

BUILDERS = {
    "search": build_report,
    "curves": build_curves_report,
    "audit": build_audit_report,
    "leaderboard": build_leaderboard_report,
    "transfer": build_transfer_report,
}


def write_report(run_dir: Path, progress: Progress = silent) -> Path:
    """Write the page and figures/ from the files of a run folder; RunError when there is no such run.

    The page is report.html, leaderboard.html of a leaderboard, transfer.html of a transfer.
    """
    if not Path(run_dir).is_dir():
        raise RunError(f"{run_dir}: no such run folder")
    job = RunFolder(run_dir).job
    if job not in BUILDERS:
        raise RunError(f"{run_dir}: made by 'blendsearch {job}', which writes no report ({', '.join(BUILDERS)} do)")
    return BUILDERS[job](Path(run_dir), progress)
