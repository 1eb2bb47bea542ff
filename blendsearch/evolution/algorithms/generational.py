"""Generations with elitism: tournament, crossover and mutation."""

from __future__ import annotations

from typing import Any

import numpy as np
from deap import tools

from blendsearch.evolution.algorithms.base import register_algorithm
from blendsearch.evolution.algorithms.breeding import Breeding
from blendsearch.evolution.algorithms.evolutionary import Individual, distinct
from blendsearch.evolution.pareto import Point
from blendsearch.plain import State


@register_algorithm
class Generational(Breeding):
    """Offspring of parents chosen by tournament replace the population; the best live on in a hall of fame.

    Survivors are the best `population` of the elite and the newest offspring, filled up with the old population
    when few were told.
    """

    name = "generational"
    source = "Fortin et al., DEAP, JMLR 2012"

    def __init__(self, *args: Any, **shared: Any) -> None:
        super().__init__(*args, **shared)
        self.hall = tools.HallOfFame(max(1, self.settings.elite))

    def breed(self, n: int) -> list[Individual]:
        """Return `n` offspring, different from each other and from the population where possible."""
        seen = self.signatures()
        offspring: list[Individual] = []
        while len(offspring) < n:
            for child in self.children(self.toolbox.select(self.population))[: n - len(offspring)]:
                self.make_new(child, seen)
                offspring.append(child)
        return offspring

    def learn(self, genomes: list[np.ndarray], points: list[Point]) -> None:
        """Let the best of elite and offspring survive."""
        offspring = [Individual(genome, point) for genome, point in zip(genomes, points, strict=True)]
        elite = list(self.hall)[: self.settings.elite]
        size = self.settings.population
        survivors = tools.selBest(distinct(elite + offspring), size)
        self.population = distinct(survivors + tools.selBest(self.population, size))[:size]
        self.hall.update(offspring)

    def state(self) -> State:
        """Return population, random generator's state and hall of fame."""
        return {**super().state(), "hall": [individual.record() for individual in self.hall]}

    def restore(self, state: State) -> None:
        """Take up what `state` returned."""
        super().restore(state)
        self.hall.clear()
        # DEAP puts a newcomer before its equals, so the last go in first.
        self.hall.update([Individual(genes, value) for genes, value in reversed(state["hall"])])
