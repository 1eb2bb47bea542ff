"""Options of a space that would do nothing beside the others it gives: told, rather than passed over in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from blendsearch.config import KeyPath, SearchConfig, Space
from blendsearch.errors import BlendsearchError
from blendsearch.proxies import PROXIES, Proxy

Idle = Iterator[tuple[KeyPath, str]]


def unused_options(data: Mapping[str, Any]) -> Idle:
    """Yield (key path, why it does nothing) for options of a space; values of a wrong type are passed over."""
    search = data.get("search")
    if isinstance(search, Mapping):
        yield from _without_objectives(search)
        yield from _without_rungs(search)
        yield from _of_another_backend(search)
        yield from _rungs_that_decide(search, data.get("proxy"))
    audit = data.get("audit")
    if isinstance(audit, Mapping):
        yield from _audited_twice(audit.get("proxies"))


def _without_objectives(search: Mapping[str, Any]) -> Idle:
    if search.get("lowest") is not None and not search.get("objectives"):
        what = f"{search['lowest']} given, but only a search with objectives tries smaller budgets"
        yield ("search", "lowest"), f"{what}; set lowest: null, or name objectives"


def _without_rungs(search: Mapping[str, Any]) -> Idle:
    default = SearchConfig().pruner
    if search.get("pruner", default) != default and not search.get("rungs"):
        what = f"'{search['pruner']}' given, but without rungs there is nothing to prune"
        yield ("search", "pruner"), f"{what}; set pruner: {default}, or name rungs"


def _of_another_backend(search: Mapping[str, Any]) -> Idle:
    """Yield a choice that only the other backend has, unless one for this backend is made as well.

    Both may be set where a file is for one backend and a command line changes over to the other. What is wrong with
    a default where there are objectives, the backends say themselves.
    """
    default = SearchConfig()
    algorithm, sampler = search.get("algorithm", default.algorithm), search.get("sampler", default.sampler)
    given = algorithm != default.algorithm, sampler != default.sampler
    if search.get("objectives"):
        return
    backend = search.get("backend", default.backend)
    if backend == "optuna" and given == (True, False):
        what = f"'{algorithm}' is of backend deap and does nothing with optuna"
        yield ("search", "algorithm"), f"{what}; set algorithm: {default.algorithm}, backend: deap, or another sampler"
    if backend == "deap" and given == (False, True):
        what = f"'{sampler}' is of backend optuna and does nothing with deap"
        yield ("search", "sampler"), f"{what}; set sampler: {default.sampler}, backend: optuna, or another algorithm"


def _rungs_that_decide(search: Mapping[str, Any], deciding: Any) -> Idle:
    rungs = search.get("rungs")
    last = _made(Space.model_fields["proxy"].default.name if deciding is None else deciding)
    for position, rung in enumerate(rungs if isinstance(rungs, list) else []):
        own = _made(rung.get("proxy")) if isinstance(rung, Mapping) else None
        if own is not None and last is not None and own.same_as(last):
            what = f"'{own.name}' with the same options decides the search, so it screens nothing more cheaply"
            yield ("search", "rungs", position, "proxy"), f"{what}; give a cheaper one"


def _audited_twice(proxies: Any) -> Idle:
    seen: list[Proxy] = []
    for position, entry in enumerate(proxies if isinstance(proxies, list) else []):
        own = _made(entry)
        if own is not None and any(own.same_as(other) for other in seen):
            yield ("audit", "proxies", position), f"'{own.name}' with the same options is named before; leave one out"
        seen += [own] if own is not None else []


def _made(section: Any) -> Proxy | None:
    """Make a proxy from a name or a mapping, or None for what cannot be made, which is told elsewhere."""
    options = {"name": section} if isinstance(section, str) else dict(section) if isinstance(section, Mapping) else {}
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in PROXIES:
        return None
    factory: Any = PROXIES.get(name)
    try:
        made: Proxy = factory(**options)
    except (BlendsearchError, TypeError, ValueError):
        return None
    return made
