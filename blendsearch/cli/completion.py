"""What a shell may complete: names, keys and their values, without loading torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

KINDS = ("criteria", "allocations", "proxies", "schedules", "algorithms", "models", "datasets")
"""What `list` can show."""
VALUES = {
    "allocation": "allocations",
    "allocation.name": "allocations",
    "criteria": "criteria",
    "data.name": "datasets",
    "model.name": "models",
    "proxy": "proxies",
    "proxy.name": "proxies",
    "ratings.fallback": "criteria",
    "schedule": "schedules",
    "schedule.name": "schedules",
    "search.algorithm": "algorithms",
    "search.algorithm.name": "algorithms",
}
"""Key -> the kind of what it names."""


def complete_kind(incomplete: str) -> list[str]:
    """Return the kinds that `list` can show."""
    return _beginning(KINDS, incomplete)


def complete_criterion(incomplete: str) -> list[str]:
    """Return criteria."""
    return _names("criteria", incomplete)


def complete_model(incomplete: str) -> list[str]:
    """Return networks of the package."""
    return _names("models", incomplete)


def complete_example(incomplete: str) -> list[str]:
    """Return the example spaces."""
    from blendsearch.campaigns.examples import example_names

    return _beginning(example_names(), incomplete)


def complete_override(incomplete: str) -> list[str]:
    """Return keys of a space file as KEY=, and behind one that names something or chooses, its values.

    Of a list in brackets the last name is completed.
    """
    key, equals, value = incomplete.partition("=")
    if not equals:
        return _beginning((f"{'.'.join(path)}=" for path in _leaves()), incomplete)
    head, open_list, last = value.rpartition("[" if "," not in value else ",")
    before = f"{key}={head}{open_list}"
    blank = " " * (len(last) - len(last.lstrip()))
    return [f"{before}{blank}{one}" for one in _values(key) if one.startswith(last.strip())]


def _leaves() -> Iterator[tuple[str, ...]]:
    from blendsearch.config import Space
    from blendsearch.config.mistakes import key_paths

    paths = list(key_paths(Space))
    holders = {path[:-1] for path in paths}
    yield from (path for path in paths if path not in holders)


def _values(key: str) -> list[str]:
    if key in VALUES:
        return [*(["all"] if key == "criteria" else []), *_names(VALUES[key], "")]
    from blendsearch.config import Space
    from blendsearch.config.mistakes import choices_at

    return choices_at(Space, tuple(key.split(".")))


def _names(kind: str, incomplete: str) -> list[str]:
    from blendsearch.validation.written_names import written_names

    return _beginning(written_names(kind), incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
