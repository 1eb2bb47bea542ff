"""Shares of single layers that are given: which names they fit, and between which limits they leave a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from blendsearch.config import BOUND_FORMS, read_bound
from blendsearch.errors import BudgetError, nearest, quoted
from blendsearch.structure import Group, Structure


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
        if read_bound({"min": self.low, "max": self.high}) is None:
            raise BudgetError(f"budget: keep '{self.pattern}': {self} given, allowed: {BOUND_FORMS}")

    def __str__(self) -> str:
        if self.low is None:
            return f"at most {self.high:g}"
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g} to {self.high:g}"

    @classmethod
    def parse(cls, pattern: str, given: Any) -> Bound:
        """Read a number, a pair or `{"min": 0.3, "max": 0.9}`; raise BudgetError for anything else."""
        ends = read_bound(given)
        if not isinstance(pattern, str) or ends is None:
            raise BudgetError(f"budget: keep '{pattern}': {quoted(given)} given, allowed: {BOUND_FORMS}")
        return cls(pattern, *ends)

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
        raise BudgetError(f"budget: keep {quoted(given)} given, allowed: a mapping such as {{'layer1.*': 0.8}}")
    return tuple(Bound.parse(pattern, value) for pattern, value in given.items())
