"""Trials written all at once, against Optuna's own way of adding them: row by row of every table."""

from __future__ import annotations

import datetime
import sqlite3

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from sqlalchemy.event import listen

from blendsearch.errors import RunError
from blendsearch.evolution.ledger import Ledger
from blendsearch.evolution.trial_rows import write_trial

STATES = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]


def trials():
    """Return trials of every kind that the ledger writes."""
    made = []
    for number, state in enumerate(STATES):
        params = {"network/alpha": number / 7, f"{'long name ' * 9}{number}": 1.0, "zero": 0.0}
        trial = optuna.create_trial(
            state=state,
            params=params,
            distributions={name: FloatDistribution(0.0, 1.0) for name in params},
            values=None if state is TrialState.FAIL else [0.1 + number, 1e-300],
            user_attrs={"plan": "0f", "passes": number, "repeated": False, "kind": None, "says": "ä \"'"},
            system_attrs={"blendsearch:number": number},
            intermediate_values={1: 0.25, 3: 1 / 3} if number else {},
        )
        trial.datetime_start = trial.datetime_complete - datetime.timedelta(seconds=1.5)
        made.append(trial)
    return made


def written(path, write):
    """Return every row of every table of a new database after a study's trials were written, and another's between."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    directions = [optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE]
    studies = [optuna.create_study(storage=storage, study_name=name, directions=directions) for name in ("a", "b")]
    for trial in trials():
        for study in studies:
            write(storage, study, trial)
    storage.remove_session()
    storage.engine.dispose()
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=str) for name in names}
    connection.close()
    return found


def test_the_rows_are_those_that_optuna_writes(tmp_path):
    def ours(storage, study, trial):
        write_trial(storage, storage.get_study_id_from_name(study.study_name), trial)

    theirs = written(tmp_path / "theirs.db", lambda storage, study, trial: study.add_trial(trial))
    mine = written(tmp_path / "ours.db", ours)
    assert mine.keys() == theirs.keys()
    times = {"trials"}  # their times are apart by what writing took
    for table in mine.keys() - times:
        assert mine[table] == theirs[table], table
    columns = [row[:4] for row in theirs["trials"]]
    assert [row[:4] for row in mine["trials"]] == columns
    assert len(columns) == 2 * len(STATES)


def test_times_are_those_of_the_trial(tmp_path):
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/trials.db")
    study = optuna.create_study(storage=storage)
    trial = trials()[2]
    write_trial(storage, storage.get_study_id_from_name(study.study_name), trial)
    found = study.trials[0]
    assert (found.datetime_start, found.datetime_complete) == (trial.datetime_start, trial.datetime_complete)
    assert (found.params, found.user_attrs, found.state) == (trial.params, trial.user_attrs, TrialState.FAIL)


@pytest.mark.parametrize("earlier", [3, 40])
def test_a_trial_takes_as_many_questions_whatever_went_before(tmp_path, earlier):
    """Also with names of genes that no trial before had, as when a search goes on with other units."""
    ledger = Ledger(f"sqlite:///{tmp_path}/trials.db", "digits")
    for number in range(earlier):
        ledger.record(number, 0, {f"gene {number}": 0.5}, 0.5, 0.1)
    asked = []
    listen(ledger._storage.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    ledger.record(earlier, 0, {f"new {gene}": 0.5 for gene in range(60)}, 0.5, 0.1)
    assert len(asked) == 7, asked


def test_a_study_that_is_gone_is_told_in_one_line(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db"
    ledger = Ledger(url, "digits")
    optuna.delete_study(study_name="digits", storage=url)
    with pytest.raises(RunError, match="cannot record trial 0") as told:
        ledger.record(0, 0, {"x": 0.5}, 0.5, 0.1)
    assert "\n" not in str(told.value)
