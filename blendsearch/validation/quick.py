"""A file checked by its keys, values and names alone, without loading what they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blendsearch.config import Board, KeyPath, Space, is_board, load_board, load_space
from blendsearch.errors import unknown_name
from blendsearch.plain import Unchecked, name_of
from blendsearch.validation.written_names import ROOMS, written_names

KINDS: dict[KeyPath, str] = {
    ("data",): "datasets",
    ("model",): "models",
    ("allocation",): "allocations",
    ("proxy",): "proxies",
    ("schedule",): "schedules",
    ("search", "algorithm"): "algorithms",
}
LISTS: dict[KeyPath, str] = {
    ("criteria",): "criteria",
    ("audit", "proxies"): "proxies",
    ("allocations",): "allocations",
    ("schedules",): "schedules",
}
SINGULAR = {
    "criteria": "criterion",
    "allocations": "allocation",
    "proxies": "proxy",
    "schedules": "schedule",
    "algorithms": "algorithm",
    "models": "model",
    "datasets": "data set",
}


def load_by_names(path: str | Path, overrides: Sequence[str] = ()) -> Space | Board:
    """Read a space or board file; raise one ConfigError with every key, value and name that is not allowed.

    What only the parts themselves know, such as their options, is left to `load_checked`.
    """
    load = load_board if is_board(path) else load_space
    return load(path, overrides, _mistakes)


def _mistakes(data: Unchecked) -> Iterator[tuple[KeyPath, str]]:
    for place, kind in KINDS.items():
        yield from _unknown(_at(data, place), place, kind)
    for place, kind in LISTS.items():
        listed = _at(data, place)
        for position, one in enumerate(listed if isinstance(listed, list) else []):
            yield from _unknown(one, (*place, position), kind)
    networks = data.get("networks")
    for position, network in enumerate(networks if isinstance(networks, list) else []):
        for key in ("data", "model"):
            section = _at(network, (key,))
            yield from _unknown(section, ("networks", position, key), KINDS[(key,)])


def _at(data: Any, place: KeyPath) -> Any:
    for key in place:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def _unknown(section: Any, place: KeyPath, kind: str) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong with a name, alone or in a section; of a library's networks nothing is known."""
    assert kind in ROOMS
    name = name_of(section)
    if not isinstance(name, str) or (kind == "models" and ":" in name) or name in written_names(kind):
        return
    where = (*place, "name") if isinstance(section, Mapping) else place
    yield where, str(unknown_name(SINGULAR[kind], name, written_names(kind)))
