"""What several tests of campaigns use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from short_cuts import short_campaigns

REPORT = "blendsearch.campaigns.search.run.write_report"


@pytest.fixture(scope="module", autouse=True)
def in_short() -> Iterator[None]:
    """Spare a module's campaigns what is tested by itself."""
    with short_campaigns():
        yield


def no_report(run_dir, progress):
    """Stand for a report: they have tests of their own, elsewhere they would only take time."""
    return run_dir / "report.html"


@pytest.fixture(scope="module")
def without_report():
    """Leave out reports in a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(REPORT, no_report)
        yield


@pytest.fixture
def unreported(monkeypatch):
    """Leave out reports in a test."""
    monkeypatch.setattr(REPORT, no_report)
