"""The ledger, read back through Optuna itself."""

from __future__ import annotations

import logging
import sqlite3

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.event import listen

from blendsearch.errors import RunError
from blendsearch.evolution.failure import FAILED
from blendsearch.evolution.ledger import Ledger, Trial

PARAMS = {"network/cluster0/member": 0.1, "network/cluster0/factor": 1.0}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/trials.db"


def test_trials_come_back(url):
    ledger = Ledger(url, "digits")
    ledger.record(0, 0, PARAMS, 0.5, 1.25, {"kind": "base", "criterion": "l1"})
    ledger.record(1, 3, PARAMS, 0.75, 0.5)
    assert len(ledger.trials()) == 2
    assert ledger.trials() == [
        Trial(0, 0, PARAMS, 0.5, 1.25, {"kind": "base", "criterion": "l1"}),
        Trial(1, 3, PARAMS, 0.75, 0.5, {}),
    ]


def test_resuming_repeats_nothing(url):
    first = Ledger(url, "digits")
    for number in range(3):
        first.record(number, 0, PARAMS, number / 10, 0.1)
    first.close()
    second = Ledger(url, "digits")
    assert len(second.trials()) == 3
    for number in range(4):
        second.record(number, 0, PARAMS, number / 10, 0.1)
    second.record(3, 0, PARAMS, 0.9, 0.1)
    assert [trial.value for trial in second.trials()] == [0.0, 0.1, 0.2, 0.3]


def test_optuna_reads_it(url):
    ledger = Ledger(url, "digits")
    ledger.record(0, 0, PARAMS, 0.5, 2.0)
    ledger.record(1, 1, PARAMS, 0.25, 2.0)
    study = optuna.load_study(study_name="digits", storage=url)
    assert study.best_value == 0.5
    assert study.trials[1].user_attrs == {"generation": 1, "seconds": 2.0}
    assert study.trials[0].params == PARAMS
    assert study.trials[0].duration.total_seconds() == pytest.approx(2.0, abs=1e-3)


def test_climbs_are_optunas_intermediate_values(url):
    for _ in range(2):  # the second time repeats nothing
        ledger = Ledger(url, "digits-finals")
        ledger.record_climb(0, PARAMS, [0.5, 0.75], rungs=2, seconds=3.0, attrs={"stopped": "won"})
        ledger.record_climb(1, PARAMS, [0.8], rungs=2, seconds=1.0, attrs={"stopped": "clearly worse"})
        ledger.close()
    study = optuna.load_study(study_name="digits-finals", storage=url)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert [trial.intermediate_values for trial in study.trials] == [{1: 0.5, 2: 0.75}, {1: 0.8}]
    assert study.best_trial.number == 0
    assert Ledger(url, "digits-finals").trials() == [
        Trial(0, 2, PARAMS, 0.75, 3.0, {"stopped": "won"}),
        Trial(1, 1, PARAMS, 0.8, 1.0, {"stopped": "clearly worse"}),
    ]


def test_a_failed_trial_is_one_of_optunas_failures_with_its_reason(url):
    for _ in range(2):  # the second time repeats nothing
        ledger = Ledger(url, "digits")
        ledger.record(0, 0, PARAMS, 0.5, 0.1)
        ledger.record_failure(1, 0, PARAMS, "ran out of memory 2 times", {"plan": "abc"})
        ledger.record(2, 1, PARAMS, 0.25, 0.1)
        ledger.close()
    study = optuna.load_study(study_name="digits", storage=url)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert study.best_trial.number == 0
    failed = Trial(1, 0, PARAMS, FAILED, 0.0, {"plan": "abc"}, failure="ran out of memory 2 times")
    assert Ledger(url, "digits").trials()[1] == failed


def test_a_failed_trial_of_another_program_is_still_refused(url):
    Ledger(url, "digits").close()
    optuna.load_study(study_name="digits", storage=url).add_trial(optuna.create_trial(state=TrialState.FAIL))
    with pytest.raises(RunError, match="trial 0 was not recorded by blendsearch"):
        Ledger(url, "digits").trials()


def test_a_full_disk_is_told_in_the_words_of_the_database(url):
    ledger = Ledger(url, "digits")
    ledger.record(0, 0, PARAMS, 0.5, 0.1)
    engine = ledger._storage.engine
    listen(engine, "connect", lambda connection, record: connection.execute("PRAGMA max_page_count = 1"))
    engine.dispose()
    with pytest.raises(
        RunError, match=r"cannot record trial 1, continue with --resume .*database or disk is full"
    ) as told:
        ledger.record(1, 0, {**PARAMS, "x" * 20_000: 0.5}, 0.5, 0.1)
    assert "\n" not in str(told.value)
    assert [trial.number for trial in Ledger(url, "digits").trials()] == [0]


def test_a_locked_database_is_told_in_one_line(url, tmp_path, monkeypatch):
    monkeypatch.setattr("blendsearch.evolution.database.PATIENCE", 0.5)
    monkeypatch.setattr("blendsearch.evolution.database.LOCKED_SECONDS", 0.1)
    ledger = Ledger(url, "digits")
    other = sqlite3.connect(tmp_path / "trials.db")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RunError, match="database is locked") as told:
        ledger.record(0, 0, PARAMS, 0.5, 0.1)
    other.close()
    assert "\n" not in str(told.value)


def test_studies_of_one_storage_are_apart(url):
    one, other = Ledger(url, "one"), Ledger(url, "other")
    one.record(0, 0, PARAMS, 0.5, 0.1)
    other.record(0, 0, PARAMS, 0.6, 0.1)
    assert [trial.value for trial in Ledger(url, "other").trials()] == [0.6]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"number": 2}, "the next trial is 0"),
        ({"value": float("nan")}, "value nan"),
        ({"attrs": {"seconds": 1}}, "may not hold seconds"),
        ({"attrs": {"plan": {1, 2}}}, "plain JSON"),
    ],
)
def test_clear_errors(url, arguments, message):
    given = {"number": 0, "generation": 0, "genome_params": PARAMS, "value": 0.5, "seconds": 0.1, **arguments}
    ledger = Ledger(url, "digits")
    with pytest.raises(RunError, match=message):
        ledger.record(**given)
    assert len(ledger.trials()) == 0


@pytest.mark.parametrize("bad", ["nonsense", "sqlite:////nowhere/at/all/trials.db", "nodialect://x/y"])
def test_storages_that_cannot_be_opened(bad):
    with pytest.raises(RunError, match="cannot open the ledger") as error:
        Ledger(bad, "digits")
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "trials.db").write_text("not a database, certainly " * 100)
    with pytest.raises(RunError, match="cannot open the ledger"):
        Ledger(f"sqlite:///{tmp_path}/trials.db", "digits")


def test_errors_do_not_show_passwords():
    with pytest.raises(RunError) as error:
        Ledger("nodialect://user:secret@host/base", "digits")
    assert "secret" not in str(error.value)
    assert "host/base" in str(error.value)


def test_a_trial_of_another_program_is_named(url):
    ledger = Ledger(url, "digits")
    optuna.load_study(study_name="digits", storage=url).add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(RunError, match="trial 0 was not recorded by blendsearch"):
        ledger.trials()


def test_it_is_silent_and_leaves_optunas_verbosity(url, capfd):
    before = optuna.logging.get_verbosity()
    Ledger(url, "digits").record(0, 0, PARAMS, 0.5, 0.1)
    assert optuna.logging.get_verbosity() == before
    assert logging.getLogger("optuna").level == before
    assert "".join(capfd.readouterr()) == ""
