"""Options of a space that would do nothing beside the others it gives: told, rather than passed over in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blendsearch.errors import BlendsearchError
from blendsearch.plain import Unchecked, name_of
from blendsearch.proxies import PROXIES, Proxy
from blendsearch.validation.names import Mistakes


def unused_options(data: Unchecked) -> Mistakes:
    """Yield (key path, why it does nothing) for options of a space; values of a wrong type are passed over."""
    search = data.get("search")
    if isinstance(search, Mapping):
        yield from _without_objectives(search)
        blend = data.get("blend")
        set_aware = isinstance(blend, Mapping) and blend.get("set_aware") is True
        yield from _rivals_without_rules(search, set_aware, name_of(data.get("allocation")) == "evolved")
    audit = data.get("audit")
    if isinstance(audit, Mapping):
        yield from _audited_twice(audit.get("proxies"))


def _without_objectives(search: Unchecked) -> Mistakes:
    if search.get("lowest") is not None and not search.get("objectives"):
        what = f"{search['lowest']} given, but only a search with objectives tries smaller budgets"
        yield ("search", "lowest"), f"{what}; set lowest: null, or name objectives"


def _rivals_without_rules(search: Unchecked, set_aware: bool, evolved: bool) -> Mistakes:
    rivals = search.get("rivals")
    rules = {
        "elimination": (search.get("layer_by_layer") is not None, "search.layer_by_layer"),
        "tilted": (set_aware, "blend.set_aware: true"),
        "swapped": (
            any(search.get(key) is not None for key in ("swaps", "reallocation")),
            "search.swaps or search.reallocation",
        ),
        "own_shares": (evolved, "allocation: evolved"),
    }
    for position, name in enumerate(rivals if isinstance(rivals, list) else []):
        there, needed = rules.get(name, (True, "")) if isinstance(name, str) else (True, "")
        if not there:
            yield ("search", "rivals", position), f"'{name}' given, but there is none without {needed}; leave it out"


def _audited_twice(proxies: Any) -> Mistakes:
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
