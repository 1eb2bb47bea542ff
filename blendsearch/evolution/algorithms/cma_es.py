"""CMA-ES: a normal distribution over the unit cube that moves, widens and turns towards what is fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from deap import cma

from blendsearch.compute import child_seed
from blendsearch.errors import BlendsearchError, quoted
from blendsearch.evolution.algorithms.base import register_algorithm
from blendsearch.evolution.algorithms.evolutionary import EvolutionaryAlgorithm, Individual
from blendsearch.evolution.genome import KEPT_SPREAD
from blendsearch.evolution.pareto import Point
from blendsearch.plain import State

SIGMA = 0.3
"""Standard deviation the search starts with: a third of the cube's edge, as Hansen advises."""

WIDEST = 0.5
"""More than this and nearly all genomes lie in the cube's corners."""

NARROWEST = 1e-3
"""When no direction is wider than this, orders of filters no longer change, and the search starts anew."""


@register_algorithm
class CMAES(EvolutionaryAlgorithm):
    """DEAP's CMA-ES, started at the best of the first `population` genomes told and updated by each next as many.

    Genes drawn outside the cube are put onto its side, since a factor of exactly 0 leaves a criterion out, and
    it is these repaired genomes that the distribution learns from. When it has shrunk to a point or lost its
    shape it starts anew from the best so far. Weights of groups start with the spread that random ones have at the
    default sigma, and with as much less or more as sigma is.
    """

    name = "cma_es"
    source = "Hansen and Ostermeier, Evolutionary Computation 2001; DEAP's cma.Strategy"

    def __init__(self, *args: Any, sigma: float = SIGMA, **shared: Any) -> None:
        super().__init__(*args, **shared)
        number = isinstance(sigma, int | float) and not isinstance(sigma, bool)
        if not (number and NARROWEST < sigma <= WIDEST):
            raise BlendsearchError(
                f"search.algorithm.sigma: {quoted(sigma)} given, above {NARROWEST} and at most {WIDEST} expected"
            )
        self.sigma = float(sigma)
        self.strategy: cma.Strategy | None = None
        self.waiting: list[Individual] = []

    def propose(self, n: int) -> list[np.ndarray]:
        """Return `n` genomes drawn from the distribution."""
        if self.strategy is None:
            return self.start(n)
        # Strategy.generate would draw from NumPy's global generator, and always as many as it updates from. And along
        # the axes, whose signs, and order where they are alike, are LAPACK's choice, which differs between processors;
        # the symmetric root of the covariance, which gives the same distribution, does not depend on it.
        rng = np.random.default_rng(child_seed(self.seed, "cma_es", self.asked))
        root = self.strategy.BD @ self.strategy.B.T
        steps = rng.standard_normal((n, self.space.size)) @ root
        return list(np.clip(self.strategy.centroid + self.strategy.sigma * steps, 0.0, 1.0))

    def learn(self, genomes: list[np.ndarray], points: list[Point]) -> None:
        """Start at the best of the first genomes; later update the distribution, `population` genomes at a time."""
        self.waiting += [Individual(genome, point) for genome, point in zip(genomes, points, strict=True)]
        size = self.settings.population
        if self.strategy is None and len(self.waiting) >= size:
            self.waiting = []
            self.strategy = self._started()
        while self.strategy is not None and len(self.waiting) >= size:
            batch, self.waiting = self.waiting[:size], self.waiting[size:]
            self._update(self.strategy, batch)

    def _started(self) -> cma.Strategy:
        assert self.best is not None
        spread = np.ones(self.space.size)
        spread[self.space.kept_genes] = KEPT_SPREAD / SIGMA
        return self._strategy(self.best[0], self.sigma, np.diag(spread**2))

    def _strategy(self, centre: np.ndarray, sigma: float, covariance: np.ndarray) -> cma.Strategy:
        return cma.Strategy(centre, sigma, cmatrix=covariance, lambda_=self.settings.population)

    def _update(self, strategy: cma.Strategy, batch: list[Individual]) -> None:
        with np.errstate(all="ignore"):
            strategy.update(batch)
        strategy.sigma = min(float(strategy.sigma), WIDEST)
        widest = strategy.sigma * float(np.max(strategy.diagD))
        if not (np.isfinite(strategy.BD).all() and np.min(strategy.diagD) > 0 and widest > NARROWEST):
            self.strategy = self._started()

    def state(self) -> State:
        """Return the distribution and the genomes it has not learnt from yet."""
        own = self.strategy
        strategy = None if own is None else {
            "centre": own.centroid.tolist(), "sigma": own.sigma, "covariance": own.C.tolist(),
            "path": own.pc.tolist(), "sigma_path": own.ps.tolist(), "updates": own.update_count,
        }  # fmt: skip
        waiting = [individual.record() for individual in self.waiting]
        return {"strategy": strategy, "waiting": waiting}

    def restore(self, state: State) -> None:
        """Take up what `state` returned; the axes follow from the covariance as they did at the last update."""
        self.waiting = [Individual(genes, value) for genes, value in state["waiting"]]
        known = state["strategy"]
        self.strategy = None
        if known is not None:
            covariance = np.array(known["covariance"])
            self.strategy = self._strategy(np.array(known["centre"]), known["sigma"], covariance)
            self.strategy.pc, self.strategy.ps = np.array(known["path"]), np.array(known["sigma_path"])
            self.strategy.update_count = known["updates"]
