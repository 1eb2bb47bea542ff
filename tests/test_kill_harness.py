"""The harness that kills jobs sees what is amiss, and a few kills of each kind come to the same results."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))  # as Python does where a script is run

import kill_harness  # noqa: E402
from killable_jobs import JOBS  # noqa: E402
from same_results import differences  # noqa: E402
from watched_run import Run  # noqa: E402

RECORDS = {
    "summary.json": {"accuracy": 0.5, "seconds": 1.0, "cells": [{"name": "l1", "latency_ms": 3.0}]},
    "records/search.json": {"known": {"ab": [0.5, 0.1, 64]}},
    "records/estimates/zero_shot.json": {"l1": [0.5, 0.1, 64], "raced": [0.5, 0.1, 64, 1]},
}


@pytest.fixture
def folders(tmp_path):
    for name in ("one", "other"):
        for file, record in RECORDS.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(json.dumps(record))
        (tmp_path / name / "network.safetensors").write_bytes(b"weights")
        (tmp_path / name / "table.csv").write_text("name,seconds\nl1,1\n")
        (tmp_path / name / "report.html").write_text(name)
    return tmp_path / "one", tmp_path / "other"


def test_times_are_no_difference(folders):
    _, other = folders
    (other / "summary.json").write_text(json.dumps({**RECORDS["summary.json"], "seconds": 2.0}))
    (other / "records/search.json").write_text(json.dumps({"known": {"ab": [0.5, 9.9, 64]}}))
    (other / "records/estimates/zero_shot.json").write_text(
        json.dumps({"l1": [0.5, 9.9, 64], "raced": [0.5, 9.9, 64, 1]})
    )
    (other / "table.csv").write_text("name,seconds\nl1,2\n")
    assert differences(*folders) == []


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("summary.json", '{"accuracy": 0.6, "cells": [{"name": "l1"}]}', "differs: summary.json .accuracy"),
        ("summary.json", '{"accuracy": 0.5, "cells": [{"name": "l2"}]}', "differs: summary.json .cells[0].name"),
        ("records/search.json", '{"known": {"ab": [0.6, 0.1, 64]}}', "differs: records/search.json .known.ab[0]"),
        ("records/search.json", '{"known": {"ab": [0.5, 0.1, 65]}}', "differs: records/search.json .known.ab[1]"),
        ("network.safetensors", "weightz", "differs: network.safetensors (content)"),
        ("table.csv", "name,seconds\nl2,1\n", "differs: table.csv [0].name"),
        ("more.json", "{}", "too much: more.json"),
    ],
)
def test_everything_else_is_one(folders, file, content, told):
    (folders[1] / file).write_text(content)
    assert differences(*folders) == [told]


def test_what_is_missing_is_told(folders):
    (folders[1] / "network.safetensors").unlink()
    assert differences(*folders) == ["missing: network.safetensors"]


def test_every_job_is_drawn_as_often_as_any_other():
    drawn = kill_harness.draw_jobs(list(JOBS), 2 * len(JOBS) + 1, random.Random(0))
    counts = [drawn.count(name) for name in JOBS]
    assert len(drawn) == 2 * len(JOBS) + 1
    assert set(counts) == {2, 3}


def test_a_run_is_seen_with_its_children_and_ended(tmp_path, monkeypatch):
    """A process and its child, which it leaves behind when it is killed."""
    line = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    popen = subprocess.Popen
    monkeypatch.setattr(
        "watched_run.subprocess.Popen",
        lambda words, **options: popen([sys.executable, "-c", line + "time.sleep(60)"], **options),
    )
    run = Run([], tmp_path, tmp_path)
    until = time.monotonic() + 30
    while len(run.living()) < 2:
        assert time.monotonic() < until, "the child does not come"
        time.sleep(0.05)
    run.send(signal.SIGTERM)
    assert run.wait(time.monotonic() + 10)
    assert run.code == -signal.SIGTERM
    fate = kill_harness.Fate("some")
    monkeypatch.setattr(kill_harness, "SECONDS_TO_END", 0.5)
    kill_harness._look_for_leftovers(run, fate)
    assert fate.faults == ["still alive 0.5 s later: 1 of its processes"]
    until = time.monotonic() + 10  # a busy system takes its time to take a killed process away
    while run.living():
        assert time.monotonic() < until, "what was left is still alive"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")
def test_killed_jobs_come_to_the_same_results():
    jobs = "search-2-workers,leaderboard,retraining,compare"
    line = [sys.executable, str(SCRIPTS / "kill_harness.py"), "--kills", "4", "--seed", "1", "--jobs", jobs]
    ended = subprocess.run(line, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "4 identical, 0 not" in ended.stdout
