"""What the algorithms inside the DEAP backend have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from deap import base

from blendsearch.compute import child_seed
from blendsearch.evolution.algorithms.base import Settings, as_point, only_one_objective, plain
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.pareto import Point


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
        """Raise BlendsearchError for settings that this algorithm cannot work with; most have one objective."""
        only_one_objective(settings, f"algorithm '{settings.algorithm}'")

    def start(self, n: int, asked: int) -> list[np.ndarray]:
        """Return `n` genomes drawn evenly: what every algorithm proposes before it has learnt enough."""
        rng = np.random.default_rng(child_seed(self.seed, "random", asked))
        return [self.space.random(rng) for _ in range(n)]

    @abstractmethod
    def propose(self, n: int, asked: int) -> list[np.ndarray]:
        """Return `n` >= 1 new genomes, float64 [size] in [0, 1]; asked: how many were asked before."""

    @abstractmethod
    def learn(self, genomes: list[np.ndarray], points: list[Point]) -> None:
        """Take in genomes and their points, of one number where there is one objective."""

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
