"""Files for the tests of spaces and boards."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path):
    """Write a space file whose text is given and return its path."""

    def to_file(text: str) -> Path:
        file = tmp_path / "space.yaml"
        file.write_text(text)
        return file

    return to_file
