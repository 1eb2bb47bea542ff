"""A board that several processes share: each cell once, by whomever, and the board of one process in the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from postgres_server import PASSWORD, running_server

from blendsearch.campaigns.leaderboard.run import run_leaderboard
from blendsearch.errors import RunError
from blendsearch.evolution.database import Database
from blendsearch.validation.board import checked_board_from_dict

BOARD = {
    "name": "shared",
    "networks": [
        {
            "name": "small",
            "data": {"name": "digits", "test": 200, "calibration": 100, "search": 100, "limit": 300},
            "model": {"name": "conv4", "arguments": {"width": 8}},
            "training": {"epochs": 2, "batch_size": 64, "lr": 0.1},
        }
    ],
    "criteria": ["l1", "taylor", "random"],
    "allocations": ["uniform", "sensitivity"],
    "budgets": [{"flops": 0.5}],
    "retraining": {"epochs": 0.5, "batch_size": 64, "lr": 0.05, "seeds": 2},
    "compute": {"device": "cpu", "workers": 1},
}
CELLS = 12

pytestmark = pytest.mark.usefixtures("without_report")


@pytest.fixture(scope="module")
def server():
    with running_server() as found:
        yield found


@pytest.fixture(scope="module")
def of_one(tmp_path_factory):
    """What the board comes to in one process without a ledger."""
    return outcome(run_leaderboard(checked_board_from_dict(BOARD), tmp_path_factory.mktemp("one") / "run").run_dir)


def board(ledger, **changes):
    return checked_board_from_dict({**BOARD, "ledger": ledger, **changes})


def begin(ledger, folder, lease=60.0, pause=0.0, **changes):
    """Start a process on the board, as on another host; pause: seconds that every cell of it takes longer."""
    code = (
        "import json, sys, time; from pathlib import Path\n"
        "from blendsearch.evolution import claims; claims.LEASE = float(sys.argv[3])\n"
        "from blendsearch.campaigns.leaderboard import run; from blendsearch.validation.board import *\n"
        "run.write_report = lambda folder, progress: folder / 'leaderboard.html'\n"
        "retrain = run.retrain\n"
        "run.retrain = lambda *given: (time.sleep(float(sys.argv[4])), retrain(*given))[1]\n"
        "run.run_leaderboard(checked_board_from_dict(json.loads(sys.argv[1])), Path(sys.argv[2]))\n"
    )
    settings = json.dumps({**BOARD, "ledger": ledger, **changes})
    return subprocess.Popen(
        [sys.executable, "-c", code, settings, str(folder), str(lease), str(pause)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(is_there, process, seconds=200):
    end = time.monotonic() + seconds
    while not is_there():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


def ended(process):
    told = process.communicate(timeout=200)[1]
    assert process.returncode == 0, told


def outcome(folder):
    """Return all that a board came to but times: the ranking, every column, the plan and the result of every cell."""
    timeless = {"seconds", "scoring_seconds", "retraining_seconds"}

    def without_times(data):
        if isinstance(data, dict):
            return {key: without_times(value) for key, value in data.items() if key not in timeless}
        return [without_times(one) for one in data] if isinstance(data, list) else data

    cells = {file.name: json.loads(file.read_text()) for file in sorted((folder / "cells").iterdir())}
    return without_times(json.loads((folder / "leaderboard.json").read_text())), without_times(cells)


def runs(folder):
    """Return how many cells each process that ended in the folder ran."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event["ran"] for event in events if event["event"] == "finished"]


def test_what_a_stopped_process_did_is_taken_over_in_another_folder(tmp_path, of_one):
    ledger = f"sqlite:///{tmp_path}/cells.db"

    def stop(task, done, total, detail=""):
        if task == "leaderboard small" and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_leaderboard(board(ledger), tmp_path / "here", progress=stop)
    found = run_leaderboard(board(ledger), tmp_path / "there")
    assert found.cells_run == CELLS - 4
    assert outcome(tmp_path / "there") == of_one
    assert run_leaderboard(board(ledger), tmp_path / "here").cells_run == 0
    assert outcome(tmp_path / "here") == of_one


@pytest.mark.slow
def test_two_processes_share_the_cells_in_one_folder(tmp_path, of_one):
    ledger = f"sqlite:///{tmp_path}/cells.db"
    other = begin(ledger, tmp_path / "run", pause=0.1)
    wait_for(lambda: (tmp_path / "run/cells").exists(), other)
    said = []
    run_leaderboard(board(ledger), tmp_path / "run", progress=lambda *report: said.append(report[3]))
    ended(other)
    assert sum(runs(tmp_path / "run")) == CELLS
    assert all(runs(tmp_path / "run"))
    assert outcome(tmp_path / "run") == of_one
    assert any("sharing the cells of 'shared' over sqlite" in one and "1 other" in one for one in said)


@pytest.mark.slow
def test_three_hosts_of_which_one_dies_and_a_server_that_is_restarted(server, tmp_path, of_one):
    folders = [tmp_path / name for name in ("first", "second", "third")]
    processes = [begin(server.address, folder, lease=3.0, pause=0.3) for folder in folders]
    wait_for(lambda: (folders[0] / "cells").exists(), processes[0])
    time.sleep(0.2)
    os.kill(processes[0].pid, signal.SIGKILL)
    processes[0].communicate()
    server.restart()
    for process in processes[1:]:
        ended(process)
    kept = len(list((folders[0] / "cells").iterdir()))
    assert sum(runs(folders[1])) + sum(runs(folders[2])) + kept == CELLS
    for folder in folders[1:]:
        assert outcome(folder) == of_one
    held = "SELECT count(*) FROM blendsearch_claims WHERE result IS NULL AND name LIKE 'cell%'"
    assert server.query(held) == [(0,)]
    assert server.query("SELECT count(*) FROM blendsearch_claims WHERE name LIKE 'cell%'") == [(CELLS,)]
    assert not [f for f in tmp_path.rglob("*") if f.is_file() and PASSWORD.encode() in f.read_bytes()]


def test_a_network_that_came_out_differently_elsewhere_is_refused(tmp_path):
    ledger = f"sqlite:///{tmp_path}/cells.db"
    few = {"criteria": ["l1"], "allocations": ["uniform"], "retraining": {**BOARD["retraining"], "seeds": 1}}
    run_leaderboard(board(ledger, **few), tmp_path / "here")
    engine = Database.at(ledger).engine()
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE blendsearch_claims SET result = 'ff' WHERE name LIKE '%baseline.safetensors'"
        )
    with pytest.raises(RunError, match=r"networks: 'small': baseline\.safetensors came out differently") as error:
        run_leaderboard(board(ledger, **few), tmp_path / "there")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_living_processes_on_other_settings_are_told(tmp_path):
    ledger = f"sqlite:///{tmp_path}/cells.db"
    other = begin(ledger, tmp_path / "run", pause=0.5)
    wait_for(lambda: (tmp_path / "run/cells").exists(), other)
    for changed, resume in ((board(None), True), (board(ledger, criteria=["l1"]), False)):
        with pytest.raises(RunError, match=rf"pid {other.pid} since 2.* shares the cells of this board") as error:
            run_leaderboard(changed, tmp_path / "run", resume=resume)
        assert "\n" not in str(error.value)
    other.kill()
    other.communicate()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("")
    with pytest.raises(RunError, match="holds files of something else"):
        run_leaderboard(board(f"sqlite:///{tmp_path}/cells.db"), tmp_path)


def test_a_ledger_that_cannot_be_reached_is_told_before_a_folder_is_made(tmp_path):
    with pytest.raises(RunError, match="cannot open the ledger"):
        run_leaderboard(board("sqlite:////nowhere/at/all.db"), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
