"""The ledger: every trial of a search in an Optuna storage, which optuna-dashboard and our report read."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import OptunaError
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from blendsearch.errors import RunError, first_line
from blendsearch.evolution.optuna_logging import quiet_optuna


@dataclass(frozen=True)
class Trial:
    """One evaluated genome.

    number: from 0, without gaps. params: gene name -> value in [0, 1]. value: fitness. attrs: plain JSON.
    costs: kept shares, where the study has costs beside the fitness.
    """

    number: int
    generation: int
    params: dict[str, float]
    value: float
    seconds: float
    attrs: dict[str, Any] = field(default_factory=dict)
    costs: tuple[float, ...] = ()


class Ledger:
    """The trials of one study, which is maximised; whichever algorithm proposed them, they are recorded alike.

    costs: names of kept shares that are minimised beside; optuna-dashboard then draws the Pareto front.
    storage_url: as SQLAlchemy has it, such as sqlite:///runs/digits/trials.db. One process writes at a time.
    Raises RunError when the storage cannot be opened or read.
    """

    def __init__(self, storage_url: str, study_name: str, costs: Sequence[str] = ()) -> None:
        self.where = _shown(storage_url)
        with self._errors("cannot open the ledger"):
            self._storage = optuna.storages.RDBStorage(storage_url)
            self._study = optuna.create_study(
                storage=self._storage, study_name=study_name, load_if_exists=True,
                directions=[StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE for _ in costs]],
            )  # fmt: skip
            if costs:
                self._study.set_metric_names(["proxy", *(f"{name} kept" for name in costs)])
            self._count = len(self._study.get_trials(deepcopy=False))

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Say in one line what could not be done with the storage, and keep Optuna quiet meanwhile."""
        try:
            with quiet_optuna():
                yield
        except (SQLAlchemyError, OptunaError, ImportError, ValueError, RuntimeError) as error:
            reason = first_line(error)
            raise RunError(f"{self.where}: {what} ({reason})") from None

    def record(
        self,
        number: int,
        generation: int,
        genome_params: Mapping[str, float],
        value: float,
        seconds: float,
        attrs: Mapping[str, Any] | None = None,
        costs: Sequence[float] = (),
    ) -> None:
        """Record a trial; a number that is there already is left as it is, so resuming repeats nothing.

        genome_params: gene name -> value in [0, 1]. attrs: plain JSON values, shown by optuna-dashboard. costs: the
        kept shares, where the ledger was opened with names of costs.
        Raises RunError when trials before `number` are missing, for a value that is not finite, or when the
        storage cannot be written.
        """
        self._add(number, generation, genome_params, (value, *costs), seconds, attrs or {})

    def record_climb(
        self,
        number: int,
        genome_params: Mapping[str, float],
        accuracies: Sequence[float],
        *,
        rungs: int,
        seconds: float,
        attrs: Mapping[str, Any],
    ) -> None:
        """Record a trial of several rungs as `record` does; its accuracies are Optuna's intermediate values.

        accuracies: of the rungs it climbed, the first one step 1; the last one is its value, and their number its
        generation. Below `rungs` of them it is pruned, in Optuna's words.
        """
        state = TrialState.COMPLETE if len(accuracies) >= rungs else TrialState.PRUNED
        steps = dict(enumerate(map(float, accuracies), start=1))
        more: dict[str, Any] = {"state": state, "intermediate_values": steps}
        self._add(number, len(steps), genome_params, (accuracies[-1],), seconds, attrs, **more)

    def _add(
        self,
        number: int,
        generation: int,
        genome_params: Mapping[str, float],
        values: Sequence[float],
        seconds: float,
        attrs: Mapping[str, Any],
        **more: Any,
    ) -> None:
        if number < self._count:
            return
        self._check(number, values, attrs)
        trial = optuna.create_trial(
            params=dict(genome_params),
            distributions={name: FloatDistribution(0.0, 1.0) for name in genome_params},
            values=list(values),
            user_attrs={**attrs, "generation": generation, "seconds": seconds},
            **more,
        )
        # The dashboard shows how long trials took by these two times.
        assert trial.datetime_complete is not None
        trial.datetime_start = trial.datetime_complete - datetime.timedelta(seconds=seconds)
        with self._errors(f"cannot record trial {number}"):
            self._study.add_trial(trial)
        self._count += 1

    def _check(self, number: int, values: Sequence[float], attrs: Mapping[str, Any]) -> None:
        where = f"{self.where}: trial {number}"
        if number > self._count:
            raise RunError(f"{where}: the next trial is {self._count}; some are missing")
        for value in values:
            if not math.isfinite(value):
                raise RunError(f"{where}: value {value} given, a finite number expected")
        taken = sorted({"generation", "seconds"} & set(attrs))
        if taken:
            raise RunError(f"{where}: attrs may not hold {', '.join(taken)}")
        try:
            json.dumps(dict(attrs))
        except (TypeError, ValueError) as error:
            raise RunError(f"{where}: attrs must be plain JSON ({error})") from None

    def trials(self) -> list[Trial]:
        """Return all trials in the order of their numbers; RunError for one that another program added."""
        with self._errors("cannot read the trials"):
            found = self._study.get_trials(deepcopy=False)
        for frozen in found:
            if frozen.values is None or not {"generation", "seconds"} <= set(frozen.user_attrs):
                raise RunError(f"{self.where}: trial {frozen.number} was not recorded by blendsearch")
        return [_trial(frozen) for frozen in found]

    def close(self) -> None:
        """Release the storage's connections; the ledger is of no use afterwards."""
        self._storage.remove_session()
        self._storage.engine.dispose()


def _trial(frozen: optuna.trial.FrozenTrial) -> Trial:
    attrs = dict(frozen.user_attrs)
    generation, seconds = int(attrs.pop("generation")), float(attrs.pop("seconds"))
    value, *costs = frozen.values
    return Trial(frozen.number, generation, dict(frozen.params), value, seconds, attrs, tuple(costs))


def _shown(storage_url: str) -> str:
    """Return the URL without its password."""
    try:
        return make_url(storage_url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "search.storage"
