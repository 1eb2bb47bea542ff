"""SIGTERM and SIGHUP end a command as cleanly as Ctrl-C does, and workers end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from living import alive

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
import typer
from blendsearch.cli.session import plain_errors
from blendsearch.evolution.parallel import WorkerPool

def work(folder, item):
    (folder / str(os.getpid())).touch()
    time.sleep(60)

if __name__ == "__main__":
    try:
        with plain_errors(lambda: "stopped; continue with: this"):
            list(WorkerPool(work, Path(sys.argv[1]), workers=2).map(range(4)))
    except typer.Exit as end:
        sys.exit(end.exit_code)
"""


@pytest.fixture
def working(tmp_path):
    """A process in a session of its own, whose two workers are at work, and these."""
    script, marks = tmp_path / "work.py", tmp_path / "marks"
    script.write_text(WORK)
    marks.mkdir()
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen([sys.executable, str(script), str(marks)], stderr=said, start_new_session=True)
    try:
        _wait(lambda: len(list(marks.iterdir())) == 2, 120)
        yield process, [int(mark.name) for mark in marks.iterdir()]
    finally:
        process.kill()
        process.wait()


def test_workers_end_soon_after_their_parent_is_killed_and_nothing_stays_shared(working, tmp_path):
    process, workers = working
    assert _shared(process)
    process.kill()
    process.wait()
    _wait(lambda: not any(alive(worker) for worker in workers), 15)
    _wait(lambda: not _shared(process), 15)
    assert (tmp_path / "said").read_text() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("reach", [os.kill, os.killpg], ids=["process", "group"])
def test_a_signal_ends_the_workers_too_and_nothing_stays_nor_is_said_of_it(working, tmp_path, number, reach):
    process, workers = working
    reach(process.pid, number)
    assert process.wait(60) == 128 + number
    assert not any(alive(worker) for worker in workers)
    _wait(lambda: not _shared(process), 15)
    assert (tmp_path / "said").read_text() == "stopped; continue with: this\n"


def _shared(process):
    """Return what a process shares by name: semaphores and joblib's folders of arrays."""
    return [path for place in (Path("/dev/shm"), Path(tempfile.gettempdir())) for path in _of(place, process.pid)]


def _of(place, number):
    names = (f"sem.loky-{number}-*", f"joblib_memmapping_folder_{number}_*")
    return [path for name in names for path in place.glob(name)]


def _wait(come, seconds):
    end = time.monotonic() + seconds
    while not come():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.1)
