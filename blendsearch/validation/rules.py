"""Values of a space that cannot stand beside each other, though each alone is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blendsearch.compute import Compute
from blendsearch.config import BUDGET_KINDS, SearchConfig, Space
from blendsearch.config.recipes import PLANS
from blendsearch.evolution.engines.connecting import ADDRESSES, check_address, check_package
from blendsearch.evolution.parallel import resolve_workers
from blendsearch.plain import Unchecked, name_of
from blendsearch.proxies import PROXIES
from blendsearch.schedules import SCHEDULES, Schedule
from blendsearch.validation.blend_files import labels
from blendsearch.validation.names import Mistakes, catch_mistake


def broken_rules(data: Unchecked) -> Mistakes:
    """Yield (key path, what is wrong) for a space; values of a wrong type are passed over."""
    criteria = data.get("criteria")
    listed = len(criteria) if isinstance(criteria, list) else 0
    yield from _clusters(data.get("clusters"), listed and listed + len(labels(data.get("blends"))))
    yield from _kept_weights(data)
    yield from _finals(data)
    yield from _fixed_plans(data)
    yield from _reallocation(data)
    yield from _racing(data)
    yield from _phases(data)
    yield from _lowest(data)
    yield from _workers(data.get("compute"))
    yield from _execution(data.get("execution"), data.get("compute"))
    yield from _precision(data.get("compute"))
    yield from _teacher(data.get("training"))


def _clusters(section: Any, criteria: int) -> Mistakes:
    count = section.get("count") if isinstance(section, Mapping) else None
    if isinstance(count, int) and criteria and count > criteria:
        yield (
            ("clusters", "count"),
            f"more clusters than criteria (given {count}, allowed 1 to {criteria}, 'auto' or 'each')",
        )


def _kept_weights(data: Unchecked) -> Mistakes:
    schedule = data.get("schedule")
    name = name_of(schedule)
    if not isinstance(name, str) or name not in SCHEDULES:
        return
    schedule = SCHEDULES.get(name)
    if not issubclass(schedule, Schedule) or schedule.keeps_weights:
        return
    for key in ("compensation", "reconstruction"):
        if data.get(key) is not None:
            yield (key,), f"schedule '{name}' keeps no weights to refit; set {key}: null or choose another schedule"


def _finals(data: Unchecked) -> Mistakes:
    search, retraining = data.get("search"), data.get("retraining")
    wanted = isinstance(search, Mapping) and search.get("finals") is not None
    if wanted and isinstance(retraining, Mapping) and retraining.get("epochs") == 0:
        what = "a rung is a share of retraining.epochs, which is 0; set finals: null or train for longer"
        yield ("search", "finals"), what


def _racing(data: Unchecked) -> Mistakes:
    """Yield what is wrong with a race by a proxy whose estimate is not made of scores of single images."""
    search, proxy = data.get("search"), data.get("proxy")
    if not isinstance(search, Mapping) or search.get("racing") is None:
        return
    name = name_of(proxy)
    if isinstance(name, str) and name in PROXIES.names() and not PROXIES.get(name).can_race():
        able = ", ".join(one for one in PROXIES.names() if PROXIES.get(one).can_race())
        what = f"proxy '{name}' reads no image by itself; set racing: null, or proxy to one of {able}"
        yield ("search", "racing"), what


def _reallocation(data: Unchecked) -> Mistakes:
    """Yield what is wrong with moving filters between layers: shares that are given, a proxy that forecasts nothing."""
    search = data.get("search")
    if not isinstance(search, Mapping) or search.get("reallocation") is None:
        return
    allocation, proxy = _name_in(data, "allocation"), _name_in(data, "proxy")
    if isinstance(allocation, str) and allocation != "evolved":
        what = f"allocation '{allocation}' gives the shares; set reallocation: null or allocation: evolved"
        yield ("search", "reallocation"), what
    if isinstance(proxy, str) and proxy in PROXIES and not PROXIES.get(proxy).forecasts():
        able = ", ".join(name for name in PROXIES.names() if PROXIES.get(name).forecasts())
        what = f"proxy '{proxy}' forecasts nothing; set reallocation: null, or proxy to {able}"
        yield ("search", "reallocation"), what


def _name_in(data: Unchecked, key: str) -> Any:
    """Return the name in a section, that of the default where there is none."""
    given = data.get(key)
    return Space.model_fields[key].default.name if given is None else name_of(given)


def _fixed_plans(data: Unchecked) -> Mistakes:
    search, blend, schedule = data.get("search"), data.get("blend"), data.get("schedule")
    given = [key for key in PLANS if isinstance(search, Mapping) and search.get(key) is not None]
    if "layer_by_layer" in given and isinstance(blend, Mapping) and not blend.get("set_aware"):
        what = "only set-aware blends choose layer by layer; set blend.set_aware: true or layer_by_layer: null"
        yield ("search", "layer_by_layer"), what
    name = name_of(schedule)
    if isinstance(name, str) and name in SCHEDULES and name != "one_shot":
        for key in given:
            yield ("search", key), f"it fixes the plan, and schedule '{name}' decides anew; set {key}: null or one_shot"


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
    yield from catch_mistake(("compute", "workers"), lambda: resolve_workers(workers, count, where))


def _execution(section: Any, compute: Any) -> Mistakes:
    """Yield what is wrong with an engine: its package, its address, its workers beside those of compute."""
    section = section if isinstance(section, Mapping) else {}
    compute = compute if isinstance(compute, Mapping) else {}
    engine, address, workers = section.get("engine", "local"), section.get("address"), section.get("workers")
    if engine == "local":
        yield from _remote_keys_of_local(address, workers)
    elif engine in ADDRESSES:
        yield from catch_mistake(("execution", "engine"), lambda: check_package(engine))
        if isinstance(address, str):
            yield from catch_mistake(("execution", "address"), lambda: check_address(engine, address))
        elif address is None and isinstance(workers, int):
            started = {"workers": workers, "threads": compute.get("threads"), "device": compute.get("device")}
            yield from ((("execution", *path[1:]), what) for path, what in _workers(started))
        if compute.get("workers", "auto") not in ("auto", None):
            what = f"{compute['workers']} given, which counts for execution.engine local alone"
            yield ("compute", "workers"), f"{what}; set execution.workers for {engine}, and compute.workers: auto"


def _remote_keys_of_local(address: Any, workers: Any) -> Mistakes:
    if address is not None:
        yield ("execution", "address"), "the engine local has none (allowed null); name the engine: dask or ray"
    if workers is not None:
        yield ("execution", "workers"), "counts for dask and ray (allowed null); for local set compute.workers"


def _precision(section: Any) -> Mistakes:
    section = section if isinstance(section, Mapping) else {}
    device, precision = section.get("device"), section.get("precision")
    if isinstance(precision, str) and precision != "auto":  # which suits any device, and is found out by measuring
        where = device if isinstance(device, str) else "auto"
        yield from catch_mistake(("compute", "precision"), lambda: Compute.resolve(where, precision))


def _teacher(training: Any) -> Mistakes:
    if isinstance(training, Mapping) and training.get("distillation") is not None:
        what = "the unpruned network has no teacher (allowed null; pruned ones have one: retraining.distillation)"
        yield ("training", "distillation"), what
