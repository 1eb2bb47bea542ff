"""What several tests of commands use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from short_cuts import short_campaigns


@pytest.fixture(scope="module", autouse=True)
def in_short() -> Iterator[None]:
    """Spare a module's campaigns what is tested by itself."""
    with short_campaigns():
        yield
