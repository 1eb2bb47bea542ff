"""The names of registries as they stand in the source: what a file can name, known without importing torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

ROOMS = {
    "criteria": ("criteria", "register_criterion"),
    "allocations": ("allocation", "register_allocation"),
    "proxies": ("proxies", "register_proxy"),
    "schedules": ("schedules", "register_schedule"),
    "algorithms": ("evolution/algorithms", "register_algorithm"),
    "models": ("models", "MODELS"),
    "datasets": ("data", "DATASETS"),
}
"""Kind -> the folder of its entries, and the decorator that names a class, or the registry that names a function."""


@cache
def written_names(kind: str) -> tuple[str, ...]:
    """Return the names of a kind in alphabetical order, those of other packages' entry points among them."""
    room, mark = ROOMS[kind]
    files = sorted((Path(__file__).parents[1] / room).glob("*.py"))
    own = {name for file in files for name in _names(ast.parse(file.read_text(encoding="utf-8")), mark)}
    return tuple(sorted(own | {point.name for point in entry_points(group=f"blendsearch.{kind}")}))


def _names(tree: ast.Module, mark: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(_is(one, mark) for one in node.decorator_list):
            yield from _name_of(node)
        elif isinstance(node, ast.Call) and _registers(node.func, mark) and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)


def _registers(function: ast.expr, mark: str) -> bool:
    """Tell whether a function is MARK.register."""
    return isinstance(function, ast.Attribute) and function.attr == "register" and _is(function.value, mark)


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _name_of(node: ast.ClassDef) -> Iterator[str]:
    """Yield what a class says its name is."""
    for line in node.body:
        if not isinstance(line, ast.Assign) or not isinstance(line.value, ast.Constant):
            continue
        if any(_is(target, "name") for target in line.targets):
            yield str(line.value.value)
