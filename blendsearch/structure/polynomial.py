"""Sums of products of channel counts, put together once so that a search can ask for them thousands of times."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Channels:
    """A channel count that depends linearly on the kept counts: fixed + sum of multiple * kept."""

    fixed: int
    multiples: tuple[tuple[str, int], ...]

    def count(self, counts: Mapping[str, int]) -> int:
        """Return the number of channels under `counts` (group -> kept)."""
        return self.fixed + sum(multiple * counts[group] for group, multiple in self.multiples)


@dataclass(frozen=True)
class Term:
    """A product in the cost: constant * channels * channels (a missing side counts as 1)."""

    constant: int
    sides: tuple[Channels, ...]

    def value(self, counts: Mapping[str, int]) -> int:
        """Return the term's value under `counts`."""
        return self.constant * math.prod(side.count(counts) for side in self.sides)


class Polynomial:
    """A sum of terms, with those of the same factors added up; whole numbers, so that its values are the terms'."""

    def __init__(self, terms: Iterable[Term]) -> None:
        constants: dict[tuple[Channels, ...], int] = {}
        for term in terms:
            factors = tuple(side for side in term.sides if side.multiples)
            share = term.constant * math.prod(side.fixed for side in term.sides if not side.multiples)
            constants[factors] = constants.get(factors, 0) + share
        self.fixed = constants.pop((), 0)
        # A factor that is one group's count, or a multiple of it, is most of them: nothing is left to add up there.
        self.single: list[tuple[int, tuple[str, ...]]] = []
        self.others: list[Term] = []
        for factors, constant in constants.items():
            if all(side.fixed == 0 and len(side.multiples) == 1 for side in factors):
                multiples = [side.multiples[0] for side in factors]
                share = constant * math.prod(multiple for _, multiple in multiples)
                self.single.append((share, tuple(group for group, _ in multiples)))
            else:
                self.others.append(Term(constant, factors))

    def value(self, counts: Mapping[str, int]) -> int:
        """Return the sum of all terms under `counts`."""
        total = self.fixed
        for share, groups in self.single:
            for group in groups:
                share *= counts[group]
            total += share
        return total + sum(term.value(counts) for term in self.others)
