"""What takes most of the time of a tiny campaign and is tested by itself: figures' files, rounds of measurement."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blendsearch.reports.figures import Rendered
from blendsearch.reports.figures.style import LIGHT


def draw_only(draw, run) -> Rendered:
    """Draw a figure on light paper, which finds what its records lack, and stand for its files."""
    drawing = draw(run, LIGHT)
    width, height = (96 * drawing.figure.get_size_inches()).round()
    return Rendered(b"png", b"svg", b"dark svg", int(width), int(height), drawing.alt)


def leave_out_reports(patch: pytest.MonkeyPatch) -> None:
    """Write no report of any job."""
    for module in ("search.run", "transfer.run", "leaderboard.run", "curves.run", "audit.run", "benchmark"):
        patch.setattr(f"blendsearch.campaigns.{module}.write_report", lambda run_dir, progress: run_dir / "report.html")


@pytest.fixture(scope="module", autouse=True)
def in_short() -> Iterator[None]:
    """Save no figure of a report, and measure what is shipped in as few rounds as there may be.

    For all modules of a folder whose conftest takes this in.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blendsearch.reports.page.render", draw_only)
        patch.setattr("blendsearch.experiment.latency.SECONDS_FOR_ROUNDS", 0.0)
        yield
