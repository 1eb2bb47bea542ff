"""Space and board files with overrides on the command line, to a Space or Board or to all their mistakes at once."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from blendsearch.config.board import Board
from blendsearch.config.mistakes import MOST_TOLD, Mistake, list_field, list_mistakes, show
from blendsearch.config.recipes import filled, recipe_of
from blendsearch.config.sections.types import Section
from blendsearch.config.space import Space, folder_name
from blendsearch.config.yaml_text import Document, KeyPath, YamlSyntaxError, read_yaml
from blendsearch.errors import ConfigError, nearest, printable, shortened
from blendsearch.plain import Unchecked

M = TypeVar("M", bound=Section)
Check = Callable[[Unchecked], Iterable[tuple[KeyPath, str]]]
"""Looks at the data of a space and yields (key path, what is wrong), as the rooms above know it."""

BOARD_KEY = "networks"
"""The key that every board has and no space."""

SHORTHANDS: tuple[KeyPath, ...] = (("allocation",), ("proxy",), ("schedule",), ("search", "algorithm"))
OVERRIDES_FROM = 1_000_000  # mistakes are told in the order of lines, those of overrides after them


def no_check(data: Unchecked) -> Iterable[tuple[KeyPath, str]]:
    """Find nothing."""
    return ()


def load_space(path: str | Path, overrides: Sequence[str] = (), check: Check = no_check) -> Space:
    """Read a space file, apply overrides such as 'search.population=12', and validate both together.

    check: looks for mistakes that types and limits do not show, such as unknown names.

    Raises ConfigError with one line a mistake, 'FILE:LINE: key.path: what (given …, allowed …)'.
    """
    return _load(Space, "space", path, overrides, check)


def load_board(path: str | Path, overrides: Sequence[str] = (), check: Check = no_check) -> Board:
    """Do as `load_space` does with a board file; items of lists are counted from 0: 'networks.0.training.epochs=5'."""
    return _load(Board, "board", path, overrides, check)


def space_from_dict(data: Unchecked, check: Check = no_check) -> Space:
    """Validate a space given as a mapping; raises ConfigError with one line a mistake."""
    return _validate(Space, "space", data, check)


def board_from_dict(data: Unchecked, check: Check = no_check) -> Board:
    """Validate a board given as a mapping; raises ConfigError with one line a mistake."""
    return _validate(Board, "board", data, check)


def is_board(path: str | Path) -> bool:
    """Tell whether a file holds a board and not a space; ConfigError when it holds neither."""
    return BOARD_KEY in _read(Path(path), "space").data


def _validate(model: type[M], source: str, data: Unchecked, check: Check) -> M:
    _refuse_other_kind(model, source, data)
    draft = _Draft(model, source, Document(copy.deepcopy(dict(data))))
    draft.fill()
    return draft.validate(check)


def _load(model: type[M], kind: str, path: str | Path, overrides: Sequence[str], check: Check) -> M:
    file = Path(path)
    document = _read(file, kind)
    _refuse_other_kind(model, str(file), document.data)
    draft = _Draft(model, str(file), document)
    recipes = [one for one in overrides if one.partition("=")[0].strip() == "recipe"]
    for override in recipes:  # before all others, which change what it says
        draft.override(override)
    for override in (one for one in overrides if one not in recipes):
        draft.override(override)
    draft.fill()
    draft.data.setdefault("name", folder_name(file.stem))
    return draft.validate(check)


def _read(file: Path, kind: str) -> Document:
    try:
        document = read_yaml(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such {kind} file{_near_file(file)}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{file}: the {kind} file cannot be read: {reason}") from None
    except YamlSyntaxError as error:
        place = f"{file}:{error.line}" if error.line else str(file)
        raise ConfigError(f"{place}: not valid YAML: {error.problem}") from None
    if not isinstance(document.data, dict):
        what = "empty" if document.data is None else f"a {type(document.data).__name__}"
        raise ConfigError(f"{file}: a {kind} file is a mapping of keys (given: {what})")
    return document


def _refuse_other_kind(model: type[Section], source: str, data: Unchecked) -> None:
    """Raise ConfigError for a board where a space is wanted, and a space where a board is."""
    if model is Space and BOARD_KEY in data:
        raise ConfigError(
            f"{source}: a board (it has '{BOARD_KEY}') given, a space expected; 'blendsearch leaderboard' takes boards"
        )
    of_a_space = [key for key in data if key in Space.model_fields and key not in Board.model_fields]
    if model is Board and BOARD_KEY not in data and of_a_space:
        raise ConfigError(
            f"{source}: a space (it has '{of_a_space[0]}' and no '{BOARD_KEY}') given, a board expected; "
            "'blendsearch search' and other commands take spaces"
        )


def _near_file(file: Path) -> str:
    if not file.parent.is_dir():
        return ""
    others = [other.name for other in file.parent.iterdir() if other.suffix in (".yaml", ".yml")]
    close = nearest(file.name, others)
    return f"; did you mean '{file.parent / close}'?" if close else ""


def _as_mapping(key: Any, value: Any) -> Any:
    """Return the mapping that a name alone, or nothing where there is a default, stands for."""
    field = Space.model_fields.get(key)
    name = field.default.name if value is None and field is not None else value
    return {"name": name} if isinstance(name, str) else value


def _no_such_item(key: str, items: int, given: str) -> str:
    allowed = {0: "none", 1: "0"}.get(items, f"0 to {items - 1}")
    counted = f"{key} has {items} item{'' if items == 1 else 's'}, counted from 0"
    if re.fullmatch(r"-?\d+", given):
        return f"{counted} (given {given}, allowed {allowed})"
    return f"{counted}, and '{given}' is no index (allowed {allowed})"


def _no_item_of_default(key: str, field: FieldInfo, given: str) -> str:
    """Say why no item can be set of a list that nobody gave."""
    default = field.get_default(call_default_factory=True)
    if isinstance(default, list) and default:
        return f"{key} is left at its default of {len(default)} items, none of which can be set alone; give all of it"
    if isinstance(default, str):
        return f"{key} is left at its default {show(default)}, which has no items; give all of it"
    return _no_such_item(key, 0, given)


class _Draft(Generic[M]):
    """Data on its way to a Space or Board, knowing for every key path where it was written."""

    def __init__(self, model: type[M], source: str, document: Document) -> None:
        self.model = model
        self.source = source
        self.data = document.data
        self.places = {path: (line, f"{source}:{line}") for path, line in document.lines.items()}
        # (order, place, mistake); files come first by line, then overrides as given
        self.found: list[tuple[float, str, Mistake]] = []
        for path, line, what in document.bad_keys:
            self._note(line, f"{source}:{line}", path, what)
        self.overrides = 0

    def fill(self) -> None:
        """Take the settings of the recipe that is named, for what is not given."""
        if self.model is Space:
            self.data = filled(self.data)

    def override(self, text: str) -> None:
        """Set one value from 'key.path=value' (the value is YAML), or note why that is impossible."""
        self.overrides += 1
        key, equals, value_text = text.partition("=")
        secret = "://" in value_text or key.strip() == "ledger"  # an address may have a password in it
        shown = f"{key}=..." if secret else text
        order, place = OVERRIDES_FROM + self.overrides, f"override {shortened(shown)}"
        path = self._with_items(key.strip().split("."))
        if not equals or "" in path:
            self._note(order, place, (), "an override is written key=value, with dots between keys")
            return
        try:
            value = read_yaml(value_text)
        except YamlSyntaxError as error:
            self._note(order, place, path, f"the value is not valid YAML: {error.problem}")
            return
        missing = self._missing_item(path)
        if missing:
            self._note(order, place, path, missing)
            return
        holder = self._holder(path)
        if holder is None:
            self._note(order, place, path, "this key lies inside a value that is no mapping")
            return
        holder[path[-1]] = value.data
        for inner, _, what in value.bad_keys:
            self._note(order, place, (*path, *inner), what)
        self.places = {at: where for at, where in self.places.items() if at[: len(path)] != path}
        self.places[path] = (order, place)

    def validate(self, check: Check) -> M:
        """Return the valid Space or Board, or raise ConfigError with every mistake."""
        result = None
        try:
            result = self.model.model_validate(self.data)
        except ValidationError as error:
            known = {mistake.path for _, _, mistake in self.found}
            for mistake in list_mistakes(error, self.model):
                if mistake.path not in known:
                    self.found.append((*self._place(mistake.path), mistake))
        known = {mistake.path for _, _, mistake in self.found}
        for path, what in check(self.data):
            if path not in known:
                self.found.append((*self._place(path), Mistake(path, what)))
        if self.found or result is None:
            ordered = sorted(self.found, key=lambda one: one[0])
            lines = [self._line(place, mistake) for _, place, mistake in ordered[:MOST_TOLD]]
            more = len(ordered) - len(lines)
            raise ConfigError(*lines, *([f"{self.source}: {more} more mistakes"] if more else []))
        return result

    def _note(self, order: float, place: str, path: KeyPath, what: str) -> None:
        self.found.append((order, place, Mistake(path, what)))

    def _with_items(self, keys: Sequence[str]) -> KeyPath:
        """Return the path of an override, with numbers for the items of the lists that it leads through."""
        path: list[Any] = []
        value = self.data
        for key in keys:
            item = isinstance(value, list) and key.isdecimal() and int(key) < len(value)
            path.append(int(key) if item else key)
            value = value[path[-1]] if item else value.get(key) if isinstance(value, dict) else None
        return tuple(path)

    def _missing_item(self, path: KeyPath) -> str | None:
        """Say which list on the way has no such item; None where the path leads through the items that there are."""
        value = self.data
        for depth, key in enumerate(path):
            if isinstance(value, list) and not isinstance(key, int):
                return _no_such_item(".".join(map(str, path[:depth])), len(value), key)
            field = list_field(self.model, path[:depth]) if value is None else None
            if field is not None:
                return _no_item_of_default(".".join(map(str, path[:depth])), field, str(key))
            value = value[key] if isinstance(value, list) else value.get(key) if isinstance(value, dict) else None
        return None

    def _holder(self, path: KeyPath) -> Any:
        """Return the mapping or list that holds the last key, made where missing; None when a value is in the way."""
        holder = self.data
        for depth, key in enumerate(path[:-1]):
            inner = holder[key] if isinstance(key, int) else holder.get(key)
            if path[: depth + 1] in SHORTHANDS:
                inner = self._named_by_recipe(path[: depth + 1], inner) or _as_mapping(key, inner)
            if inner is None:
                inner = {}
            if not isinstance(inner, list if isinstance(path[depth + 1], int) else dict):
                return None
            holder[key] = inner
            holder = inner
        return holder

    def _named_by_recipe(self, path: KeyPath, given: Any) -> dict[str, Any] | None:
        """Return a mapping with the name that a recipe gives a section which is not given; None without such."""
        settings: Any = (recipe_of(self.data) or {}) if given is None and self.model is Space else {}
        for key in path:
            settings = settings.get(key) if isinstance(settings, dict) else None
        return {"name": settings["name"]} if isinstance(settings, dict) and "name" in settings else None

    def _place(self, path: KeyPath) -> tuple[float, str]:
        """Return the last override below a key path, else where its innermost known part was written."""
        below = [self.places[at] for at in self.places if len(at) > len(path) and at[: len(path)] == path]
        last = max(below, default=(0, ""))
        if last[0] > OVERRIDES_FROM:
            return last
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return 0, self.source

    def _line(self, place: str, mistake: Mistake) -> str:
        key = shortened(".".join(str(part) for part in mistake.path))
        return printable(f"{place}: {key}: {mistake.what}" if key else f"{place}: {mistake.what}")
