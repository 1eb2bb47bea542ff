"""Names and options of a board checked against the registries, before any work is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blendsearch.allocation import ALLOCATIONS, Evolved
from blendsearch.blending import Blend
from blendsearch.config import Board, CompensationConfig, KeyPath, Space, board_from_dict, is_board, load_board
from blendsearch.criteria import CRITERIA
from blendsearch.plain import Unchecked, name_of
from blendsearch.schedules import SCHEDULES, TrainingSchedule
from blendsearch.validation.blend_files import mistakes_in_blends
from blendsearch.validation.names import Mistakes, refuse
from blendsearch.validation.space import load_checked, mistakes_in_names

ENTRY_KEYS = ("data", "model", "training", "ratings")


def load_checked_board(path: str | Path, overrides: Sequence[str] = ()) -> Board:
    """Read a board file; raise one ConfigError with every mistake, those in registered names and blends included."""
    return load_board(path, overrides, mistakes_in_board)


def checked_board_from_dict(data: Unchecked) -> Board:
    """Do as `load_checked_board` does with a board given as a mapping."""
    return board_from_dict(data, mistakes_in_board)


def check_board(board: Board) -> None:
    """Raise one ConfigError with a line for every name, option or blend of a board that cannot be used."""
    refuse(mistakes_in_board(board.to_dict()))


def load_checked_space_or_board(
    path: str | Path, overrides: Sequence[str] = (), *, resumed: bool = False
) -> Space | Board:
    """Read a space or a board file, whichever it is, with every mistake told at once."""
    return load_checked_board(path, overrides) if is_board(path) else load_checked(path, overrides, resumed=resumed)


def told_defaults(settings: Space | Board) -> list[str]:
    """Return sentences on defaults that depend on other keys, for whoever checks a file."""
    if settings.retraining.epochs == 0 and settings.compensation == CompensationConfig(images=None):
        return ["compensation is on, since nothing is retrained; compensation: null switches it off"]
    return []


def mistakes_in_board(data: Unchecked) -> Mistakes:
    """Yield (key path, what is wrong) for unknown names and options; values of a wrong type are passed over."""
    networks = _items(data, "networks")
    for position, network in networks:
        if isinstance(network, Mapping):
            own = {key: network.get(key) for key in ENTRY_KEYS}
            yield from _below(("networks", position), 0, mistakes_in_names(own))
    for position, allocation in _items(data, "allocations"):
        yield from _below(("allocations", position), 1, mistakes_in_names({"allocation": allocation}))
        yield from _evolved(position, allocation)
    for position, schedule in _items(data, "schedules"):
        section = {"schedule": schedule, **{key: data.get(key) for key in ("compensation", "reconstruction")}}
        yield from _in_schedule(position, mistakes_in_names(section))
        yield from _training_schedule(position, schedule)
    rated = all(isinstance(network, Mapping) and network.get("ratings") is not None for _, network in networks)
    yield from mistakes_in_names(
        {
            **{key: data.get(key) for key in ("criteria", "compute", "execution")},
            "ratings": "rated" if rated else None,
        }
    )
    yield from mistakes_in_blends(data.get("blends"), {})


def read_blends(board: Board) -> dict[str, Blend]:
    """Return the blends of a board, name -> blend; BlendsearchError for a file that is missing or no blend."""
    return {one.label: Blend.load(one.file) for one in board.blends}


def _items(data: Unchecked, key: str) -> list[tuple[int, Any]]:
    listed = data.get(key)
    return list(enumerate(listed)) if isinstance(listed, list) else []


def _below(place: KeyPath, taken: int, found: Mistakes) -> Mistakes:
    """Move mistakes below a place of the board, in exchange for the first `taken` keys of their own."""
    for path, what in found:
        yield (*place, *path[taken:]), what


def _in_schedule(position: int, found: Mistakes) -> Mistakes:
    for path, what in found:
        yield ("schedules", position, *(path[1:] if path[0] == "schedule" else ())), what


def _evolved(position: int, allocation: Any) -> Mistakes:
    name = name_of(allocation)
    if isinstance(name, str) and name in ALLOCATIONS and issubclass(ALLOCATIONS.get(name), Evolved):
        others = ", ".join(other for other in ALLOCATIONS if other != name)
        what = f"'{name}' takes shares that a search found, and criteria have none (allowed: {others})"
        yield ("allocations", position), what


def _training_schedule(position: int, schedule: Any) -> Mistakes:
    name = name_of(schedule)
    if isinstance(name, str) and name in SCHEDULES and issubclass(SCHEDULES.get(name), TrainingSchedule):
        others = ", ".join(other for other in SCHEDULES if not issubclass(SCHEDULES.get(other), TrainingSchedule))
        yield ("schedules", position), f"'{name}' trains the whole network and prunes nothing (allowed: {others})"


def all_criteria(board: Board, blends: Mapping[str, Blend]) -> Iterator[str]:
    """Yield every criterion that must be scored: those compared, and the members of the blends."""
    compared = CRITERIA.names() if board.criteria == "all" else board.criteria
    yield from dict.fromkeys([*compared, *(name for blend in blends.values() for name in blend.criteria)])
