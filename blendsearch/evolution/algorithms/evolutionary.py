"""What the algorithms from DEAP have in common."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from deap import base

from blendsearch.compute import child_seed
from blendsearch.evolution.algorithms.base import SearchAlgorithm, as_point, plain


@lru_cache
def fitness_of(values: int) -> type[base.Fitness]:
    """Return DEAP's fitness for so many values, all maximised."""
    return type("Fitness", (base.Fitness,), {"weights": (1.0,) * values})


class Individual(list[float]):
    """Genes with a fitness; a class of ours, for DEAP's `creator` would put it into a global namespace."""

    def __init__(self, genes: Any, value: float | Sequence[float] | None = None) -> None:
        super().__init__(float(gene) for gene in genes)
        point = () if value is None else as_point(value)
        self.fitness = fitness_of(max(1, len(point)))(point)

    @property
    def value(self) -> float:
        """The fitness, where it is known; the first of several values."""
        return float(self.fitness.values[0])

    def record(self) -> list[Any]:
        """Return genes and fitness as plain JSON values; `Individual(*record)` is the same again."""
        return [list(self), plain(self.fitness.values)]


class EvolutionaryAlgorithm(SearchAlgorithm):
    """Starts from what is told first; what is asked before enough was told is drawn evenly, alike for all."""

    backend: ClassVar[str] = "deap"

    def start(self, n: int) -> list[np.ndarray]:
        """Return `n` genomes drawn evenly: what every algorithm proposes before it has learnt enough."""
        rng = np.random.default_rng(child_seed(self.seed, "random", self.asked))
        return [self.space.random(rng) for _ in range(n)]


def distinct(individuals: list[Individual]) -> list[Individual]:
    """Return the first of each set of equal genes."""
    first: dict[tuple[float, ...], Individual] = {}
    for individual in individuals:
        first.setdefault(tuple(individual), individual)
    return list(first.values())
