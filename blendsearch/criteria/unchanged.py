"""Whether a criterion left the statistics, which all criteria share, as they were."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from blendsearch.errors import BlendsearchError
from blendsearch.statistics import Statistics

Mark = tuple[object, ...]


class Unchanged:
    """The statistics as they were; torch has no read-only tensors, so a change is found afterwards.

    closely: also by a checksum of all values, which finds what went past torch (through numpy, `.data`); else by the
    counts that torch keeps of operations in place, which take no time. For criteria that are not our own.
    """

    def __init__(self, statistics: Statistics, *, closely: bool) -> None:
        self.statistics, self.closely = statistics, closely
        self.before = self._marks()

    def check(self, criterion: str) -> None:
        """Raise BlendsearchError where a criterion changed something: the scores of others would depend on it."""
        after = self._marks()
        for place in self.before | after:
            if self.before.get(place) != after.get(place):
                raise BlendsearchError(
                    f"criterion '{criterion}': changed {place} in place, which all criteria share; work on a clone"
                )

    def _marks(self) -> dict[str | int, Mark]:
        if self.closely:
            return {place: _mark(value, True) for place, value in _leaves(self.statistics, "statistics")}
        # By numbers: of the thousands there are, the names of places would take longer than all else.
        return {number: _mark(value, False) for number, value in enumerate(_values(self.statistics))}


def _values(value: Any) -> list[Any]:
    """Return what `_leaves` yields, in its order, without the places."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _values(inner)]
    if isinstance(value, list | tuple):
        return [leaf for inner in value for leaf in _values(inner)]
    if is_dataclass(value):
        return [leaf for field in fields(value) for leaf in _values(getattr(value, field.name))]
    return [value]


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}['{getattr(key, 'name', key)}']")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{place}[{number}]")
    elif is_dataclass(value):
        for field in fields(value):
            yield from _leaves(getattr(value, field.name), f"{place}.{field.name}")
    else:
        yield place, value


def _mark(value: Any, closely: bool) -> Mark:
    if not isinstance(value, Tensor):
        return (value,)
    version = -1 if value.is_inference() else value._version  # torch refuses operations in place on those by itself
    mark: Mark = (id(value), version, tuple(value.shape))
    return (*mark, zlib.crc32(value.detach().contiguous().numpy().tobytes())) if closely else mark
