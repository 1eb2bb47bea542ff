"""What the algorithms inside the DEAP backend have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from deap import base

from blendsearch.compute import child_seed
from blendsearch.search.backends.base import Settings
from blendsearch.search.genome import GenomeSpace


class Fitness(base.Fitness):
    """One value, maximised."""

    weights = (1.0,)


class Individual(list[float]):
    """Genes with a fitness; a class of ours, for DEAP's `creator` would put it into a global namespace."""

    def __init__(self, genes: Any, value: float | None = None) -> None:
        super().__init__(float(gene) for gene in genes)
        self.fitness = Fitness(() if value is None else (value,))

    @property
    def value(self) -> float:
        """The fitness, where it is known."""
        return float(self.fitness.values[0])

    def record(self) -> list[Any]:
        """Return genes and fitness as plain JSON values; `Individual(*record)` is the same again."""
        return [list(self), self.value]


class Algorithm(ABC):
    """Proposes genomes for the DEAP backend, which checks, counts and remembers the best.

    Everything drawn must come from `seed`, the number of genomes asked so far and what `state` returns.
    """

    def __init__(self, space: GenomeSpace, seed: int, settings: Settings) -> None:
        self.space = space
        self.seed = seed
        self.settings = settings

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Raise BlendsearchError for settings that this algorithm cannot work with."""
        return None

    def start(self, n: int, asked: int) -> list[np.ndarray]:
        """Return `n` genomes drawn evenly: what every algorithm proposes before it has learnt enough."""
        rng = np.random.default_rng(child_seed(self.seed, "random", asked))
        return [self.space.random(rng) for _ in range(n)]

    @abstractmethod
    def propose(self, n: int, asked: int) -> list[np.ndarray]:
        """Return `n` >= 1 new genomes, float64 [size] in [0, 1]; asked: how many were asked before."""

    @abstractmethod
    def learn(self, genomes: list[np.ndarray], fitnesses: list[float]) -> None:
        """Take in genomes and their fitness."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what must be remembered, as plain JSON values."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""


def distinct(individuals: list[Individual]) -> list[Individual]:
    """Return the first of each set of equal genes."""
    first: dict[tuple[float, ...], Individual] = {}
    for individual in individuals:
        first.setdefault(tuple(individual), individual)
    return list(first.values())
