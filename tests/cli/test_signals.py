"""SIGTERM and SIGHUP end a command as cleanly as Ctrl-C does, and workers end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from blendsearch.cli.session import plain_errors
from blendsearch.cli.signals import ended_like_an_interrupt


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_with_its_code_and_says_how_to_go_on(number, capsys):
    import typer

    before = signal.getsignal(number)
    with pytest.raises(typer.Exit) as found, plain_errors(lambda: "stopped; continue with: this"):
        os.kill(os.getpid(), number)
    assert found.value.exit_code == 128 + number
    assert capsys.readouterr().err == "stopped; continue with: this\n"
    assert signal.getsignal(number) is before


def test_what_was_ignored_before_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with ended_like_an_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


WORK = """
import os, sys, time
from pathlib import Path
from blendsearch.evolution.parallel import WorkerPool

def work(folder, item):
    (folder / str(os.getpid())).touch()
    time.sleep(60)

if __name__ == "__main__":
    list(WorkerPool(work, Path(sys.argv[1]), workers=2).map(range(4)))
"""


def test_workers_end_soon_after_their_parent_is_killed(tmp_path):
    script, marks = tmp_path / "work.py", tmp_path / "marks"
    script.write_text(WORK)
    marks.mkdir()
    process = subprocess.Popen([sys.executable, str(script), str(marks)])
    try:
        _wait(lambda: len(list(marks.iterdir())) == 2, 60)
    finally:
        process.kill()
        process.wait()
    workers = [int(mark.name) for mark in marks.iterdir()]
    _wait(lambda: not any(_alive(worker) for worker in workers), 15)


def _wait(come, seconds):
    end = time.monotonic() + seconds
    while not come():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.1)


def _alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
