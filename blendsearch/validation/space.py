"""Names and options of a space checked against the registries, before any work is done."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.blending import Blend
from blendsearch.compute import Compute
from blendsearch.config import BUDGET_KINDS, KeyPath, SearchConfig, Space, load_space, space_from_dict
from blendsearch.criteria import CRITERIA
from blendsearch.data.datasets import DATASETS
from blendsearch.errors import BlendsearchError, ConfigError, nearest
from blendsearch.evolution.algorithms import (
    ALGORITHMS,
    SearchAlgorithm,
    algorithm_class,
    algorithms_of,
    check_algorithm,
)
from blendsearch.evolution.parallel import resolve_workers
from blendsearch.evolution.refine import check_known
from blendsearch.models.loading import check_name
from blendsearch.plain import Unchecked
from blendsearch.proxies import PROXIES
from blendsearch.registry import Registry
from blendsearch.schedules import SCHEDULES, Schedule, TrainingSchedule
from blendsearch.statistics.ratings import read_ratings
from blendsearch.validation.blend_files import labels, mistakes_in_blends
from blendsearch.validation.options import wrong_types
from blendsearch.validation.unused import unused_options

Mistakes = Iterator[tuple[KeyPath, str]]
RESERVED = {
    "blend": "what the campaign finds",
    "random_search": "what the campaign finds by chance",
    "transferred": "the blend of a transfer",
}
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
WITH_OPTIONS: dict[str, Registry[Any]] = {"allocation": ALLOCATIONS, "proxy": PROXIES, "schedule": SCHEDULES}


def load_checked(path: str | Path, overrides: Sequence[str] = (), *, resumed: bool = False) -> Space:
    """Read a space file; raise one ConfigError with every mistake, those in registered names included.

    resumed: for a run that goes on; files that it has read already are not looked at again.
    """
    return load_space(path, overrides, mistakes_in_names if resumed else mistakes_in)


def checked_from_dict(data: Unchecked, *, resumed: bool = False) -> Space:
    """Do as `load_checked` does with a space given as a mapping."""
    return space_from_dict(data, mistakes_in_names if resumed else mistakes_in)


def _refuse(mistakes: Mistakes) -> None:
    """Raise one ConfigError with a line for every mistake, if there is any."""
    lines = [f"{'.'.join(map(str, path))}: {what}" for path, what in mistakes]
    if lines:
        raise ConfigError("\n".join(lines))


def check_files(space: Space) -> None:
    """Raise one ConfigError with a line for every file that a new search reads and that is missing or amiss."""
    _refuse(_files(space.to_dict()))


def check_space(space: Space) -> None:
    """Raise one ConfigError with a line for every name or option of a space that no registry entry knows."""
    _refuse(mistakes_in_names(space.to_dict()))
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


def budget_of(space: Space) -> Budget:
    """Return the budget of a space."""
    return Budget(space.budget.kind, space.budget.ratio, space.budget.min_keep)


def mistakes_in(data: Unchecked) -> Mistakes:
    """Yield (key path, what is wrong) for unknown names and options, and for files that a new run reads."""
    yield from mistakes_in_names(data)
    yield from _files(data)


def _files(data: Unchecked) -> Mistakes:
    yield from _start_from(data)
    ratings = data.get("ratings")
    file = ratings.get("file") if isinstance(ratings, Mapping) else ratings
    if isinstance(file, str):
        yield from _message(("ratings",), partial(read_ratings, file))


def mistakes_in_names(data: Unchecked) -> Mistakes:
    """Yield (key path, what is wrong) for unknown names and options; values of a wrong type are passed over."""
    for key, registry in WITH_OPTIONS.items():
        yield from _named((key,), data.get(key), registry)
    yield from _known(("data", "name"), data, DATASETS.get)
    yield from _known(("model", "name"), data, check_name)
    yield from _search(data.get("search"))
    yield from _audited(data.get("audit"))
    yield from unused_options(data)
    criteria = data.get("criteria")
    listed = dict(enumerate(criteria)) if isinstance(criteria, list) else {}
    for position in listed:
        yield from _known((position,), listed, CRITERIA.get, ("criteria",))
        if listed[position] == "subjective" and data.get("ratings") is None:
            yield ("criteria", position), "'subjective' reads a ratings file; name one with ratings: PATH"
    yield from _ratings(data.get("ratings"))
    yield from _space_blends(data.get("blends"))
    yield from _clusters(data.get("clusters"), len(listed) and len(listed) + len(labels(data.get("blends"))))
    yield from _compensation(data)
    yield from _finals(data)
    yield from _phases(data)
    yield from _lowest(data)
    yield from _workers(data.get("compute"))
    yield from _precision(data.get("compute"))
    yield from _teacher(data.get("training"))


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
        *_known(("search", "backend"), {"search": section}, algorithms_of),
        *_name_and_options(("search", "algorithm"), given.get("algorithm"), ALGORITHMS),
    ]
    yield from named
    try:
        search = SearchConfig.model_validate(section or {})
    except ValidationError:
        return  # told as mistakes of the section
    if not named:
        chosen = list(_message(("search", "algorithm"), lambda: algorithm_class(search)))
        for place, what in chosen or _message(("search",), lambda: check_algorithm(search)):
            yield _own_place(("search",), place, what)


def _audited(section: Any) -> Mistakes:
    proxies = section.get("proxies") if isinstance(section, Mapping) else None
    for position, proxy in enumerate(proxies if isinstance(proxies, list) else []):
        for path, what in _named(("proxy",), proxy, PROXIES):
            yield ("audit", "proxies", position, *path[1:]), what


def _known(path: KeyPath, data: Any, get: Callable[[str], Any], above: KeyPath = ()) -> Mistakes:
    value = data
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        yield from _message((*above, *path), lambda: get(value))


def _named(path: KeyPath, section: Any, registry: Registry[Any]) -> Mistakes:
    """Yield what is wrong with a name and its options, by making what they stand for."""
    found = list(_name_and_options(path, section, registry))
    yield from found
    given = {"name": section} if isinstance(section, str) else section
    if not found and isinstance(given, Mapping) and isinstance(given.get("name"), str):
        options = {str(option): value for option, value in given.items() if option != "name"}
        for place, what in _message(path, lambda: registry.get(given["name"])(**options)):
            yield _own_place(path, place, what)


def _name_and_options(path: KeyPath, section: Any, registry: Registry[Any]) -> Mistakes:
    """Yield an unknown name, unknown options, and options of a wrong type."""
    place: KeyPath = path if isinstance(section, str) else (*path, "name")
    section = {"name": section} if isinstance(section, str) else section
    name = section.get("name") if isinstance(section, Mapping) else None
    if not isinstance(name, str):
        return
    if name not in registry:
        yield from _message(place, lambda: registry.get(name))
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


def _own_place(path: KeyPath, place: KeyPath, what: str) -> tuple[KeyPath, str]:
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


def _ratings(section: Any) -> Mistakes:
    name = section.get("fallback") if isinstance(section, Mapping) else None
    if not isinstance(name, str):
        return
    if name in CRITERIA and "ratings" in CRITERIA.get(name).needs:
        yield ("ratings", "fallback"), f"'{name}' reads ratings itself; name a criterion that needs none"
    else:
        yield from _known(("ratings", "fallback"), {"ratings": section}, CRITERIA.get)


def _clusters(section: Any, criteria: int) -> Mistakes:
    count = section.get("count") if isinstance(section, Mapping) else None
    if isinstance(count, int) and criteria and count > criteria:
        yield ("clusters", "count"), f"more clusters than criteria (given {count}, allowed 1 to {criteria} or 'auto')"


def _compensation(data: Unchecked) -> Mistakes:
    schedule = data.get("schedule")
    name = schedule.get("name") if isinstance(schedule, Mapping) else schedule
    if data.get("compensation") is None or not isinstance(name, str) or name not in SCHEDULES:
        return
    schedule = SCHEDULES.get(name)
    if issubclass(schedule, Schedule) and not schedule.keeps_weights:
        what = f"schedule '{name}' keeps no weights to refit; set compensation: null or choose another schedule"
        yield ("compensation",), what


def _finals(data: Unchecked) -> Mistakes:
    search, retraining = data.get("search"), data.get("retraining")
    wanted = isinstance(search, Mapping) and search.get("finals") is not None
    if wanted and isinstance(retraining, Mapping) and retraining.get("epochs") == 0:
        what = "a rung is a share of retraining.epochs, which is 0; set finals: null or train for longer"
        yield ("search", "finals"), what


def _phases(data: Unchecked) -> Mistakes:
    blend, search = data.get("blend"), data.get("search")
    units = blend.get("unit") if isinstance(blend, Mapping) else None
    given = search.get("generations") if isinstance(search, Mapping) else None
    generations = SearchConfig().generations if given is None else given
    if isinstance(units, list) and len(units) > 1 and isinstance(generations, int) and generations < len(units):
        what = f"{len(units)} units need a generation each (given search.generations {generations})"
        yield ("blend", "unit"), f"{what}, allowed {len(units)} or more"
    if isinstance(units, list) and len(units) > 1 and isinstance(search, Mapping) and search.get("objectives"):
        yield ("blend", "unit"), "a search with objectives has one unit (given several; name one, or objectives: [])"


def _start_from(data: Unchecked) -> Mistakes:
    """Yield what is wrong with the files of blends to start from, and which criteria they use that are not listed."""
    search, criteria = data.get("search"), data.get("criteria")
    given = search.get("start_from") if isinstance(search, Mapping) else None
    listed = [*(criteria if isinstance(criteria, list) else CRITERIA.names()), *labels(data.get("blends"))]
    paths = given if isinstance(given, list) else [given]
    for position, path in enumerate(paths):
        if isinstance(path, str):
            where: KeyPath = ("search", "start_from") if isinstance(given, str) else ("search", "start_from", position)
            yield from _message(where, partial(_check_start, path, listed))


def _check_start(path: str, criteria: Collection[str]) -> None:
    check_known(Blend.load(path), criteria, path)


def _lowest(data: Unchecked) -> Mistakes:
    """Yield what is wrong with the lowest budget of a front beside the budget itself."""
    search, budget = data.get("search"), data.get("budget")
    lowest = search.get("lowest") if isinstance(search, Mapping) and search.get("objectives") else None
    given = budget if isinstance(budget, Mapping) else {}
    ratios = [given[kind] for kind in BUDGET_KINDS if given.get(kind) is not None]
    if not _is_number(lowest) or len(ratios) != 1 or not _is_number(ratios[0]):
        return  # nothing to compare, or told as a mistake of the section
    if lowest >= ratios[0]:
        yield ("search", "lowest"), f"{lowest:g} given, less than the budget's {ratios[0]:g} expected"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _workers(section: Any) -> Mistakes:
    section = section if isinstance(section, Mapping) else {}
    workers, threads, device = (section.get(key) for key in ("workers", "threads", "device"))
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        return
    count = threads if isinstance(threads, int) and threads >= 1 else 1
    where = Compute.resolve(device if isinstance(device, str) else "auto").device
    yield from _message(("compute", "workers"), lambda: resolve_workers(workers, count, where))


def _precision(section: Any) -> Mistakes:
    section = section if isinstance(section, Mapping) else {}
    device, precision = section.get("device"), section.get("precision")
    if isinstance(precision, str):
        where = device if isinstance(device, str) else "auto"
        yield from _message(("compute", "precision"), lambda: Compute.resolve(where, precision))


def _teacher(training: Any) -> Mistakes:
    if isinstance(training, Mapping) and training.get("distillation") is not None:
        what = "the unpruned network has no teacher (allowed null; pruned ones have one: retraining.distillation)"
        yield ("training", "distillation"), what


def _message(path: KeyPath, action: Callable[[], Any]) -> Mistakes:
    try:
        action()
    except BlendsearchError as error:
        yield path, str(error)
    except (TypeError, ValueError) as error:
        yield path, f"not allowed ({error})"
