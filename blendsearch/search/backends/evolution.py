"""Evolution of blends with DEAP."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from deap import base, tools

from blendsearch.compute import child_seed
from blendsearch.search.backends.base import BACKENDS, Backend
from blendsearch.search.backends.variation import cross, mutate

TRIES = 10
"""How often an offspring that is already there is mutated again before it is let through."""


class Fitness(base.Fitness):
    """One value, maximised."""

    weights = (1.0,)


class Individual(list[float]):
    """Genes with a fitness; a class of ours, for DEAP's `creator` would put it into a global namespace."""

    def __init__(self, genes: Any, value: float | None = None) -> None:
        super().__init__(float(gene) for gene in genes)
        self.fitness = Fitness(() if value is None else (value,))


@BACKENDS.register("deap")
class Evolution(Backend):
    """Generations by tournament, crossover and mutation; the best survive in a hall of fame.

    What is asked before anything was told is drawn evenly from the space. Survivors are the best `population`
    of the elite and the newest offspring, filled up with the old population when few were told.
    Source: Fortin et al., JMLR 2012 (DEAP).
    """

    name = "deap"

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.population: list[Individual] = []
        self.hall = tools.HallOfFame(max(1, self.settings.elite))
        self.random_state = random.Random(child_seed(self.seed, "evolution")).getstate()
        self.toolbox = base.Toolbox()
        self.toolbox.register("clone", lambda parent: Individual(parent))
        self.toolbox.register("select", tools.selTournament, k=2, tournsize=self.settings.tournament)
        self.toolbox.register("mate", partial(cross, space=self.space))
        self.toolbox.register("mutate", partial(mutate, space=self.space))

    def propose(self, n: int) -> list[np.ndarray]:
        """Return `n` offspring, different from each other and from the population where possible."""
        if not self.population:
            rng = np.random.default_rng(child_seed(self.seed, "random", self.asked))
            return [self.space.random(rng) for _ in range(n)]
        seen = {self._signature(individual) for individual in self.population}
        offspring: list[np.ndarray] = []
        with self._own_random():
            while len(offspring) < n:
                for child in self._children()[: n - len(offspring)]:
                    self._make_new(child, seen)
                    offspring.append(np.array(child))
        return offspring

    def _children(self) -> tuple[Individual, Individual]:
        first, second = (self.toolbox.clone(parent) for parent in self.toolbox.select(self.population))
        if random.random() < self.settings.crossover:
            self.toolbox.mate(first, second)
        for child in (first, second):
            if random.random() < self.settings.mutation:
                self.toolbox.mutate(child)
        return first, second

    def _make_new(self, child: Individual, seen: set[Any]) -> None:
        for _ in range(TRIES):
            if self._signature(child) not in seen:
                break
            self.toolbox.mutate(child)
        seen.add(self._signature(child))

    def _signature(self, individual: Individual) -> Any:
        return self.space.signature(np.array(individual))

    def learn(self, genomes: list[np.ndarray], fitnesses: list[float]) -> None:
        """Let the best of elite and offspring survive."""
        offspring = [Individual(genome, value) for genome, value in zip(genomes, fitnesses, strict=True)]
        elite = list(self.hall)[: self.settings.elite]
        size = self.settings.population
        survivors = tools.selBest(_distinct(elite + offspring), size)
        self.population = _distinct(survivors + tools.selBest(self.population, size))[:size]
        self.hall.update(offspring)

    @contextlib.contextmanager
    def _own_random(self) -> Iterator[None]:
        """Give DEAP, which draws from Python's global generator, a state of ours, and put the user's back."""
        users = random.getstate()
        random.setstate(self.random_state)
        try:
            yield
        finally:
            self.random_state = random.getstate()
            random.setstate(users)

    def state(self) -> dict[str, Any]:
        """Return population, hall of fame and the random generator's state."""
        version, numbers, gauss = self.random_state
        return {
            "population": [_record(individual) for individual in self.population],
            "hall": [_record(individual) for individual in self.hall],
            "random": [version, list(numbers), gauss],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self.population = [Individual(genes, value) for genes, value in state["population"]]
        self.hall.clear()
        self.hall.update([Individual(genes, value) for genes, value in state["hall"]])
        version, numbers, gauss = state["random"]
        self.random_state = (version, tuple(numbers), gauss)


def _record(individual: Individual) -> list[Any]:
    return [list(individual), individual.fitness.values[0]]


def _distinct(individuals: list[Individual]) -> list[Individual]:
    first: dict[tuple[float, ...], Individual] = {}
    for individual in individuals:
        first.setdefault(tuple(individual), individual)
    return list(first.values())
