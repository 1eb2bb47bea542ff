"""What import-linter cannot see: modules of the package that are imported by name while it runs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import blendsearch

PACKAGE = Path(blendsearch.__file__).parent
BY_NAME = {"import_module", "__import__"}


def imports_by_name(file: Path) -> list[str]:
    """Return the arguments, as source, of every call in a file that imports a module by its name."""
    calls = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
    names = ((call, getattr(call.func, "attr", getattr(call.func, "id", None))) for call in calls)
    return [ast.unparse(call.args[0]) for call, name in names if name in BY_NAME]


def test_no_room_imports_a_room_by_name():
    found = {str(file.relative_to(PACKAGE)): imports_by_name(file) for file in PACKAGE.rglob("*.py")}
    found = {file: given for file, given in found.items() if given}
    # The package's own door, above all rooms; and the loading of a user's network, whose module the user names.
    assert found.keys() == {"__init__.py", "models/loading.py"}
    assert found["models/loading.py"] == ["module"]
    assert all("blendsearch" in given or given == "_HOMES[name]" for given in found["__init__.py"])


UNNEEDED = ("torch_pruning", "sklearn", "scipy", "pandas", "torchvision", "optuna", "matplotlib")


def test_a_worker_does_not_import_what_it_does_not_need():
    """Every worker process would do it anew: Torch-Pruning takes as long as torch, sklearn and SciPy 86 MB."""
    given = f"import sys, blendsearch.evolution.fitness; print(sorted(set(sys.modules).intersection({UNNEEDED})))"
    done = subprocess.run([sys.executable, "-c", given], capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
    assert done.stdout == "[]\n"
