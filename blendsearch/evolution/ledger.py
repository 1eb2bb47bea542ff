"""The ledger: every trial of a search in an Optuna storage, which optuna-dashboard and our report read."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import OptunaError
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from blendsearch.errors import RunError
from blendsearch.evolution.claims import alone_in_creation
from blendsearch.evolution.database import Database, cannot_open
from blendsearch.evolution.failure import FAILED
from blendsearch.evolution.optuna_logging import quiet_optuna
from blendsearch.evolution.trial_rows import write_trial
from blendsearch.progress import Progress, silent

T = TypeVar("T")
NUMBER = "blendsearch:number"
"""The system attribute that holds a trial's number; a trial that was written twice, since a connection broke before
the server's answer came, has the same one twice."""

WHY = "failed"
"""The attribute of a failed trial that says why."""


@dataclass(frozen=True)
class Trial:
    """One evaluated genome.

    number: from 0, without gaps. params: gene name -> value in [0, 1]. value: fitness. attrs: plain JSON.
    costs: kept shares, where the study has costs beside the fitness. failure: why there is no fitness; the value is
    FAILED then, and there are no costs.
    """

    number: int
    generation: int
    params: dict[str, float]
    value: float
    seconds: float
    attrs: dict[str, Any] = field(default_factory=dict)
    costs: tuple[float, ...] = ()
    failure: str | None = None


class Ledger:
    """The trials of one study, which is maximised; whichever algorithm proposed them, they are recorded alike.

    costs: names of kept shares that are minimised beside; optuna-dashboard then draws the Pareto front.
    database: where it is; a text is an address as in a space. One process writes at a time; guard: raises RunError
    where that is no longer this one, and is called before a trial is written. While a database that worked does not
    answer it is tried again, which `progress` is told.
    Raises RunError when the storage cannot be opened or read.
    """

    def __init__(
        self,
        database: Database | str,
        study_name: str,
        costs: Sequence[str] = (),
        *,
        guard: Callable[[], None] = lambda: None,
        progress: Progress = silent,
    ) -> None:
        self.database = Database.at(database) if isinstance(database, str) else database
        self.where, self.guard, self.progress = self.database.shown, guard, progress
        try:
            with quiet_optuna():
                self._storage = self._patiently(self._open)
                self._study = self._patiently(lambda: self._load(study_name, costs))
                self._study_id = self._patiently(lambda: self._storage.get_study_id_from_name(study_name))
                self._count = len(self._patiently(self._found))
        except (SQLAlchemyError, OptunaError, ImportError, ValueError, RuntimeError) as error:
            raise cannot_open(self.where, self.database.reason(error)) from None

    def _open(self) -> optuna.storages.RDBStorage:
        """Open the storage; of several processes that begin in an empty database, one makes the tables."""
        with self.database.engine().begin() as connection:
            alone_in_creation(connection)
            url = self.database.url.render_as_string(hide_password=False)
            return optuna.storages.RDBStorage(url, engine_kwargs=self.database.options())

    def _load(self, study_name: str, costs: Sequence[str]) -> optuna.Study:
        study = optuna.create_study(
            storage=self._storage, study_name=study_name, load_if_exists=True,
            directions=[StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE for _ in costs]],
        )  # fmt: skip
        if costs:
            study.set_metric_names(["proxy", *(f"{name} kept" for name in costs)])
        return study

    def _found(self) -> list[optuna.trial.FrozenTrial]:
        """Return the trials as Optuna has them, in order of their numbers, each once."""
        found: dict[int, optuna.trial.FrozenTrial] = {}
        for frozen in self._study.get_trials(deepcopy=False):
            found.setdefault(frozen.system_attrs.get(NUMBER, frozen.number), frozen)
        return [found[number] for number in sorted(found)]

    def _patiently(self, action: Callable[[], T]) -> T:
        return self.database.patiently(action, self.progress)

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Say in one line what could not be done with the storage, and keep Optuna quiet meanwhile."""
        try:
            with quiet_optuna():
                yield
        except (SQLAlchemyError, OptunaError, ImportError, ValueError, RuntimeError) as error:
            raise RunError(f"{self.where}: {what} ({self.database.reason(error)})") from None

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

    def record_failure(
        self,
        number: int,
        generation: int,
        genome_params: Mapping[str, float],
        reason: str,
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        """Record a trial that came to no value as `record` does, failed in Optuna's words; reason: in ours."""
        self._add(number, generation, genome_params, None, 0.0, {**(attrs or {}), WHY: reason}, state=TrialState.FAIL)

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
        values: Sequence[float] | None,
        seconds: float,
        attrs: Mapping[str, Any],
        **more: Any,
    ) -> None:
        if number < self._count:
            return
        self._check(number, values or (), attrs)
        trial = optuna.create_trial(
            params=dict(genome_params),
            distributions={name: FloatDistribution(0.0, 1.0) for name in genome_params},
            values=None if values is None else list(values),
            user_attrs={**attrs, "generation": generation, "seconds": seconds},
            system_attrs={NUMBER: number},
            **more,
        )
        # The dashboard shows how long trials took by these two times.
        assert trial.datetime_complete is not None
        trial.datetime_start = trial.datetime_complete - datetime.timedelta(seconds=seconds)

        tries = 0

        def write() -> None:
            nonlocal tries
            tries += 1
            if tries == 1 or len(self._found()) <= number:  # else the first try did it, and its answer was lost
                write_trial(self._storage, self._study_id, trial)

        self.guard()
        with self._errors(f"cannot record trial {number}, continue with --resume when it can be written"):
            self._patiently(write)
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
            found = self._patiently(self._found)
        for frozen in found:
            known = frozen.values is not None or (frozen.state is TrialState.FAIL and WHY in frozen.user_attrs)
            if not known or not {"generation", "seconds"} <= set(frozen.user_attrs):
                raise RunError(f"{self.where}: trial {frozen.number} was not recorded by blendsearch")
        return [_trial(number, frozen) for number, frozen in enumerate(found)]

    def close(self) -> None:
        """Release the storage's connections; the ledger is of no use afterwards."""
        self._storage.remove_session()
        self._storage.engine.dispose()


def _trial(number: int, frozen: optuna.trial.FrozenTrial) -> Trial:
    attrs = dict(frozen.user_attrs)
    generation, seconds = int(attrs.pop("generation")), float(attrs.pop("seconds"))
    if frozen.state is TrialState.FAIL:
        why = attrs.pop(WHY)
        return Trial(number, generation, dict(frozen.params), FAILED, seconds, attrs, failure=why)
    value, *costs = frozen.values
    return Trial(number, generation, dict(frozen.params), value, seconds, attrs, tuple(costs))
