"""The notebooks of docs/ run as they are, cell by cell, in less than two minutes, and are kept without outputs."""

from __future__ import annotations

import ast
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
WITHIN = 120
"""Seconds of the processor, so that other work on the machine does not count."""


def code_cells(notebook: Path) -> list[str]:
    """Return the code of a notebook's cells in order."""
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def seconds_of_children() -> float:
    """Return the processor's seconds of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_is_kept_without_outputs_and_each_cell_is_python(notebook):
    for cell in json.loads(notebook.read_text())["cells"]:
        assert cell["id"]
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    for code in code_cells(notebook):
        ast.parse(code)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs_in_less_than_two_minutes(notebook, tmp_path):
    (tmp_path / "cells.py").write_text("\n\n".join(code_cells(notebook)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    before = seconds_of_children()
    done = subprocess.run(
        [sys.executable, "cells.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert seconds_of_children() - before < WITHIN
    assert "the whole story:" in done.stdout
