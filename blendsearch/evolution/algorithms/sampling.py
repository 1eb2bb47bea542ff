"""Search with Optuna's samplers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from blendsearch.compute import child_seed
from blendsearch.errors import BlendsearchError
from blendsearch.evolution.algorithms.base import SearchAlgorithm, as_point, plain, register_algorithm
from blendsearch.evolution.algorithms.warm_cma_es import WarmCmaEs
from blendsearch.evolution.optuna_logging import quiet_optuna
from blendsearch.evolution.pareto import Point
from blendsearch.plain import State

FEWEST_FOR_CMA_ES = 4
"""Of fewer genomes its better half is one alone, from which the library can learn no shape: it divides by zero."""


@dataclass(frozen=True)
class Told:
    """A genome with its point and what the sampler noted about it when it was asked."""

    genome: np.ndarray
    point: Point
    notes: dict[str, Any]


class Sampling(SearchAlgorithm):
    """One of Optuna's samplers, over an in-memory study built anew from what was told, at every ask.

    The sampler is seeded by how many genomes have been asked. So the told trials are the whole state, and a
    restored search goes on exactly.
    """

    backend: ClassVar[str] = "optuna"
    in_window: ClassVar[bool] = True
    state_key: ClassVar[str] = "sampler"

    def __init__(self, *args: Any, **shared: Any) -> None:
        super().__init__(*args, **shared)
        self.distributions = {name: FloatDistribution(0.0, 1.0) for name in self.space.names}
        self.told: list[Told] = []
        self.notes: dict[bytes, dict[str, Any]] = {}

    @abstractmethod
    def sampler(self, seed: int) -> BaseSampler:
        """Return Optuna's sampler."""

    def propose(self, n: int) -> list[np.ndarray]:
        """Return what the sampler draws next."""
        with quiet_optuna():
            study = self._study()
            study.add_trials([self._running(genome) for genome in self.pending if self.in_window])
            return [self._ask(study) for _ in range(n)]

    def _ask(self, study: optuna.Study) -> np.ndarray:
        trial = study.ask(dict(self.distributions))
        genome = np.clip([trial.params[name] for name in self.space.names], 0.0, 1.0)
        self.notes[genome.tobytes()] = dict(study.get_trials(deepcopy=False)[trial.number].system_attrs)
        return genome

    def _study(self) -> optuna.Study:
        sampler = self.sampler(child_seed(self.seed, "sampling", self.asked) % 2**32)
        study = optuna.create_study(directions=["maximize"] * self.settings.values, sampler=sampler)
        study.add_trials([self._trial(told) for told in self.told])
        return study

    def _trial(self, told: Told) -> optuna.trial.FrozenTrial:
        return optuna.create_trial(
            params=dict(self.space.params(told.genome)),
            distributions=dict(self.distributions),
            values=told.point,
            system_attrs=told.notes,
        )

    def _running(self, genome: np.ndarray) -> optuna.trial.FrozenTrial:
        return optuna.create_trial(
            state=TrialState.RUNNING,
            params=dict(self.space.params(genome)),
            distributions=dict(self.distributions),
            system_attrs=self.notes.get(genome.tobytes(), {}),
        )

    def learn(self, genomes: list[np.ndarray], points: list[Point]) -> None:
        """Remember the trials; the sampler reads them at the next ask."""
        self._adopt([genome for genome in genomes if genome.tobytes() not in self.notes])
        for genome, point in zip(genomes, points, strict=True):
            self.told.append(Told(genome, point, self.notes[genome.tobytes()]))
        for genome in genomes:
            self.notes.pop(genome.tobytes(), None)

    def _adopt(self, genomes: list[np.ndarray]) -> None:
        """Let the sampler note what it needs about genomes that were not its own, such as base criteria."""
        if not genomes:
            return
        with quiet_optuna():
            study = self._study()
            for genome in genomes:
                study.enqueue_trial(dict(self.space.params(genome)))
                self._ask(study)

    def state(self) -> State:
        """Return the told trials and the notes on those asked and not yet told."""
        return {
            "told": [[told.genome.tolist(), plain(told.point), told.notes] for told in self.told],
            "pending": [[np.frombuffer(key).tolist(), notes] for key, notes in self.notes.items()],
        }

    def restore(self, state: State) -> None:
        """Take up what `state` returned."""
        self.told = [Told(np.array(genome), as_point(fitness), dict(notes)) for genome, fitness, notes in state["told"]]
        self.notes = {np.array(genome).tobytes(): dict(notes) for genome, notes in state["pending"]}


@register_algorithm
class TPE(Sampling):
    """Draws where a density fitted to the better trials outweighs one fitted to the others."""

    name = "tpe"
    source = "Bergstra et al., NeurIPS 2011; Optuna's TPESampler (Akiba et al., KDD 2019)"

    def sampler(self, seed: int) -> BaseSampler:
        """Return the sampler for genes that depend on each other, and for several asked at once."""
        return TPESampler(seed=seed, multivariate=True, constant_liar=True)


@register_algorithm
class NSGAII(Sampling):
    """Crosses parents that win a tournament by the front they are on.

    How often it crosses and mutates is left to Optuna: nine of ten, and one gene of each on average.
    """

    name = "nsgaii"
    source = "Deb et al., IEEE Transactions on Evolutionary Computation 2002; Optuna's NSGAIISampler"
    several_objectives = True

    def sampler(self, seed: int) -> BaseSampler:
        """Return the sampler for the population of the settings."""
        return NSGAIISampler(seed=seed, population_size=self.settings.population)


@register_algorithm
class Random(Sampling):
    """Draws evenly from the unit cube and learns nothing."""

    name = "random"
    source = "Bergstra and Bengio, JMLR 2012; Optuna's RandomSampler"

    def sampler(self, seed: int) -> BaseSampler:
        """Return the sampler."""
        return RandomSampler(seed=seed)


@register_algorithm
class SampledCmaEs(Sampling):
    """Draws from a normal distribution that moves towards what is fit, started around the best that it was told.

    Optuna notes pickles for it, and no state may hold one. So the state is `log`, all asks and tells in order: a
    restored one is asked and told the same again, without any evaluation, and so comes to the same notes.
    Raises BlendsearchError for a population of less than four.
    """

    name = "cmaes"
    in_window = False
    source = "Hansen and Ostermeier, Evolutionary Computation 2001; Nomura et al., AAAI 2021; Optuna's CmaEsSampler"

    def __init__(self, *args: Any, **shared: Any) -> None:
        super().__init__(*args, **shared)
        self.log: list[dict[str, Any]] = []
        if self.settings.population < FEWEST_FOR_CMA_ES:
            raise BlendsearchError(
                f"population {self.settings.population} given, algorithm 'cmaes' needs {FEWEST_FOR_CMA_ES} or more"
            )

    def sampler(self, seed: int) -> BaseSampler:
        """Return the sampler with a start of ours."""
        return WarmCmaEs(seed, self.settings.population)

    def propose(self, n: int) -> list[np.ndarray]:
        """Return what the sampler draws next."""
        self.log.append({"asked": self.asked, "ask": n})
        return super().propose(n)

    def learn(self, genomes: list[np.ndarray], points: list[Point]) -> None:
        """Remember the trials; the sampler reads them at the next ask."""
        told = [[genome.tolist(), plain(point)] for genome, point in zip(genomes, points, strict=True)]
        self.log.append({"asked": self.asked, "tell": told})
        super().learn(genomes, points)

    def state(self) -> State:
        """Return what was asked and told."""
        return {"log": list(self.log)}

    def restore(self, state: State) -> None:
        """Ask and tell the same again, from nothing."""
        asked = self.asked
        self.told, self.notes, self.log = [], {}, []
        for entry in state["log"]:
            self.asked = entry["asked"]
            if "ask" in entry:
                self.propose(entry["ask"])
            else:
                genomes, fitnesses = zip(*entry["tell"], strict=True) if entry["tell"] else ((), ())
                self.learn([np.array(genome) for genome in genomes], [as_point(fitness) for fitness in fitnesses])
        self.asked = asked
