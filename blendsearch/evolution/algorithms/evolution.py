"""Evolution with DEAP: one backend, several algorithms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from blendsearch.errors import BlendsearchError, unknown_name
from blendsearch.evolution.algorithms.algorithm import Algorithm
from blendsearch.evolution.algorithms.base import BACKENDS, Backend, Settings
from blendsearch.evolution.algorithms.cma_es import CMAES
from blendsearch.evolution.algorithms.differential_evolution import DifferentialEvolution
from blendsearch.evolution.algorithms.generational import Generational
from blendsearch.evolution.algorithms.mu_plus_lambda import MuPlusLambda
from blendsearch.evolution.algorithms.nsga2 import NSGA2
from blendsearch.evolution.pareto import Point

ALGORITHMS: dict[str, type[Algorithm]] = {
    "generational": Generational,
    "mu_plus_lambda": MuPlusLambda,
    "cma_es": CMAES,
    "differential_evolution": DifferentialEvolution,
    "nsga2": NSGA2,
}


@BACKENDS.register("deap")
class Evolution(Backend):
    """One of DEAP's evolutionary algorithms, started from what is told first.

    What is asked before enough was told is drawn evenly from the space, alike for all algorithms.
    Source: Fortin et al., JMLR 2012 (DEAP).
    """

    name = "deap"
    choices: ClassVar = {"algorithm": tuple(ALGORITHMS)}

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.algorithm = ALGORITHMS[self.settings.algorithm](self.space, self.seed, self.settings)

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Raise BlendsearchError for an unknown algorithm, or settings that it cannot work with."""
        if settings.algorithm not in ALGORITHMS:
            raise unknown_name("algorithm", settings.algorithm, ALGORITHMS, "search.algorithm")
        ALGORITHMS[settings.algorithm].check(settings)

    def propose(self, n: int) -> list[np.ndarray]:
        """Return what the algorithm proposes next."""
        return self.algorithm.propose(n, self.asked)

    def learn(self, genomes: list[np.ndarray], points: list[Point]) -> None:
        """Let the algorithm learn."""
        self.algorithm.learn(genomes, points)

    def state(self) -> dict[str, Any]:
        """Return the algorithm's name and state."""
        return {"algorithm": self.settings.algorithm, **self.algorithm.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned; BlendsearchError when it is of another algorithm."""
        given, own = state.get("algorithm"), self.settings.algorithm
        if given != own:
            raise BlendsearchError(f"search state: algorithm: {given!r} given, {own!r} expected")
        self.algorithm.restore(state)
