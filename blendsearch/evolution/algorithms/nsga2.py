"""NSGA-II: evolution towards a whole front where accuracy and costs stand against each other."""

from __future__ import annotations

import numpy as np
from deap import tools

from blendsearch.evolution.algorithms.base import register_algorithm
from blendsearch.evolution.algorithms.breeding import Breeding
from blendsearch.evolution.algorithms.evolutionary import Individual, distinct
from blendsearch.evolution.pareto import Point

PAIRS = 4
"""DEAP's tournament chooses four parents at a time, from at least as many."""


@register_algorithm
class NSGA2(Breeding):
    """Parents and offspring compete for survival by the front they are on, within it by their distance to others.

    Parents win a tournament of two by the same order. It works with one objective too, where fronts are values.
    """

    name = "nsga2"
    source = "Deb et al., IEEE Transactions on Evolutionary Computation 2002; DEAP's selNSGA2, selTournamentDCD"
    several_objectives = True

    def breed(self, n: int) -> list[Individual]:
        """Return `n` offspring, different from each other and from the population where possible."""
        # Crowding distances are not part of the state; measured here, they are the same after a restart.
        tools.selNSGA2(self.population, len(self.population))
        seen = self.signatures()
        offspring: list[Individual] = []
        while len(offspring) < n:
            parents = self._parents()
            for pair in zip(parents[::2], parents[1::2], strict=True):
                for child in self.children(pair)[: n - len(offspring)]:
                    self.make_new(child, seen)
                    offspring.append(child)
        return offspring

    def _parents(self) -> list[Individual]:
        pool = self.population * -(-PAIRS // len(self.population))
        parents: list[Individual] = tools.selTournamentDCD(pool, len(pool) // PAIRS * PAIRS)
        return parents

    def learn(self, genomes: list[np.ndarray], points: list[Point]) -> None:
        """Let the best of parents and offspring survive."""
        offspring = [Individual(genome, point) for genome, point in zip(genomes, points, strict=True)]
        self.population = tools.selNSGA2(distinct(self.population + offspring), self.settings.population)
