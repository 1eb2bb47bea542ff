"""Algorithms that breed: a population, crossover and mutation from DEAP's toolbox."""

from __future__ import annotations

import contextlib
import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from deap import base, tools

from blendsearch.compute import child_seed
from blendsearch.evolution.algorithms.evolutionary import EvolutionaryAlgorithm, Individual
from blendsearch.evolution.algorithms.variation import cross, mutate
from blendsearch.plain import State

TRIES = 10
"""How often an offspring that is already there is mutated again before it is let through."""


class Breeding(EvolutionaryAlgorithm):
    """A population whose offspring come from `breed`; before anything was told they are drawn evenly."""

    in_window = True

    def __init__(self, *args: Any, **shared: Any) -> None:
        super().__init__(*args, **shared)
        self.population: list[Individual] = []
        self.random_state = random.Random(child_seed(self.seed, "evolution")).getstate()
        self.toolbox = base.Toolbox()
        self.toolbox.register("clone", lambda parent: Individual(parent))
        self.toolbox.register("select", tools.selTournament, k=2, tournsize=self.settings.tournament)
        self.toolbox.register("mate", partial(cross, space=self.space))
        self.toolbox.register("mutate", partial(mutate, space=self.space))

    def propose(self, n: int) -> list[np.ndarray]:
        """Return `n` offspring of the population."""
        if not self.population:
            return self.start(n)
        with self._own_random():
            return [np.array(child) for child in self.breed(n)]

    def children(self, parents: Sequence[Individual]) -> tuple[Individual, Individual]:
        """Return copies of two parents, crossed and mutated by the shares that the settings give."""
        first, second = (self.toolbox.clone(parent) for parent in parents)
        if random.random() < self.settings.crossover:
            self.toolbox.mate(first, second)
        for child in (first, second):
            if random.random() < self.settings.mutation:
                self.toolbox.mutate(child)
        return first, second

    @abstractmethod
    def breed(self, n: int) -> list[Individual]:
        """Return `n` offspring; Python's `random` is ours while this runs."""

    def signatures(self) -> set[Any]:
        """Return what is already there, for `make_new`."""
        waiting = {self.space.signature(genome) for genome in self.pending}
        return waiting | {self._signature(individual) for individual in self.population}

    def make_new(self, child: Individual, seen: set[Any]) -> None:
        """Mutate a child, in place, until it is not among those seen (or for long enough), and add it to them."""
        for _ in range(TRIES):
            if self._signature(child) not in seen:
                break
            self.toolbox.mutate(child)
        seen.add(self._signature(child))

    def _signature(self, individual: Individual) -> Any:
        return self.space.signature(np.array(individual))

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

    def state(self) -> State:
        """Return the population and the random generator's state."""
        version, numbers, gauss = self.random_state
        return {
            "population": [individual.record() for individual in self.population],
            "random": [version, list(numbers), gauss],
        }

    def restore(self, state: State) -> None:
        """Take up what `state` returned."""
        self.population = [Individual(genes, value) for genes, value in state["population"]]
        version, numbers, gauss = state["random"]
        self.random_state = (version, tuple(numbers), gauss)
