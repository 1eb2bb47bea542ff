"""Space and board files as strategies; valid ones are made from the types of their sections, so that none is missed."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as limits
import yaml
from fuzzing import NAMES
from hypothesis import strategies as st
from pydantic import AfterValidator
from pydantic.fields import FieldInfo

from blendsearch.allocation import ALLOCATIONS
from blendsearch.config import (
    BLEND_UNITS,
    BUDGET_KINDS,
    Board,
    BudgetConfig,
    DataConfig,
    LimitConfig,
    NamedSection,
    ReconstructionConfig,
    RetrainingConfig,
    SearchConfig,
    Space,
    TrainingConfig,
)
from blendsearch.config.recipes import RECIPES
from blendsearch.config.sections.budget import Bounds, Kinds
from blendsearch.config.sections.criteria import Units
from blendsearch.config.sections.search import LIMIT_KINDS
from blendsearch.config.sections.types import Section, ascending, without_repeats
from blendsearch.config.yaml_text import SpaceLoader

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "search_spaces").glob("*.yaml"))
WRITTEN = [yaml.load(file.read_text(), Loader=SpaceLoader) for file in FILES]
"""The files of the repository, as data."""

Values = st.SearchStrategy[Any]
BOUNDS = st.dictionaries(
    NAMES, st.one_of(st.just(0.5), st.just([0.25, 0.75]), st.just({"max": 0.5}), st.just({"min": 0.1})), max_size=2
)
UNITS = st.lists(st.sampled_from(BLEND_UNITS), min_size=1, unique=True).map(
    lambda units: sorted(units, key=BLEND_UNITS.index)
)
OPTIONS = st.dictionaries(NAMES.filter(lambda name: name != "name"), st.integers(0, 9), max_size=2)
NAMED = st.one_of(
    st.sampled_from(ALLOCATIONS.names()),
    st.builds(lambda name, options: {**options, "name": name}, st.sampled_from(["a", "taylor"]), OPTIONS),
)
WHOLE: dict[Any, Values] = {Bounds: BOUNDS, Units: UNITS, NamedSection: NAMED}
"""Annotations whose rules their types do not tell."""


def values_of(annotation: Any, notes: tuple[Any, ...] = ()) -> Values:
    """Return valid values of a field by its type and limits."""
    if annotation in WHOLE:
        return WHOLE[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return values_of(arguments[0], (*notes, *_flat(arguments[1:])))
    if origin in (Union, types.UnionType):
        return st.one_of(*(values_of(part, notes) for part in arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (list, tuple):
        return _lists(values_of(arguments[0]), notes)
    if origin is dict:
        return st.dictionaries(
            NAMES, st.one_of(st.integers(-(2**63), 2**63), NAMES, st.lists(st.booleans())), max_size=2
        )
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return section_of(annotation)
    return _plain(annotation, notes)


def _flat(notes: tuple[Any, ...]) -> list[Any]:
    return [one for note in notes for one in (note.metadata if isinstance(note, FieldInfo) else [note])]


def _lists(items: Values, notes: tuple[Any, ...]) -> Values:
    rules = [note.func for note in notes if isinstance(note, AfterValidator)]
    least = max([note.min_length for note in notes if isinstance(note, limits.MinLen)], default=0)
    apart = ascending in rules or without_repeats in rules
    drawn = st.lists(items, min_size=least, max_size=2, unique=apart)
    return drawn.map(sorted) if ascending in rules else drawn


def _plain(kind: Any, notes: tuple[Any, ...]) -> Values:
    low = max([note.ge for note in notes if isinstance(note, limits.Ge)], default=None)
    high = min([note.le for note in notes if isinstance(note, limits.Le)], default=None)
    above = max([note.gt for note in notes if isinstance(note, limits.Gt)], default=None)
    below = min([note.lt for note in notes if isinstance(note, limits.Lt)], default=None)
    if kind is type(None):
        return st.none()
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(low if low is not None else -9, 10**9)
    if kind is float:
        least, most = low if above is None else above, high if below is None else below
        exact = {"exclude_min": above is not None, "exclude_max": below is not None and most is not None}
        return st.floats(
            least, 1e9 if most is None else most, allow_nan=False, allow_infinity=False, allow_subnormal=False, **exact
        )
    assert kind is str, f"no values are known of {kind}"
    pattern = next((note.pattern for note in notes if getattr(note, "pattern", None)), None)
    return st.from_regex(pattern, fullmatch=True) if pattern else st.text(min_size=1, max_size=8).filter(_in_yaml)


def _in_yaml(text: str) -> bool:
    """Tell whether YAML can hold a text: half characters and control characters it cannot."""
    return text.isprintable()


@cache
def _fields(model: type[Section]) -> dict[str, tuple[Values, bool]]:
    return {
        key: (values_of(field.annotation, tuple(_flat(tuple(field.metadata)))), field.is_required())
        for key, field in model.model_fields.items()
    }


@st.composite
def section_of(draw: st.DrawFn, model: type[Section]) -> dict[str, Any]:
    """Draw a valid section: what must be given, and some of the rest."""
    data = {
        key: draw(values)
        for key, (values, required) in _fields(model).items()
        if required or draw(st.integers(0, 2)) == 0
    }
    for kind, rule in RULES.items():
        if issubclass(model, kind):
            data = rule(data, draw)
    return data


def _one_kind(kinds: tuple[str, ...], values: Values) -> Callable[[dict[str, Any], st.DrawFn], dict[str, Any]]:
    def rule(data: dict[str, Any], draw: st.DrawFn) -> dict[str, Any]:
        rest = {key: value for key, value in data.items() if key not in kinds}
        return {draw(st.sampled_from(kinds)): draw(values), **rest}

    return rule


def _budget(data: dict[str, Any], draw: st.DrawFn) -> dict[str, Any]:
    data = _one_kind(BUDGET_KINDS, st.sampled_from([0.1, 0.5, 0.999]))(data, draw)
    also = {key: value for key, value in (data.pop("also", None) or {}).items() if key not in data}
    return {**data, **({"also": also} if also else {})}


def _search(data: dict[str, Any], draw: st.DrawFn) -> dict[str, Any]:
    population = data.setdefault("population", 24)
    if data.setdefault("elite", 2) >= population:
        data |= {"elite": population - 1}
    if data.get("objectives"):
        rest = {key: data[key] for key in data if key not in ("finals", "choice", "layer_by_layer", "swaps", "racing")}
        return {**rest, "lowest": 0.1}
    if data.get("racing") is not None:
        data |= {"window": None}
    return {key: data[key] for key in data if key != "choice" or data.get("finals") is None}


def _training(data: dict[str, Any], draw: st.DrawFn) -> dict[str, Any]:
    return {**data, "nesterov": False} if data.get("momentum") == 0 else data


def _reconstruction(data: dict[str, Any], draw: st.DrawFn) -> dict[str, Any]:
    return {**data, "logits": 1.0} if data.get("features") == 0 else data


def _data(data: dict[str, Any], draw: st.DrawFn) -> dict[str, Any]:
    mean, std = data.get("mean"), data.get("std")
    return {**data, "std": [0.5] * len(mean)} if mean and std else data


def _board(data: dict[str, Any], draw: st.DrawFn) -> dict[str, Any]:
    """Name nothing twice: networks have their numbers for names, of all else there is one."""
    networks = [{**network, "name": f"n{number}"} for number, network in enumerate(data["networks"])]
    lists = {key: data[key][:1] for key in ("blends", "allocations", "budgets", "schedules") if key in data}
    return _ledger({**data, "networks": networks, **lists}, draw)


def _ledger(data: dict[str, Any], draw: st.DrawFn) -> dict[str, Any]:
    """Give a ledger that is there an address of a database."""
    addresses = st.sampled_from([None, "sqlite:////tmp/trials.db", "postgresql://user@host:5432/trials", "${LEDGER}"])
    return {**data, "ledger": draw(addresses)} if "ledger" in data else data


def _space(data: dict[str, Any], draw: st.DrawFn) -> dict[str, Any]:
    """Follow no recipe beside sections of one's own, some of which go against what it says."""
    name = draw(st.sampled_from([None, "post_training"])) if data.keys().isdisjoint(RECIPES["post_training"]) else None
    return {**_ledger(data, draw), "recipe": name}


RULES: dict[type[Section], Callable[[dict[str, Any], st.DrawFn], dict[str, Any]]] = {
    BudgetConfig: _budget,
    LimitConfig: _one_kind(LIMIT_KINDS, st.integers(1, 99)),
    SearchConfig: _search,
    TrainingConfig: _training,
    RetrainingConfig: _training,
    ReconstructionConfig: _reconstruction,
    DataConfig: _data,
    Board: _board,
    Space: _space,
}
assert not issubclass(Kinds, BudgetConfig)

VALID_SPACES, VALID_BOARDS = section_of(Space), section_of(Board)
WRITTEN_SPACES = st.one_of(st.sampled_from([one for one in WRITTEN if "networks" not in one]), VALID_SPACES)
WRITTEN_BOARDS = st.one_of(st.sampled_from([one for one in WRITTEN if "networks" in one]), VALID_BOARDS)
