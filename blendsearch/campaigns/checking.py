"""Names and options of a space checked against the registries, before any work is done."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.config import Space
from blendsearch.criteria import CRITERIA
from blendsearch.data.datasets import DATASETS
from blendsearch.errors import BlendsearchError, ConfigError, nearest
from blendsearch.proxies import PROXIES
from blendsearch.registry import Registry
from blendsearch.schedules import SCHEDULES
from blendsearch.search.backends import BACKENDS
from blendsearch.search.parallel import resolve_workers


def check_space(space: Space) -> None:
    """Raise one ConfigError with a line for every name or option that no registry entry knows."""
    mistakes = list(_mistakes(space))
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def make(registry: Registry[Any], section: Any) -> Any:
    """Build a registered object from a section of the space: its name, and its options as keyword arguments."""
    return registry.get(section.name)(**section.options)


def budget_of(space: Space) -> Budget:
    """Return the budget of a space."""
    return Budget(space.budget.kind, space.budget.ratio, space.budget.min_keep)


def _mistakes(space: Space) -> Iterator[str]:
    for key, registry in (("allocation", ALLOCATIONS), ("proxy", PROXIES), ("schedule", SCHEDULES)):
        yield from _named(key, getattr(space, key), registry)
    yield from _message(lambda: DATASETS.get(space.data.name, "data.name"))
    yield from _message(lambda: BACKENDS.get(space.search.backend, "search.backend"))
    for name in space.criteria if space.criteria != "all" else ():
        yield from _message(lambda name=name: CRITERIA.get(name, "criteria"))  # type: ignore[misc]
    device = space.compute.device
    yield from _message(
        lambda: resolve_workers(space.compute.workers, space.compute.threads, "cpu" if device == "auto" else device)
    )


def _named(key: str, section: Any, registry: Registry[Any]) -> Iterator[str]:
    if section.name not in registry:
        yield from _message(lambda: registry.get(section.name, key))
        return
    allowed = options_of(registry.get(section.name))
    for option in section.options:
        if option not in allowed:
            close = nearest(option, allowed)
            hint = f"; did you mean '{close}'?" if close else ""
            yield f"{key}.{option}: unknown option of {registry.kind} '{section.name}'{hint} (allowed: {', '.join(allowed) or 'none'})"
    if all(option in allowed for option in section.options):
        yield from _message(lambda: registry.get(section.name)(**section.options), key)


def options_of(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a registered class: name -> default."""
    if factory.__init__ is object.__init__:  # type: ignore[misc]
        return {}
    parameters = inspect.signature(factory).parameters
    return {name: p.default for name, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def _message(action: Callable[[], Any], key: str = "") -> Iterator[str]:
    try:
        action()
    except BlendsearchError as error:
        yield str(error)
    except (TypeError, ValueError) as error:
        yield f"{key}: {error}"
