"""Optuna's CMA-ES, started from what a search was told before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler
from optuna.trial import FrozenTrial, TrialState

FEWEST = 10
"""Of fewer trials the best tenth, which the warm start takes, is none; they count several times then."""

MOST_GENES = 150
"""With more, the determinant that the warm start divides by is too small for a float."""


class WarmCmaEs(BaseSampler):
    """Optuna's sampler; where it starts is decided by the study's trials that it did not draw itself.

    That is around the best tenth of them (of few the best alone), with a deviation of at least 0.1; with more than
    MOST_GENES genes around the best alone, with a deviation of 1/6. population: genomes it learns from at once. For one
    study.
    Source: Hansen and Ostermeier, Evolutionary Computation 2001; Nomura et al., AAAI 2021 (warm start).
    """

    def __init__(self, seed: int, population: int) -> None:
        self.seed, self.population = seed, population
        self.inner: CmaEsSampler | None = None

    def _started(self, study: Study) -> CmaEsSampler:
        if self.inner is None:
            trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            start = [trial for trial in trials if "cma:generation" not in trial.system_attrs]
            self.inner = CmaEsSampler(
                seed=self.seed, popsize=self.population, warn_independent_sampling=False, **_start_around(start)
            )
        return self.inner

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the genes that all trials share, as Optuna's sampler does."""
        return self._started(study).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a genome drawn from the distribution."""
        return self._started(study).sample_relative(study, trial, dict(search_space))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a gene drawn at random, before any trial was told."""
        return self._started(study).sample_independent(study, trial, param_name, param_distribution)


def _start_around(trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Return the sampler's options that make it start around the best of trials; none before there are any."""
    if not trials:
        return {}
    if len(trials[0].params) > MOST_GENES:
        return {"x0": max(trials, key=lambda trial: trial.values[0]).params}
    return {"source_trials": [*trials] * math.ceil(FEWEST / len(trials))}
