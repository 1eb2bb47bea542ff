"""What several tests of campaigns use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from short_cuts import leave_out_reports, short_campaigns


@pytest.fixture(scope="module", autouse=True)
def in_short() -> Iterator[None]:
    """Spare a module's campaigns what is tested by itself."""
    with short_campaigns():
        yield


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
