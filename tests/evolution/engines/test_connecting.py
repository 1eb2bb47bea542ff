"""The section `execution`: what is told of it before any work, and clusters that run already."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import sys
import time

import pytest
from remote_work import Counted, dies_once, marks

from blendsearch.config import ComputeConfig, ExecutionConfig
from blendsearch.errors import ConfigError, WorkerError
from blendsearch.evolution.engines import connecting
from blendsearch.evolution.engines.connecting import describe_place, expected_workers, make_engine
from blendsearch.evolution.parallel import WorkerPool
from blendsearch.validation.board import checked_board_from_dict
from blendsearch.validation.space import checked_from_dict

SPACE = {"name": "s", "data": {"name": "digits"}, "model": {"name": "conv4"}}
DASK = {"engine": "dask", "address": "tcp://127.0.0.1:8786"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize(
    ("execution", "compute", "what"),
    [
        ({"engine": "desk"}, {}, "execution.engine: .*did you mean 'dask'"),
        ({"address": "tcp://h:1"}, {}, "execution.address: the engine local has none"),
        ({"workers": 2}, {}, r"execution.workers: counts for dask and ray .* for local set compute.workers"),
        ({"engine": "dask", "address": "h"}, {}, "execution.address: 'h' given, allowed for dask: tcp://HOST:PORT"),
        ({"engine": "ray", "address": "tcp://h:1"}, {}, "execution.address: 'tcp://h:1' given, allowed for ray: "),
        (DASK, {"workers": 2}, r"compute.workers: 2 given, which counts for execution.engine local alone; set exec"),
        ({"engine": "ray", "workers": 9999}, {}, "execution.workers: .*workers 9999 x threads 1 exceed"),
        ({"engine": "dask", "workers": 0}, {}, "execution.workers"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(execution, compute, what):
    with pytest.raises(ConfigError, match=what):
        checked_from_dict({**SPACE, "execution": execution, "compute": compute})


def test_a_board_is_checked_alike():
    board = {"name": "b", "networks": [{"name": "n", "data": SPACE["data"], "model": SPACE["model"]}]}
    assert checked_board_from_dict({**board, "execution": DASK}).execution.engine == "dask"
    with pytest.raises(ConfigError, match=r"execution\.workers: counts for dask and ray"):
        checked_board_from_dict({**board, "execution": {"workers": 2}})


def test_any_number_of_workers_elsewhere_is_allowed():
    space = checked_from_dict({**SPACE, "execution": {**DASK, "workers": 500}})
    assert expected_workers(space.execution, space.compute, "cpu") == 500
    assert expected_workers(ExecutionConfig(**DASK), ComputeConfig(), "cpu") is None


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_missing_package_is_told_with_its_extra(engine, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf'execution.engine: {engine} is not installed; pip install "blendsearch\['):
        checked_from_dict({**SPACE, "execution": {"engine": engine}})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "this machine"),
        ({"engine": "ray"}, "Ray on this machine"),
        (DASK, "Dask at tcp://127.0.0.1:8786"),
    ],
)
def test_the_place_in_words(given, words):
    assert describe_place(ExecutionConfig(**given)) == words


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_an_address_where_nobody_answers_is_one_line_in_ten_seconds(engine):
    pytest.importorskip(connecting.PACKAGES[engine])
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"execution\.address: no .* answers at '127.0.0.1:") as found:
        make_engine(ExecutionConfig(engine=engine, address=f"127.0.0.1:{free_port()}"), ComputeConfig(), "cpu")
    assert "\n" not in str(found.value)
    assert time.monotonic() - start < 20  # on a busy machine


@pytest.mark.parametrize(("text", "what"), [(None, "there is no such file"), ("[]", "no Dask scheduler wrote it")])
def test_a_scheduler_file_that_is_none(tmp_path, text, what):
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(WorkerError, match=what):
        make_engine(ExecutionConfig(engine="dask", address=str(file)), ComputeConfig(), "cpu")


@pytest.fixture
def start(tmp_path):
    """Start commands of Dask, which end with the test."""
    pytest.importorskip("distributed")
    running = []

    def begin(*words):
        with open(tmp_path / "dask.log", "a") as log:
            command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
            running.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path))
        return running[-1]

    yield begin
    for process in running:
        process.send_signal(signal.SIGINT)
    for process in running:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    connecting.leave_all()


@pytest.mark.slow
def test_a_scheduler_and_workers_that_were_started_by_commands(start, tmp_path):
    file = tmp_path / "scheduler.json"
    address = f"tcp://127.0.0.1:{free_port()}"
    start("dask_scheduler", "--host", address, "--no-dashboard", "--scheduler-file", str(file))
    end = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < end, (tmp_path / "dask.log").read_text()
        time.sleep(0.1)
    engine = make_engine(ExecutionConfig(engine="dask", address=address), ComputeConfig(), "cpu")
    assert engine.workers == 0
    pool = WorkerPool(dies_once, Counted(tmp_path), engine=engine)
    results = pool.map(list(range(10)))
    start("dask_worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard")  # they may come later
    assert sorted(results) == [(item, item * item) for item in range(10)]
    assert marks(tmp_path / "done") == sorted(map(str, [*range(10), 3]))
    assert make_engine(ExecutionConfig(engine="dask", address=address), ComputeConfig(), "cpu") is engine
    by_file = make_engine(ExecutionConfig(engine="dask", address=str(file), workers=1), ComputeConfig(), "cpu")
    assert by_file.workers == 1


@pytest.mark.slow
def test_workers_of_several_threads_are_refused(start, tmp_path):
    address = f"tcp://127.0.0.1:{free_port()}"
    start("dask_scheduler", "--host", address, "--no-dashboard")
    start("dask_worker", address, "--nthreads", "2", "--no-dashboard")
    execution, end = ExecutionConfig(engine="dask", address=address), time.monotonic() + 60

    def look():
        while time.monotonic() < end:
            _ = make_engine(execution, ComputeConfig(), "cpu").workers
            time.sleep(0.2)

    with pytest.raises(WorkerError, match=r"have several threads, .*--nthreads 1"):
        look()


@pytest.mark.slow
def test_a_scheduler_that_is_gone_is_told_in_one_line(start, tmp_path):
    address = f"tcp://127.0.0.1:{free_port()}"
    scheduler = start("dask_scheduler", "--host", address, "--no-dashboard")
    start("dask_worker", address, "--nthreads", "1", "--no-dashboard")
    end = time.monotonic() + 60
    while True:
        try:
            engine = make_engine(ExecutionConfig(engine="dask", address=address), ComputeConfig(), "cpu")
            break
        except WorkerError:
            assert time.monotonic() < end, (tmp_path / "dask.log").read_text()
    results = WorkerPool(dies_once, Counted(tmp_path), engine=engine).map([0] * 400)
    next(results)
    scheduler.kill()
    with pytest.raises(WorkerError, match="no longer answers; start it again and continue with --resume") as found:
        list(results)
    assert "\n" not in str(found.value)
