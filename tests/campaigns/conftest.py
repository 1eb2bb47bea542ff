"""What several tests of campaigns use."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def without_report():
    """Leave out reports in a module: they have tests of their own, here they would only take time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "blendsearch.campaigns.search.run.write_report", lambda run_dir, progress: run_dir / "report.html"
        )
        yield
