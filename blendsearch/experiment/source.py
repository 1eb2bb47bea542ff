"""The code that a result comes from, as a digest: functions and classes, and all that these use, name by name.

Names are followed within the rooms that score and prune, within the package of a stranger's criterion, allocation or
schedule, and into whatever is not installed, as a script. For all else, such as the training loop, the version stands.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from blendsearch.experiment.experiment import Experiment
from blendsearch.models.loading import builder_of, is_own_code

ROOMS = ("criteria", "statistics", "allocation", "schedules")
INSTALLED = {"site-packages", "dist-packages"}


def code_digest(*parts: object, without: Iterable[object] = ()) -> str:
    """Return 16 hexadecimal digits that change when the source of functions or classes does, or of what they use.

    without: what is not followed. Source that Python does not have, as of a class typed at a prompt, counts as empty.
    """
    reader = _Reader(parts, without)
    reader.read(parts)
    return hashlib.sha256("\0".join(reader.found).encode()).hexdigest()[:16]


def code_of_network(name: str, experiment: Experiment) -> dict[str, str]:
    """Return "code" -> the digest of what builds a network of one's own; nothing of others, of which the version tells.

    name: as in `model.name`.
    """
    if not is_own_code(name):
        return {}
    splits = experiment.splits
    return {"code": code_digest(builder_of(name, num_classes=len(splits.classes), shape=splits.shape)[0])}


class _Reader:
    """Collects sources and constants in the order in which they are met, each function and class once."""

    def __init__(self, parts: Iterable[object], without: Iterable[object]) -> None:
        self.found: list[str] = []
        self._met = {id(one) for one in without}
        self._packages = {_module_of(part).split(".")[0] for part in parts}

    def read(self, thing: Any) -> None:
        if isinstance(thing, str | int | float | None):
            self.found.append(repr(thing))
        elif isinstance(thing, Mapping):
            self._read_all(thing.items())
        elif isinstance(thing, list | tuple):
            self._read_all(thing)
        elif isinstance(thing, set | frozenset):
            self._read_all(sorted(thing, key=repr))
        elif isinstance(thing, functools.partial):
            self._read_all((thing.func, thing.args, thing.keywords))
        elif id(thing) not in self._met and self._is_followed(_module_of(thing)):
            self._met.add(id(thing))
            self._read_new(thing)

    def _read_all(self, things: Iterable[Any]) -> None:
        for thing in things:
            self.read(thing)

    def _is_followed(self, module: str) -> bool:
        package, _, inside = module.partition(".")
        if package == "blendsearch":
            return inside.split(".")[0] in ROOMS
        return package in self._packages or _is_worked_on(module)

    def _read_new(self, thing: Any) -> None:
        if isinstance(thing, type):
            self.found.append(_source(thing))
            self._read_all((*thing.__bases__, *_members(thing)))
        elif isinstance(thing, FunctionType):
            self.found.append(_source(thing))
            self._read_all(_used(thing))
        elif isinstance(thing, ModuleType):
            self.found.append(_source(thing))
        elif is_dataclass(thing):  # as what is registered for a measure
            self._read_all((type(thing), vars(thing)))


def _module_of(thing: Any) -> str:
    return thing.__name__ if isinstance(thing, ModuleType) else str(getattr(thing, "__module__", ""))


def _is_worked_on(module: str) -> bool:
    """Tell whether a module is neither Python's own nor installed, as a script or a test."""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return module.split(".")[0] not in sys.stdlib_module_names and INSTALLED.isdisjoint(Path(file).parts)


@functools.cache
def _source(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return ""


def _members(kind: type) -> Iterator[object]:
    """Yield the functions and constants of a class."""
    for name, member in vars(kind).items():
        if isinstance(member, property):
            yield member.fget
        elif isinstance(member, staticmethod | classmethod):
            yield member.__func__
        elif isinstance(member, FunctionType) or not name.startswith("__"):
            yield member


def _used(function: FunctionType) -> Iterator[object]:
    """Yield what a function uses of its module, and what it was made with: closure and defaults."""
    yield from (function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__)
    yield from (cell.cell_contents for cell in function.__closure__ or ())
    yield from function.__defaults__ or ()


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
