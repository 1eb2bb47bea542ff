"""Optuna's CMA-ES, started from what a search was told before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler
from optuna.trial import FrozenTrial, TrialState

FEWEST = 10
"""Of fewer trials the best tenth, which the warm start takes, is none."""

MOST_GENES = 150
"""With more, the determinant that the warm start divides by is too small for a float."""


class WarmCmaEs(BaseSampler):
    """Optuna's sampler; where it starts is decided by the study's trials that it did not draw itself.

    That is around the best tenth of them, with a deviation of at least 0.1. Without enough of them, or with more than
    MOST_GENES genes, it starts in the middle of the cube with a deviation of 1/6. population: genomes it learns from at
    once. For one study.
    Source: Hansen and Ostermeier, Evolutionary Computation 2001; Nomura et al., AAAI 2021 (warm start).
    """

    def __init__(self, seed: int, population: int) -> None:
        self.seed, self.population = seed, population
        self.inner: CmaEsSampler | None = None

    def _started(self, study: Study) -> CmaEsSampler:
        if self.inner is None:
            options: dict[str, Any] = {"seed": self.seed, "popsize": self.population}
            trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            start = [trial for trial in trials if "cma:generation" not in trial.system_attrs]
            if len(start) >= FEWEST and len(start[0].params) <= MOST_GENES:
                options["source_trials"] = start
            self.inner = CmaEsSampler(**options, warn_independent_sampling=False)
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
