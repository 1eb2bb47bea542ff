"""Differential evolution: steps made of differences between genomes of the population."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from blendsearch.compute import child_seed
from blendsearch.evolution.algorithms.algorithm import Algorithm, Individual
from blendsearch.evolution.pareto import Point

FEWEST = 3
"""A genome, and two others whose difference moves it."""

FACTORS = (0.4, 0.9)
"""Range of the factor that differences are multiplied by, drawn anew for each trial (dither, Das et al., 2005)."""


class DifferentialEvolution(Algorithm):
    """DE/current-to-best/1/bin: a trial replaces the genome it was made from when it is at least as fit.

    `crossover` is the share of genes that a trial takes from its mutant; a cluster's member and factor travel
    together. Genes outside the cube are put onto its side, since a factor of exactly 0 leaves a criterion out.
    Genomes told that were no trial, such as the first, fill the population and then replace its worst when they
    are fitter. At least three genomes are kept, whatever `population`.
    Source: Storn and Price, Journal of Global Optimization 1997.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.size = max(FEWEST, self.settings.population)
        self.population: list[Individual] = []
        self.trials: dict[bytes, int] = {}
        cells = np.repeat(np.arange(len(self.space.cells)), 2)
        alone = len(self.space.cells) + np.arange(self.space.size - self.space.blend_size)
        self.parts = np.concatenate([cells, alone])

    def propose(self, n: int, asked: int) -> list[np.ndarray]:
        """Return a trial for each of the next `n` genomes of the population, in turn."""
        if len(self.population) < self.size:
            return self.start(n, asked)
        rng = np.random.default_rng(child_seed(self.seed, "differential_evolution", asked))
        population = np.array(self.population)
        best = max(range(self.size), key=lambda place: self.population[place].value)
        trials = []
        for target in (number % self.size for number in range(asked, asked + n)):
            trial = self._trial(population, target, best, rng)
            self.trials[trial.tobytes()] = target
            trials.append(trial)
        return trials

    def _trial(self, population: np.ndarray, target: int, best: int, rng: np.random.Generator) -> np.ndarray:
        one, other = rng.choice([place for place in range(self.size) if place != target], 2, replace=False)
        own = population[target]
        factor = rng.uniform(*FACTORS)
        mutant = own + factor * (population[best] - own) + factor * (population[one] - population[other])
        taken = rng.random(self.parts[-1] + 1) < self.settings.crossover
        taken[rng.integers(len(taken))] = True
        # Adding zero turns a negative zero into zero: a trial is known by its bytes when it comes back.
        return np.where(taken[self.parts], np.clip(mutant, 0.0, 1.0), own) + 0.0

    def learn(self, genomes: list[np.ndarray], points: list[Point]) -> None:
        """Let each trial compete with the genome it was made from, and others with the worst."""
        for genome, point in zip(genomes, points, strict=True):
            individual = Individual(genome, point)
            target = self.trials.pop(genome.tobytes(), None)
            if target is not None:
                if individual.value >= self.population[target].value:
                    self.population[target] = individual
            elif individual not in self.population:
                self._admit(individual)

    def _admit(self, individual: Individual) -> None:
        if len(self.population) < self.size:
            self.population.append(individual)
            return
        worst = min(range(self.size), key=lambda place: self.population[place].value)
        if individual.value > self.population[worst].value:
            self.population[worst] = individual

    def state(self) -> dict[str, Any]:
        """Return the population and the trials not yet told, with the place of the genome each was made from."""
        trials = [[np.frombuffer(key).tolist(), place] for key, place in self.trials.items()]
        return {"population": [individual.record() for individual in self.population], "trials": trials}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self.population = [Individual(genes, value) for genes, value in state["population"]]
        self.trials = {np.array(genes).tobytes(): place for genes, place in state["trials"]}
