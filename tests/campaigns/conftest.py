"""What several tests of campaigns use."""

from __future__ import annotations

import pytest
from short_cuts import in_short, leave_out_reports

__all__ = ["in_short", "unreported", "without_report"]


@pytest.fixture(scope="module")
def without_report():
    """Leave out reports in a module: they have tests of their own, elsewhere they would only take time."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out_reports(patch)
        yield


@pytest.fixture
def unreported(monkeypatch):
    """Leave out reports in a test."""
    leave_out_reports(monkeypatch)
