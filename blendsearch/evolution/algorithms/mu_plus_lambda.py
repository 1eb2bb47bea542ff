"""(mu + lambda) evolution: parents and offspring compete for survival."""

from __future__ import annotations

from typing import Any

import numpy as np
from deap import algorithms, tools

from blendsearch.errors import BlendsearchError
from blendsearch.evolution.algorithms.base import register_algorithm
from blendsearch.evolution.algorithms.breeding import Breeding
from blendsearch.evolution.algorithms.evolutionary import Individual, distinct
from blendsearch.evolution.pareto import Point


@register_algorithm
class MuPlusLambda(Breeding):
    """Each offspring comes from crossover or mutation or is a parent as it is; the best of all told so far survive.

    mu is `population`, lambda what is asked; a parent is drawn evenly, as selection happens among survivors. The
    share of parents asked again, whose fitness is known, is 1 - `crossover` - `mutation`.
    Raises BlendsearchError when these two are more than 1 together.
    """

    name = "mu_plus_lambda"
    source = "Bäck, Fogel and Michalewicz, Handbook of Evolutionary Computation, 1997; DEAP's varOr"

    def __init__(self, *args: Any, **shared: Any) -> None:
        super().__init__(*args, **shared)
        crossover, mutation = self.settings.crossover, self.settings.mutation
        if crossover + mutation > 1:
            raise BlendsearchError(
                f"crossover {crossover} and mutation {mutation} given, at most 1 together expected for algorithm "
                "'mu_plus_lambda'"
            )

    def breed(self, n: int) -> list[Individual]:
        """Return `n` offspring; those that are not copies differ from the population where possible."""
        crossover, mutation = self.settings.crossover, self.settings.mutation
        if len(self.population) == 1:
            crossover, mutation = 0.0, crossover + mutation
        offspring: list[Individual] = algorithms.varOr(self.population, self.toolbox, n, crossover, mutation)
        seen = self.signatures()
        for child in offspring:
            if not child.fitness.valid:
                self.make_new(child, seen)
        return offspring

    def learn(self, genomes: list[np.ndarray], points: list[Point]) -> None:
        """Let the best of parents and offspring survive."""
        offspring = [Individual(genome, point) for genome, point in zip(genomes, points, strict=True)]
        self.population = tools.selBest(distinct(self.population + offspring), self.settings.population)
