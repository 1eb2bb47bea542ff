"""Claims of several processes, on SQLite and, where there is one, on a PostgreSQL server."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time

import pytest
from postgres_server import PASSWORD, running_server
from sqlalchemy import create_engine

from blendsearch.errors import RunError
from blendsearch.evolution import database as module
from blendsearch.evolution.claims import Claims
from blendsearch.evolution.database import Database
from blendsearch.evolution.ledger import Ledger


@pytest.fixture(scope="module")
def server():
    with running_server() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    if request.param == "sqlite":
        yield Database.of_file(tmp_path / "claims.db")
        return
    server = request.getfixturevalue("server")
    yield Database.at(server.address)
    server.query("TRUNCATE blendsearch_claims")


def test_one_of_two_gets_a_name_and_the_other_sees_who(database):
    first, second = Claims(database, "board"), Claims(database, "board")
    assert first.claim("a")
    assert first.claim("a")  # its own again, as a worker does in the place of one that died
    assert not second.claim("a")
    assert second.claim("b")
    holder = second.holder("a")
    assert (holder.owner, holder.pid) == (first.owner, os.getpid())
    assert abs(holder.since - time.time()) < 60
    assert list(second.others()) == ["a"]
    assert Claims(database, "another board").claim("a")


def test_what_is_done_is_not_claimed_again_and_is_noted_once(database):
    first, second = Claims(database, "board"), Claims(database, "board")
    assert first.claim("a")
    assert not second.finish("a", "of one that never held it")
    assert first.finish("a", "found")
    assert first.finish("a", "found")  # the answer to the first time was lost
    assert not first.claim("a")
    assert not second.claim("a")
    assert (second.done(), second.result("a"), second.holder("a")) == ({"a"}, "found", None)
    first.release("a")
    assert second.done() == {"a"}


def test_a_lease_runs_out_and_its_holder_learns_of_it(database):
    first, second = Claims(database, "board", lease=0.4), Claims(database, "board", lease=5.0)
    assert first.claim("a")
    assert first.still_held("a")
    assert not second.claim("a")
    time.sleep(0.5)
    assert first.still_held("a")  # nobody took it
    time.sleep(0.5)
    assert second.claim("a")
    assert not first.still_held("a")
    assert not first.finish("a", "too late")
    assert second.finish("a", "found")


def test_leases_are_renewed_and_given_back(database):
    other = Claims(database, "board", lease=0.4)
    with Claims(database, "board", lease=0.4) as claims:
        assert claims.claim("a")
        time.sleep(1.0)
        assert not other.claim("a")
    assert other.claim("a")


def test_all_agree_on_what_was_noted_first(database):
    first, second = Claims(database, "board"), Claims(database, "board")
    assert first.agree("network", "1f") == "1f"
    assert second.agree("network", "2e") == "1f"
    assert first.claim("cell")
    assert second.agree("cell", "found before") == "found before"
    assert not first.claim("cell")


def test_only_one_is_at_it_alone_and_the_other_says_whom_it_waits_for(database, monkeypatch):
    monkeypatch.setattr("blendsearch.evolution.claims.LOOKS", 0.05)
    said, order = [], []
    first, second = Claims(database, "board"), Claims(database, "board", lambda *report: said.append(report[3]))

    def work():
        with second.alone("network", "preparing"):
            order.append("second")

    with first.alone("network", "preparing"):
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert len(said) == 1
    assert f"pid {os.getpid()} since 2" in said[0]
    assert said[0].endswith(", which is preparing")


def test_workers_claim_in_the_name_of_their_process(database):
    claims, other = Claims(database, "board"), Claims(database, "board")
    worker = pickle.loads(pickle.dumps(claims))
    assert worker.claim("a")
    assert claims.still_held("a")
    assert not other.claim("a")


@pytest.mark.slow
def test_many_processes_claim_each_name_once(database, tmp_path):
    """Three processes begin at once in an empty database, make the table, and run through the same names."""
    code = (
        "import sys; from blendsearch.evolution.claims import Claims\n"
        "from blendsearch.evolution.database import Database\n"
        "claims = Claims(Database.at(sys.argv[1]), 'race'); print(*(n for n in map(str, range(60)) if claims.claim(n)))"
    )
    address = address_of(database) if database.is_postgresql else f"sqlite:///{tmp_path}/claims.db"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, address], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    claimed = [name for process in processes for name in process.communicate()[0].split()]
    assert sorted(claimed, key=int) == [str(number) for number in range(60)]


def address_of(database):
    url = database.url
    return f"postgresql://{url.username}:${{BLENDSEARCH_TEST_PASSWORD}}@{url.host}:{url.port}/{url.database}"


def test_a_server_that_is_away_is_told_and_tried_again(server, monkeypatch):
    said = []
    claims = Claims(Database.at(server.address), "away", lambda *report: said.append(report[3]))
    assert claims.claim("a")
    server.stop()
    timer = threading.Timer(1.0, server.start)
    timer.start()
    assert claims.finish("a", "found")
    timer.join()
    assert "does not answer" in said[0]
    assert "tried again for 300 s" in said[0]
    assert "answers again after" in said[1]
    assert len(said) == 2
    assert PASSWORD not in " ".join(said)
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    server.stop()
    try:
        with pytest.raises(RunError, match=r"ledger: postgresql\+psycopg://tester:\*\*\*@127.*connection") as error:
            claims.done()
        assert "\n" not in str(error.value)
        with pytest.raises(RunError, match="cannot open the ledger"):
            Database.at(server.address).check()
    finally:
        server.start()


def test_trials_are_written_once_though_the_server_was_away(server):
    ledger = Ledger(server.address, "away")
    for number in range(4):
        ledger.record(number, 0, {"a": 0.5}, number / 10, 0.1)
        if number == 1:
            server.restart()
    assert [trial.number for trial in ledger.trials()] == [0, 1, 2, 3]
    ledger.close()


def test_passwords_come_from_the_environment_and_are_never_shown(server, monkeypatch):
    database = Database.at(server.address)
    database.check()
    assert PASSWORD not in f"{database!r} {database.shown}"
    monkeypatch.setenv("WHOLE", database.url.render_as_string(hide_password=False))
    Database.at("${WHOLE}").check()
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    Database.at(f"postgresql://tester@127.0.0.1:{server.port}/postgres").check()
    monkeypatch.setenv("BLENDSEARCH_TEST_PASSWORD", "wr0ng-secret")
    with pytest.raises(RunError, match=r"cannot open the ledger .*password authentication failed") as error:
        Database.at(server.address).check()
    assert "wr0ng-secret" not in str(error.value)
    monkeypatch.delenv("BLENDSEARCH_TEST_PASSWORD")
    with pytest.raises(RunError, match="the environment variable BLENDSEARCH_TEST_PASSWORD is not set"):
        Database.at(server.address)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql+psycopg2://u@h/d", "unknown driver 'psycopg2', allowed psycopg"),
        ("mysql://u:secret@h/d", r"mysql://u:\*\*\*@h/d: cannot open the ledger \(unknown database 'mysql'"),
        ("postgresql://u:secret@h:port/d", "ledger: cannot open the ledger"),
        ("sqlite:////nowhere/at/all/x.db", "unable to open database file"),
    ],
)
def test_addresses_that_cannot_be_used(address, told):
    with pytest.raises(RunError, match=told) as error:
        Database.at(address).check()
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_driver_is_one_line_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(RunError, match=r"PostgreSQL needs psycopg .*; install blendsearch\[postgresql\]") as error:
        Database.at("postgresql://u@h/d")
    assert "\n" not in str(error.value)


def test_a_locked_file_is_tried_again(tmp_path):
    claims = Claims(Database.of_file(tmp_path / "claims.db"), "board")
    engine = create_engine(f"sqlite:///{tmp_path}/claims.db")
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        timer = threading.Timer(0.3, connection.rollback)
        timer.start()
        assert claims.claim("a")
        timer.join()
