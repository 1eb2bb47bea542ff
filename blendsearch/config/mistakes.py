"""Pydantic's errors in plain words: what is wrong, what was given, what is allowed, which name was meant."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from blendsearch.config.sections.types import Allowed
from blendsearch.config.yaml_text import KeyPath
from blendsearch.errors import nearest, quoted

_PLAIN_TYPES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "null",
    Any: "anything",
}
RENAMED: dict[KeyPath, str] = {
    ("search", "control"): "search.random_search",
    ("search", "sampler"): "search.algorithm",
}
"""Key of an earlier version -> today's."""

MOST_TOLD = 50
"""Mistakes of one file that are explained."""

_LIMITS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"}
_FORMS = {"string_pattern_mismatch", "string_too_short", "too_short"}


@dataclass(frozen=True)
class Mistake:
    """One mistake of a space: the key path and what is wrong there."""

    path: KeyPath
    what: str


@dataclass(frozen=True)
class _Spot:
    """Where an error lies: key path, the type and limits of the value, and the model that holds the key."""

    path: KeyPath
    annotation: Any
    metadata: Sequence[Any] = ()
    owner: type[BaseModel] | None = None


def list_mistakes(error: ValidationError, model: type[BaseModel]) -> list[Mistake]:
    """Return one mistake a key path, in the order of the model's fields."""
    spots: dict[KeyPath, _Spot] = {}
    details: dict[KeyPath, list[Any]] = {}
    for detail in error.errors(include_url=False):
        spot = _locate(model, detail["loc"])
        spots.setdefault(spot.path, spot)
        details.setdefault(spot.path, []).append(detail)
    around = {path[:length] for path in spots for length in range(len(path))}
    told = [path for path in spots if path not in around]
    # To look for the nearest of all keys takes a while, which is nothing for the mistakes that a person makes.
    return [
        Mistake(path, _explain(spots[path], details[path], model) if number < MOST_TOLD else "wrong")
        for number, path in enumerate(told)
    ]


def _locate(model: type[BaseModel], location: tuple[int | str, ...]) -> _Spot:
    """Follow pydantic's location, leaving out the parts that name a branch of a union."""
    spot = _Spot((), model)
    for part in location:
        owner = _submodel(spot.annotation)
        path = (*spot.path, part)
        if owner is not None:
            info = owner.model_fields.get(str(part))
            spot = _Spot(path, info.annotation if info else None, info.metadata if info else (), owner)
        elif isinstance(part, int):
            spot = _Spot(path, _item_type(spot.annotation))
    return spot


def _explain(spot: _Spot, details: list[Any], model: type[BaseModel]) -> str:
    kinds = {detail["type"] for detail in details}
    given = details[0]["input"]
    if "rule" in kinds:
        return next(detail["msg"] for detail in details if detail["type"] == "rule")
    if "extra_forbidden" in kinds:
        return _unknown_key(spot, model)
    if "invalid_key" in kinds or details[0]["loc"][-1:] == ("[key]",):
        return "keys are texts"
    allowed = describe(spot.annotation, spot.metadata)
    if "missing" in kinds:
        return f"missing key (allowed {allowed})"
    if kinds & _LIMITS:
        return f"out of range (given {show(given)}, allowed {allowed})"
    if kinds & _FORMS:
        return f"not allowed (given {show(given)}, allowed {allowed})"
    choices = [choice for choice in _choices(spot.annotation) if isinstance(choice, str)]
    if isinstance(given, str) and choices:
        return f"unknown value (given {show(given)}, allowed {allowed}{_hint(nearest(given, choices))})"
    return f"wrong type (given {show_with_type(given)}, allowed {allowed})"


def _unknown_key(spot: _Spot, model: type[BaseModel]) -> str:
    if spot.path in RENAMED:
        return f"unknown key; it is now '{RENAMED[spot.path]}'"
    given = str(spot.path[-1])
    keys = list(spot.owner.model_fields) if spot.owner else []
    elsewhere = [".".join(path) for path in key_paths(model) if path[-1] == given]
    meant = elsewhere[0] if elsewhere else nearest(given, keys)
    return f"unknown key (allowed {', '.join(keys)}{_hint(meant)})"


def _hint(meant: str | None) -> str:
    return f"; did you mean '{meant}'?" if meant else ""


def key_paths(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key that a model knows, outer keys first."""
    for name, info in model.model_fields.items():
        yield (*above, name)
        inner = _submodel(info.annotation)
        if inner is not None:
            yield from key_paths(inner, (*above, name))


def describe(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Say in words what a type with its limits allows, such as 'a number above 0 and below 1 or null'."""
    notes = _flat(metadata)
    words = next((note.words for note in notes if isinstance(note, Allowed)), None)
    if words:
        return words
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return describe(inner, more)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(part) for part in get_args(annotation))
    if origin is Literal:
        return " or ".join(show(choice) for choice in get_args(annotation))
    if origin in (list, tuple):
        return f"a list, each {describe(get_args(annotation)[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        required = [name for name, info in annotation.model_fields.items() if info.is_required()]
        return f"a mapping with {', '.join(required)}" if required else "a mapping"
    if origin is dict:
        return "a mapping"
    return _PLAIN_TYPES.get(annotation, "another value") + _limits(notes)


def _limits(notes: Sequence[Any]) -> str:
    words = []
    for note in notes:
        if isinstance(note, annotated_types.Ge):
            words.append(f"of at least {note.ge}")
        elif isinstance(note, annotated_types.Gt):
            words.append(f"above {note.gt}")
        elif isinstance(note, annotated_types.Le):
            words.append(f"at most {note.le}")
        elif isinstance(note, annotated_types.Lt):
            words.append(f"below {note.lt}")
    return f" {' and '.join(words)}" if words else ""


def _flat(metadata: Sequence[Any]) -> list[Any]:
    notes: list[Any] = []
    for note in metadata:
        notes.extend(note.metadata if isinstance(note, FieldInfo) else [note])
    return notes


def _choices(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _choices(part)


def _item_type(annotation: Any) -> Any:
    """Return the type of a list's items, looking through unions and annotations; Any when there is none."""
    if get_origin(annotation) in (list, tuple):
        return get_args(annotation)[0]
    found = (_item_type(part) for part in get_args(annotation) if not isinstance(part, str))
    return next((item for item in found if item is not Any), Any)


def list_field(model: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    """Return the field that a key path leads to where it may hold a list; None for all others and unknown keys."""
    annotation: Any = model
    info = None
    for key in path:
        owner = _submodel(annotation)
        info = owner.model_fields.get(key) if owner is not None and isinstance(key, str) else None
        annotation = info.annotation if info else _item_type(annotation) if isinstance(key, int) else None
    return info if _item_type(annotation) is not Any else None


def choices_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return what may stand at a key path, where that is one of several words or true and false; else nothing."""
    owner: type[BaseModel] | None = model
    for key in path[:-1]:
        info = owner.model_fields.get(key) if owner is not None else None
        owner = _submodel(info.annotation) if info else None
    field = owner.model_fields.get(path[-1]) if owner is not None else None
    if field is None:
        return []
    words = [show(choice) if isinstance(choice, bool) else str(choice) for choice in _choices(field.annotation)]
    return [*words, *(["true", "false"] if _holds(field.annotation, bool) else [])]


def _holds(annotation: Any, kind: type) -> bool:
    """Tell whether a value may be of a plain type."""
    return annotation is kind or any(_holds(part, kind) for part in get_args(annotation) if not isinstance(part, str))


def _submodel(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a value is a mapping of, also where null may stand in its place."""
    if get_origin(annotation) in (Union, types.UnionType):
        models = [model for part in get_args(annotation) if (model := _submodel(part)) is not None]
        return models[0] if len(models) == 1 else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def show(value: Any) -> str:
    """Show a value as YAML users write it, shortened to a part of a line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return quoted(value, 60)


def show_with_type(value: Any) -> str:
    """Show a value and what it is, for a message about its type."""
    kinds = {str: "the text", list: "the list", dict: "the mapping", int: "the number", float: "the number"}
    return f"{kinds.get(type(value), '')} {show(value)}".strip()
