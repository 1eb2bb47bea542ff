"""Names and options of a space checked against the registries, before any work is done."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.blending import Blend
from blendsearch.config import BudgetConfig, KeyPath, SearchConfig, Space, load_space, space_from_dict
from blendsearch.criteria import CRITERIA
from blendsearch.data.datasets import DATASETS
from blendsearch.errors import ConfigError
from blendsearch.evolution.algorithms import (
    ALGORITHMS,
    algorithm_class,
    algorithms_of,
    check_algorithm,
)
from blendsearch.evolution.refine import check_known
from blendsearch.models.loading import check_name
from blendsearch.plain import Unchecked
from blendsearch.proxies import PROXIES
from blendsearch.proxies.average import Average
from blendsearch.registry import Registry
from blendsearch.schedules import SCHEDULES, Schedule, TrainingSchedule
from blendsearch.statistics.ratings import read_ratings
from blendsearch.validation.blend_files import labels, mistakes_in_blends
from blendsearch.validation.names import Mistakes, catch_mistake, check_options, look_up, own_place, refuse, try_to_make
from blendsearch.validation.rules import broken_rules
from blendsearch.validation.unused import unused_options

RESERVED = {
    "blend": "what the campaign finds",
    "random_search": "what the campaign finds by chance",
    "transferred": "the blend of a transfer",
}
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
WITH_OPTIONS: dict[str, Registry[Any]] = {"allocation": ALLOCATIONS, "schedule": SCHEDULES}


def load_checked(path: str | Path, overrides: Sequence[str] = (), *, resumed: bool = False) -> Space:
    """Read a space file; raise one ConfigError with every mistake, those in registered names included.

    resumed: for a run that goes on; files that it has read already are not looked at again.
    """
    return load_space(path, overrides, mistakes_in_names if resumed else mistakes_in)


def checked_from_dict(data: Unchecked, *, resumed: bool = False) -> Space:
    """Do as `load_checked` does with a space given as a mapping."""
    return space_from_dict(data, mistakes_in_names if resumed else mistakes_in)


def read_space(given: Space | Unchecked | str | Path, *, resumed: bool = False) -> Space:
    """Return a space that is given as such, as a mapping, or as the path of its file, as `load_checked` does."""
    if isinstance(given, Space):
        return given
    if isinstance(given, str | Path):
        return load_checked(given, resumed=resumed)
    return checked_from_dict(given, resumed=resumed)


def check_files(space: Space) -> None:
    """Raise one ConfigError with a line for every file that a new search reads and that is missing or amiss."""
    refuse(_files(space.to_dict()))


def check_space(space: Space) -> None:
    """Raise one ConfigError with a line for every name or option of a space that no registry entry knows."""
    refuse(mistakes_in_names(space.to_dict()))
    schedule = make(SCHEDULES, space.schedule)
    if isinstance(schedule, TrainingSchedule):
        schedule.check(space.training)


def pruning_schedule(space: Space, command: str) -> Schedule:
    """Return the schedule of a space for a command that prunes; ConfigError for one that only trains."""
    schedule = make(SCHEDULES, space.schedule)
    if isinstance(schedule, TrainingSchedule):
        name = space.schedule.name
        raise ConfigError(
            f"schedule: '{name}' trains the whole network and prunes nothing; run `blendsearch train SPACE.yaml "
            f"schedule={name}` and {command} the result with model.weights=RUN_DIR/baseline.safetensors "
            "training.epochs=0 schedule=one_shot"
        )
    assert isinstance(schedule, Schedule)
    return schedule


def make(registry: Registry[Any], section: Any) -> Any:
    """Build a registered object from a section of the space: its name, and its options as keyword arguments."""
    return registry.get(section.name)(**section.options)


def make_budget(section: BudgetConfig) -> Budget:
    """Return the budget of a section."""
    limits = {"min_keep": section.min_keep, "round_to": section.round_to or 1, "keep": section.keep or {}}
    return Budget.parse({**section.all_ratios, **limits})


def mistakes_in(data: Unchecked) -> Mistakes:
    """Yield (key path, what is wrong) for unknown names and options, and for files that a new run reads."""
    yield from mistakes_in_names(data)
    yield from _files(data)


def _files(data: Unchecked) -> Mistakes:
    yield from _start_from(data)
    ratings = data.get("ratings")
    file = ratings.get("file") if isinstance(ratings, Mapping) else ratings
    if isinstance(file, str):
        yield from catch_mistake(("ratings",), partial(read_ratings, file))


def mistakes_in_names(data: Unchecked) -> Mistakes:
    """Yield (key path, what is wrong) for unknown names and options; values of a wrong type are passed over."""
    for key, registry in WITH_OPTIONS.items():
        yield from try_to_make((key,), data.get(key), registry)
    yield from _proxy(data.get("proxy"))
    yield from look_up(("data", "name"), data, DATASETS.get)
    yield from look_up(("model", "name"), data, check_name)
    yield from _search(data.get("search"))
    yield from _audited(data.get("audit"))
    yield from unused_options(data)
    criteria = data.get("criteria")
    listed = dict(enumerate(criteria)) if isinstance(criteria, list) else {}
    for position in listed:
        yield from look_up((position,), listed, CRITERIA.get, ("criteria",))
        if listed[position] == "subjective" and data.get("ratings") is None:
            yield ("criteria", position), "'subjective' reads a ratings file; name one with ratings: PATH"
    yield from _ratings(data.get("ratings"))
    yield from _space_blends(data.get("blends"))
    yield from broken_rules(data)


def _space_blends(section: Any) -> Mistakes:
    """Yield what is wrong with blends among the criteria.

    Their names are parts of file names, and of the names of a blend's parts: 'blend with uniform shares'.
    """
    yield from mistakes_in_blends(section, {**dict.fromkeys(ALLOCATIONS.names(), "an allocation"), **RESERVED})
    for position, label in enumerate(labels(section)):
        if not re.fullmatch(NAME, label):
            allowed = "allowed letters, digits, '.', '_' and '-'; give another: {file: ..., name: ...}"
            yield ("blends", position), f"the name '{label}' cannot be used ({allowed})"


def _search(section: Any) -> Mistakes:
    """Yield what is wrong with the algorithm, or what it cannot work with though each value alone is allowed."""
    given = section if isinstance(section, Mapping) else {}
    named = [
        *look_up(("search", "backend"), {"search": section}, algorithms_of),
        *check_options(("search", "algorithm"), given.get("algorithm"), ALGORITHMS),
    ]
    yield from named
    try:
        search = SearchConfig.model_validate(section or {})
    except ValidationError:
        return  # told as mistakes of the section
    if not named:
        chosen = list(catch_mistake(("search", "algorithm"), lambda: algorithm_class(search)))
        for place, what in chosen or catch_mistake(("search",), lambda: check_algorithm(search)):
            yield own_place(("search",), place, what)


def _proxy(section: Any) -> Mistakes:
    """Yield what is wrong with a proxy and its options, those of the proxies that it is the mean of included."""
    averaged = section.get("proxies") if isinstance(section, Mapping) and section.get("name") == Average.name else None
    found = [
        (("proxy", "proxies", position, *path[1:]), what)
        for position, one in enumerate(averaged if isinstance(averaged, list) else [])
        for path, what in _proxy(one)
    ]
    yield from found or try_to_make(("proxy",), section, PROXIES)


def _audited(section: Any) -> Mistakes:
    proxies = section.get("proxies") if isinstance(section, Mapping) else None
    for position, proxy in enumerate(proxies if isinstance(proxies, list) else []):
        for path, what in _proxy(proxy):
            yield ("audit", "proxies", position, *path[1:]), what


def _ratings(section: Any) -> Mistakes:
    name = section.get("fallback") if isinstance(section, Mapping) else None
    if not isinstance(name, str):
        return
    if name in CRITERIA and "ratings" in CRITERIA.get(name).needs:
        yield ("ratings", "fallback"), f"'{name}' reads ratings itself; name a criterion that needs none"
    else:
        yield from look_up(("ratings", "fallback"), {"ratings": section}, CRITERIA.get)


def _start_from(data: Unchecked) -> Mistakes:
    """Yield what is wrong with the files of blends to start from, and which criteria they use that are not listed."""
    search, criteria = data.get("search"), data.get("criteria")
    given = search.get("start_from") if isinstance(search, Mapping) else None
    listed = [*(criteria if isinstance(criteria, list) else CRITERIA.names()), *labels(data.get("blends"))]
    paths = given if isinstance(given, list) else [given]
    for position, path in enumerate(paths):
        if isinstance(path, str):
            where: KeyPath = ("search", "start_from") if isinstance(given, str) else ("search", "start_from", position)
            yield from catch_mistake(where, partial(_check_start, path, listed))


def _check_start(path: str, criteria: Collection[str]) -> None:
    check_known(Blend.load(path), criteria, path)
