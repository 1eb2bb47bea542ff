"""What is loaded before anything is asked for: by the import of the package and by help, no library that is slow to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOW = (
    "torch", "numpy", "scipy", "sklearn", "pandas", "matplotlib", "optuna", "sqlalchemy", "deap", "joblib", "PIL",
    "jinja2", "torch_pruning", "torchvision",
)  # fmt: skip
RUN = "from blendsearch.cli import main; sys.argv[1:] = {}; main()"
STARTS = {
    "import": ("import blendsearch", (*SLOW, "pydantic", "typer", "rich")),
    "--help": (RUN.format(["--help"]), (*SLOW, "pydantic")),
    "--version": (RUN.format(["--version"]), (*SLOW, "pydantic")),
    "search --help": (RUN.format(["search", "--help"]), SLOW),
    "validate --quick": (RUN.format(["validate", "--quick", "search_spaces/digits.yaml"]), SLOW),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_start_loads_nothing_slow(name):
    code, slow = STARTS[name]
    told = f"atexit.register(lambda: print(sorted(set(sys.modules).intersection({slow})), file=sys.stderr))"
    done = subprocess.run(
        [sys.executable, "-c", f"import atexit, sys; {told}; {code}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.strip() == "[]"
