"""One kind of registry for criteria, allocations, proxies, schedules, search algorithms, models and data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from blendsearch.errors import BlendsearchError, unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Names mapped to objects; other packages add theirs through the entry point `blendsearch.<kind plural>`."""

    def __init__(self, kind: str, plural: str) -> None:
        self.kind = kind
        self.plural = plural
        self._entries: dict[str, T] = {}
        self._loaded_entry_points = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that adds the decorated object under `name`; a name is given only once."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise BlendsearchError(f"{self.kind} '{name}' is already registered; choose another name")
            self._entries[name] = entry
            return entry

        return add

    def unregister(self, name: str) -> None:
        """Remove an entry; for tests and notebooks that define the same criterion twice."""
        self._entries.pop(name, None)

    def load_entry_points(self) -> None:
        """Import what installed packages offer under `blendsearch.<plural>`, once."""
        if self._loaded_entry_points:
            return
        self._loaded_entry_points = True
        for point in entry_points(group=f"blendsearch.{self.plural}"):
            try:
                entry = point.load()
            except Exception as error:  # whatever a stranger's module does wrong
                raise BlendsearchError(
                    f"{self.kind} '{point.name}': {point.value} cannot be loaded, as the entry point "
                    f"blendsearch.{self.plural} of an installed package asks for ({type(error).__name__}: {error})"
                ) from error
            if point.name not in self._entries:
                self._entries[point.name] = entry

    def names(self) -> list[str]:
        """Return all names in alphabetical order."""
        self.load_entry_points()
        return sorted(self._entries)

    def get(self, name: str, where: str = "") -> T:
        """Return the entry, or raise UnknownNameError with the nearest valid name."""
        self.load_entry_points()
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries, where)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self.load_entry_points()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
