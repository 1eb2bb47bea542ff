"""A search whose ledger is a PostgreSQL server: killed and resumed elsewhere, the server restarted, held by a lease."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from postgres_server import PASSWORD, running_server
from tiny_campaign import TINIER

from blendsearch.campaigns.search.run import run_search
from blendsearch.config import space_from_dict
from blendsearch.errors import RunError
from blendsearch.evolution import claims as module
from blendsearch.evolution.claims import Claims
from blendsearch.evolution.database import Database
from blendsearch.evolution.ledger import Ledger
from blendsearch.results.run_folder import RunFolder

SPACE = {**TINIER, "search": {**TINIER["search"], "random_search": False, "rivals": False, "ablation": False}}


@pytest.fixture(scope="module")
def server():
    with running_server() as found:
        yield found


def begin(space, folder, lease=60.0):
    """Start a search in a process of its own, as on another host; lease: seconds of its claims."""
    (folder.parent / "space.json").write_text(json.dumps(space))
    code = (
        "import json, sys; from pathlib import Path\n"
        "from blendsearch.evolution import claims; claims.LEASE = float(sys.argv[3])\n"
        "from blendsearch.campaigns.search.run import run_search; from blendsearch.config import space_from_dict\n"
        "run_search(space_from_dict(json.loads(Path(sys.argv[1]).read_text())), Path(sys.argv[2]))\n"
    )
    words = [sys.executable, "-c", code, str(folder.parent / "space.json"), str(folder), str(lease)]
    return subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)


def wait_for(is_there, process, seconds=60):
    end = time.monotonic() + seconds
    while not is_there():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


def outcome(folder):
    """Return what a search came to: the blend, every generation, every retraining, without times."""
    generations = json.loads((folder / "records/evolution.json").read_text())
    retrained = {
        file.name: {key: value for key, value in json.loads(file.read_text()).items() if key != "seconds"}
        for file in sorted((folder / "records/retrained").iterdir())
    }
    blend = json.loads((folder / "blend.json").read_text())
    del blend["found_on"]
    return [{**one, "seconds": 0} for one in generations], retrained, blend


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
def test_a_search_killed_on_one_host_is_resumed_on_another_to_the_result_of_sqlite(server, tmp_path, monkeypatch):
    run_search(space_from_dict(SPACE), tmp_path / "sqlite")
    monkeypatch.setattr(module, "LEASE", 1.0)
    space = {**SPACE, "ledger": server.address}
    here = tmp_path / "here/run"
    here.parent.mkdir()
    process = begin(space, here, lease=1.0)
    wait_for(lambda: (here / "records/evolution.json").exists(), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    shutil.copytree(here, tmp_path / "there")  # the run folder as another host has it
    run_search(space_from_dict(space), tmp_path / "there", resume=True)
    assert outcome(tmp_path / "there") == outcome(tmp_path / "sqlite")
    assert not (tmp_path / "there/trials.db").exists()
    study = f"tiny-{RunFolder(here).identity}"
    ledger = Ledger(server.address, study)
    there = [(trial.number, trial.value, trial.params) for trial in ledger.trials()]
    ledger.close()
    ledger = Ledger(f"sqlite:///{tmp_path}/sqlite/trials.db", "tiny")
    assert there == [(trial.number, trial.value, trial.params) for trial in ledger.trials()]
    ledger.close()
    assert not leaks(tmp_path), "the password is in files of the run"


def leaks(folder: Path) -> list[Path]:
    """Return the files that hold the password, as it is or as an address would have it."""
    words = [PASSWORD.encode(), b"p%40ss"]
    return [file for file in folder.rglob("*") if file.is_file() and any(word in file.read_bytes() for word in words)]


@pytest.mark.usefixtures("without_report")
def test_a_server_restarted_in_the_middle_loses_and_repeats_nothing(server, tmp_path):
    run_search(space_from_dict(SPACE), tmp_path / "sqlite")
    seen = []

    def progress(task, done, total, detail=""):
        if task == "search" and done and not seen:
            server.restart()
            seen.append(done)

    run_search(space_from_dict({**SPACE, "ledger": server.address}), tmp_path / "run", progress=progress)
    assert seen
    assert outcome(tmp_path / "run") == outcome(tmp_path / "sqlite")


def test_a_search_that_another_process_is_at_is_told_in_one_line(server, monkeypatch):
    monkeypatch.setattr(module, "LEASE", 1.0)
    database = Database.at(server.address)
    with Claims(database, "search tiny-1") as first:
        first.hold("search", "the search 'tiny-1'")
        told = rf"the search 'tiny-1' is held by \S+ pid {os.getpid()} since 2"
        with Claims(database, "search tiny-1") as second, pytest.raises(RunError, match=told) as error:
            second.hold("search", "the search 'tiny-1'")
        assert "\n" not in str(error.value)
        assert PASSWORD not in str(error.value)
    with Claims(database, "search tiny-1") as third:
        third.hold("search", "the search 'tiny-1'")  # given back at the end


def test_the_search_of_a_dead_process_is_taken_over_when_its_lease_ends(server):
    database = Database.at(server.address)
    said = []
    dead = Claims(database, "search tiny-2", lease=1.0)
    assert dead.claim("search")
    with Claims(database, "search tiny-2", lambda *report: said.append(report[3]), lease=1.0) as heir:
        heir.hold("search", "the search 'tiny-2'")
        assert not dead.still_held("search")
        assert not dead.finish("search", "done")
    assert len(said) == 1
    assert "waiting up to 1 s whether it lives" in said[0]
