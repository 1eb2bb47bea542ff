"""What a wheel holds: every file of the package, and among its dependencies everything that the package imports.

Usage: .venv/bin/python scripts/check_wheel.py FILE.whl     (scripts/check_wheel.sh builds one and does this, too)
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "blendsearch"


def left_out(inside: set[str]) -> list[str]:
    """Return the files of the package that are in the repository and not in the wheel."""
    listed = subprocess.run(["git", "ls-files", PACKAGE], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists() and name not in inside]


def undeclared(metadata: str) -> list[str]:
    """Return what modules import at their beginning and no dependency brings; imports in functions are optional."""
    plain = re.findall(r"^Requires-Dist: ([A-Za-z0-9._-]+)[^\n;]*$", metadata, re.MULTILINE)
    declared, homes = {normal(name) for name in plain}, packages_distributions()
    found = []
    for file in sorted((ROOT / PACKAGE).rglob("*.py")):
        for top in sorted(imported(ast.parse(file.read_text())) - set(sys.stdlib_module_names) - {PACKAGE}):
            if not declared & {normal(home) for home in homes.get(top, [])}:
                found.append(f"{file.relative_to(ROOT)}: {top}")
    return found


def imported(tree: ast.Module) -> set[str]:
    """Return the top-level packages that a module imports at its beginning."""
    return {name.split(".")[0] for node in tree.body for name in names_of(node)}


def names_of(node: ast.stmt) -> Iterator[str]:
    """Yield the modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (one.name for one in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
        yield node.module


def normal(name: str) -> str:
    """Return a distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main(wheel: str) -> None:
    """Check a wheel; say what is amiss and exit with 1."""
    with zipfile.ZipFile(wheel) as opened:
        inside = set(opened.namelist())
        metadata = opened.read(next(name for name in inside if name.endswith(".dist-info/METADATA"))).decode()
    amiss = [f"not in the wheel: {name}" for name in left_out(inside)]
    amiss += [f"imported, but no dependency: {one}" for one in undeclared(metadata)]
    if amiss:
        sys.exit("\n".join(amiss))


if __name__ == "__main__":
    main(sys.argv[1])
