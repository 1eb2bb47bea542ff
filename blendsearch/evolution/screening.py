"""Who goes on from a rung: the better share and whoever may belong to it, or what a pruner of Optuna says."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import optuna
from optuna.pruners import BasePruner, PercentilePruner, SuccessiveHalvingPruner
from optuna.trial import TrialState

from blendsearch.evolution.halving import standings
from blendsearch.evolution.optuna_logging import quiet_optuna
from blendsearch.proxies import Estimate


class Judge(ABC):
    """Decides after each rung but the last who goes on. shares: of each of these rungs, what share should."""

    def __init__(self, shares: Sequence[float]) -> None:
        self.shares = tuple(shares)

    @abstractmethod
    def choose(self, rung: int, estimates: Sequence[Estimate]) -> list[str | None]:
        """Return for each candidate at a rung (from 0) why it is dropped, None for who goes on."""

    @abstractmethod
    def restore(self, history: Iterable[tuple[int, Sequence[float]]]) -> None:
        """Take up the decisions of a stopped search: rung and values of each, in the order they were made."""


class Paired(Judge):
    """The better share goes on, rounded up, and all that are not clearly worse than its last on the same images.

    Where proxies do not tell what was right image by image, the share alone decides. Earlier generations have no say.
    Source: Jamieson & Talwalkar, AISTATS 2016 (successive halving), with McNemar's test.
    """

    def choose(self, rung: int, estimates: Sequence[Estimate]) -> list[str | None]:
        share = self.shares[rung]
        keep = max(1, math.ceil(share * len(estimates) - 1e-9))
        left = f"not in the better {'half' if share == 0.5 else f'{100 * share:g} %'}"
        rights = [estimate.correct_mask[None] for estimate in estimates if estimate.correct_mask is not None]
        values = [estimate.value for estimate in estimates]
        if len(rights) < len(estimates):
            order = sorted(range(len(values)), key=lambda position: (-values[position], position))
            return [None if order.index(position) < keep else left for position in range(len(values))]
        return [
            None if one.stays or one.comparison is None
            else f"{left}, clearly worse than its last (p {one.comparison.p:.2g})"
            for one in standings(rights, values, keep)
        ]  # fmt: skip

    def restore(self, history: Iterable[tuple[int, Sequence[float]]]) -> None:
        """Take up nothing: each decision stands alone."""


class ByPruner(Judge):
    """One of Optuna's pruners decides, by what it saw at this rung in the whole search.

    Each rung has a study of its own, in memory, in which a candidate is complete when it goes on: rungs differ in
    their scale, and Optuna compares the best of all a trial's values. Candidates of a generation are reported
    together and judged in their order, so that the pruners "median" and "percentile", which compare with complete
    trials, let the first generation pass. Hyperband is not offered: its brackets differ in where they begin to
    prune, which two to four rungs leave no room for.
    Source: Akiba et al., KDD 2019 (Optuna).
    """

    def __init__(self, name: str, shares: Sequence[float]) -> None:
        super().__init__(shares)
        self.name = name
        self._begin()

    def _begin(self) -> None:
        with quiet_optuna():
            self.studies = [
                # The sampler is never asked for anything.
                optuna.create_study(
                    direction="maximize", pruner=PRUNERS[self.name](share), sampler=optuna.samplers.RandomSampler(0)
                )
                for share in self.shares
            ]

    def choose(self, rung: int, estimates: Sequence[Estimate]) -> list[str | None]:
        return self._choose(rung, [estimate.value for estimate in estimates])

    def restore(self, history: Iterable[tuple[int, Sequence[float]]]) -> None:
        """Ask the pruners the same questions again, which leaves them as they were."""
        self._begin()
        for rung, values in history:
            self._choose(rung, values)

    def _choose(self, rung: int, values: Sequence[float]) -> list[str | None]:
        study = self.studies[rung]
        with quiet_optuna():
            trials = [study.ask() for _ in values]
            for trial, value in zip(trials, values, strict=True):
                trial.report(value, step=1)
            pruned = [trial.should_prune() for trial in trials]
            for trial, value, out in zip(trials, values, pruned, strict=True):
                study.tell(trial, None if out else value, state=TrialState.PRUNED if out else TrialState.COMPLETE)
        return [f"pruned by {self.name}" if out else None for out in pruned]


PRUNERS: dict[str, Callable[[float], BasePruner]] = {
    "median": lambda share: PercentilePruner(50.0, n_startup_trials=0),
    "percentile": lambda share: PercentilePruner(100.0 * share, n_startup_trials=0),
    "successive_halving": lambda share: SuccessiveHalvingPruner(min_resource=1, reduction_factor=round(1 / share)),
}
"""Name -> Optuna's pruner for a rung that a share should go on from."""


def judge_of(name: str, shares: Sequence[float]) -> Judge:
    """Return the judge that a space names: "paired", or one of PRUNERS."""
    return Paired(shares) if name == "paired" else ByPruner(name, shares)
