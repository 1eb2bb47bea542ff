"""Shares of single layers that are given: which names they fit, and between which limits they leave a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from blendsearch.errors import BudgetError, nearest
from blendsearch.structure import Group, Structure

FORMS = "a share, a pair (least, most), or a mapping with min and max, all from 0 to 1"


@dataclass(frozen=True)
class Bound:
    """Between which shares of its filters a group stays; equal ones hold it at that share.

    pattern: of names of groups or convolutions, or of modules around them, with * and ? as for file names.
    low: None leaves it to `min_keep`.
    """

    pattern: str
    low: float | None
    high: float

    def __post_init__(self) -> None:
        low = 0.0 if self.low is None else self.low
        if not (0 <= low <= self.high <= 1 and self.high > 0):
            raise BudgetError(f"budget: keep '{self.pattern}': {self} given, allowed: {FORMS}, the most above 0")

    def __str__(self) -> str:
        if self.low is None:
            return f"at most {self.high:g}"
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g} to {self.high:g}"

    @classmethod
    def parse(cls, pattern: str, given: Any) -> Bound:
        """Read a number, a pair or `{"min": 0.3, "max": 0.9}`; raise BudgetError for anything else."""
        low, high = _ends(given)
        if not isinstance(pattern, str) or not _is_share(high) or not (low is None or _is_share(low)):
            raise BudgetError(f"budget: keep '{pattern}': {given!r} given, allowed: {FORMS}")
        return cls(pattern, None if low is None else float(low), float(high))

    def fits(self, group: Group) -> bool:
        """Tell whether the pattern fits the group's name, one of its convolutions, or a module around one."""
        return any(
            fnmatchcase(name, self.pattern) or fnmatchcase(name, f"{self.pattern}.*")
            for name in (group.name, *group.convolutions)
        )

    def check_known(self, structure: Structure) -> None:
        """Raise BudgetError with the nearest name when the pattern fits no group of a network."""
        if any(self.fits(group) for group in structure.groups):
            return
        names = [name for group in structure.groups for name in (group.name, *group.convolutions)]
        close = nearest(self.pattern, names)
        raise BudgetError(
            f"budget: keep '{self.pattern}' fits no prunable layer of the network"
            + (f"; did you mean '{close}'?" if close else f" (allowed: patterns of names such as '{names[0]}')")
        )


def parse_bounds(given: Any) -> tuple[Bound, ...]:
    """Read pattern -> share or limits; raise BudgetError when it is anything else."""
    if not isinstance(given, Mapping):
        raise BudgetError(f"budget: keep {given!r} given, allowed: a mapping such as {{'layer1.*': 0.8}}")
    return tuple(Bound.parse(pattern, value) for pattern, value in given.items())


def _ends(given: Any) -> tuple[Any, Any]:
    if isinstance(given, Mapping):
        known = given.keys() <= {"min", "max"} and given
        return (given.get("min"), given.get("max", 1.0)) if known else (None, None)
    if isinstance(given, Sequence) and not isinstance(given, str):
        return tuple(given) if len(given) == 2 else (None, None)
    return given, given


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
