"""Registered names and their options, looked up and tried; and how mistakes are passed on and told."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from blendsearch.config import KeyPath
from blendsearch.errors import BlendsearchError, ConfigError, nearest, printable, shortened
from blendsearch.evolution.algorithms import ALGORITHMS, SearchAlgorithm
from blendsearch.registry import Registry
from blendsearch.validation.options import wrong_types

Mistakes = Iterator[tuple[KeyPath, str]]
"""Key paths, each with what is wrong there."""


def look_up(path: KeyPath, data: Any, get: Callable[[str], Any], above: KeyPath = ()) -> Mistakes:
    """Yield what `get` says of the text at a path of the data; above: the path of the data themselves."""
    value = data
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        yield from catch_mistake((*above, *path), lambda: get(value))


def try_to_make(path: KeyPath, section: Any, registry: Registry[Any]) -> Mistakes:
    """Yield what is wrong with a name and its options, by making what they stand for."""
    found = list(check_options(path, section, registry))
    yield from found
    given = {"name": section} if isinstance(section, str) else section
    if not found and isinstance(given, Mapping) and isinstance(given.get("name"), str):
        options = {str(option): value for option, value in given.items() if option != "name"}
        for place, what in catch_mistake(path, lambda: registry.get(given["name"])(**options)):
            yield own_place(path, place, what)


def check_options(path: KeyPath, section: Any, registry: Registry[Any]) -> Mistakes:
    """Yield an unknown name, unknown options, and options of a wrong type."""
    place: KeyPath = path if isinstance(section, str) else (*path, "name")
    section = {"name": section} if isinstance(section, str) else section
    name = section.get("name") if isinstance(section, Mapping) else None
    if not isinstance(name, str):
        return
    if name not in registry:
        yield from catch_mistake(place, lambda: registry.get(name))
        return
    options = {str(option): value for option, value in section.items() if option != "name"}
    allowed = options_of(registry.get(name))
    for option in options:
        if option not in allowed:
            close = nearest(option, allowed)
            hint = f"; did you mean '{close}'?" if close else ""
            listed = ", ".join(allowed) or "none"
            yield (*path, option), f"unknown option of {registry.kind} '{name}'{hint} (allowed: {listed})"
    known = {option: value for option, value in options.items() if option in allowed}
    for option, what in wrong_types(registry.get(name), known):
        yield (*path, option), what


def own_place(path: KeyPath, place: KeyPath, what: str) -> tuple[KeyPath, str]:
    """Take the option's path out of a message that begins with it, such as "proxy.images: -5 given"."""
    head, _, rest = what.partition(": ")
    if head.startswith(f"{path[0]}.") and " " not in head:
        return tuple(head.split(".")), rest
    return place, what


def options_of(factory: Any) -> dict[str, Any]:
    """Return the options of a registered class: name -> default; of an algorithm those beside what all share."""
    if factory.__init__ is object.__init__:
        return {}
    parameters = inspect.signature(factory).parameters
    shared = inspect.signature(SearchAlgorithm).parameters if factory in map(ALGORITHMS.get, ALGORITHMS) else ()
    return {
        name: one.default
        for name, one in parameters.items()
        if name not in shared and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    }


def catch_mistake(path: KeyPath, action: Callable[[], Any]) -> Mistakes:
    """Yield what an action says is wrong, as a mistake at a key path."""
    try:
        action()
    except BlendsearchError as error:
        yield path, str(error)
    except (TypeError, ValueError) as error:
        yield path, f"not allowed ({error})"


def refuse(mistakes: Mistakes) -> None:
    """Raise one ConfigError with a line for every mistake, if there is any."""
    lines = [printable(f"{shortened('.'.join(map(str, path)))}: {what}") for path, what in mistakes]
    if lines:
        raise ConfigError(*lines)
