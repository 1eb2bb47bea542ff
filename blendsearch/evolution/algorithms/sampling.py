"""Search with Optuna's samplers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from blendsearch.compute import child_seed
from blendsearch.errors import BlendsearchError, unknown_name
from blendsearch.evolution.algorithms.base import BACKENDS, Backend, Settings, as_point, only_one_objective, plain
from blendsearch.evolution.algorithms.warm_cma_es import WarmCmaEs
from blendsearch.evolution.optuna_logging import quiet_optuna
from blendsearch.evolution.pareto import Point

SAMPLERS: dict[str, Callable[[int, Settings], BaseSampler]] = {
    "tpe": lambda seed, settings: TPESampler(seed=seed, multivariate=True, constant_liar=True),
    "nsgaii": lambda seed, settings: NSGAIISampler(seed=seed, population_size=settings.population),
    "gp": lambda seed, settings: GPSampler(seed=seed, warn_independent_sampling=False),
    "random": lambda seed, settings: RandomSampler(seed=seed),
    "cmaes": lambda seed, settings: WarmCmaEs(seed, settings.population),
}

FEWEST_FOR_CMA_ES = 4
"""Of fewer genomes its better half is one alone, from which the library can learn no shape: it divides by zero."""

REPLAYED = frozenset({"cmaes"})
"""Samplers that note pickles; no state may hold one, so theirs is what was asked and told, to be done again."""


@dataclass(frozen=True)
class Told:
    """A genome with its point and what the sampler noted about it when it was asked."""

    genome: np.ndarray
    point: Point
    notes: dict[str, Any]


@BACKENDS.register("optuna")
class Sampling(Backend):
    """One of Optuna's samplers, over an in-memory study built anew from what was told, at every ask.

    The sampler is seeded by how many genomes have been asked. So the told trials are the whole state, and a
    restored search goes on exactly. Of samplers in REPLAYED the state is `log`, all asks and tells in order: a restored
    one is asked and told the same again, without any evaluation, and so comes to the same notes.
    Source: Akiba et al., KDD 2019 (Optuna).
    """

    name = "optuna"
    choices: ClassVar = {"sampler": tuple(SAMPLERS)}

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.distributions = {name: FloatDistribution(0.0, 1.0) for name in self.space.names}
        self.told: list[Told] = []
        self.notes: dict[bytes, dict[str, Any]] = {}
        self.log: list[dict[str, Any]] = []

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Raise BlendsearchError for an unknown sampler, too small a population, or several objectives for one."""
        if settings.sampler not in SAMPLERS:
            raise unknown_name("sampler", settings.sampler, SAMPLERS, "search.sampler")
        if settings.sampler == "cmaes" and settings.population < FEWEST_FOR_CMA_ES:
            raise BlendsearchError(
                f"population {settings.population} given, sampler 'cmaes' needs {FEWEST_FOR_CMA_ES} or more"
            )
        if settings.sampler != "nsgaii":
            only_one_objective(settings, f"sampler '{settings.sampler}'")

    def propose(self, n: int) -> list[np.ndarray]:
        """Return what the sampler draws next."""
        self.log.append({"asked": self.asked, "ask": n})
        with quiet_optuna():
            study = self._study()
            return [self._ask(study) for _ in range(n)]

    def _ask(self, study: optuna.Study) -> np.ndarray:
        trial = study.ask(dict(self.distributions))
        genome = np.clip([trial.params[name] for name in self.space.names], 0.0, 1.0)
        self.notes[genome.tobytes()] = dict(study.get_trials(deepcopy=False)[trial.number].system_attrs)
        return genome

    def _study(self) -> optuna.Study:
        sampler_seed = child_seed(self.seed, "sampling", self.asked) % 2**32
        sampler = SAMPLERS[self.settings.sampler](sampler_seed, self.settings)
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

    def learn(self, genomes: list[np.ndarray], points: list[Point]) -> None:
        """Remember the trials; the sampler reads them at the next ask."""
        told = [[genome.tolist(), plain(point)] for genome, point in zip(genomes, points, strict=True)]
        self.log.append({"asked": self.asked, "tell": told})
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

    def state(self) -> dict[str, Any]:
        """Return the told trials and the notes on those asked and not yet told; for some samplers the log instead."""
        if self.settings.sampler in REPLAYED:
            return {"sampler": self.settings.sampler, "log": list(self.log)}
        return {
            "sampler": self.settings.sampler,
            "told": [[told.genome.tolist(), plain(told.point), told.notes] for told in self.told],
            "pending": [[np.frombuffer(key).tolist(), notes] for key, notes in self.notes.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned; BlendsearchError when it is of another sampler."""
        given, own = state.get("sampler"), self.settings.sampler
        if given != own:
            raise BlendsearchError(f"search state: sampler: {given!r} given, {own!r} expected")
        if own in REPLAYED:
            self._replay(state["log"])
            return
        self.told = [Told(np.array(genome), as_point(fitness), dict(notes)) for genome, fitness, notes in state["told"]]
        self.notes = {np.array(genome).tobytes(): dict(notes) for genome, notes in state["pending"]}

    def _replay(self, log: list[dict[str, Any]]) -> None:
        """Ask and tell the same again, from nothing."""
        asked = self.asked
        self.told, self.notes, self.log = [], {}, []
        for entry in log:
            self.asked = entry["asked"]
            if "ask" in entry:
                self.propose(entry["ask"])
            else:
                genomes, fitnesses = zip(*entry["tell"], strict=True) if entry["tell"] else ((), ())
                self.learn([np.array(genome) for genome in genomes], [as_point(fitness) for fitness in fitnesses])
        self.asked = asked
