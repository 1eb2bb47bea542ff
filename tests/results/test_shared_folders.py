"""Run folders on file systems that lack something, and folders that a process of another host is at work in."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from blendsearch.errors import RunError
from blendsearch.results import file_system, folder_lock
from blendsearch.results.file_system import check_file_system
from blendsearch.results.run_folder import RunFolder


def refuse(number):
    def call(*args, **options):
        raise OSError(number, os.strerror(number))

    return call


def test_a_file_system_with_all_that_is_needed_is_left_as_it_was(tmp_path):
    start = time.perf_counter()
    check_file_system(tmp_path)
    assert time.perf_counter() - start < 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "name", "instead", "told"),
    [
        (Path, "replace", refuse(errno.ENOSYS), r"cannot rename a file over another \(Function not implemented\)"),
        (
            Path,
            "replace",
            lambda path, to: to.write_text(path.read_text()),
            r"rename .*the renamed file is there twice",
        ),
        (Path, "read_bytes", lambda path: b"", r"cannot give back what was written \(other bytes came back\)"),
        (file_system.os, "fsync", refuse(errno.EIO), r"cannot give back what was written \(Input/output error\)"),
        (file_system.os, "O_EXCL", 0, r"cannot make a file only where there is none \(a second process would make"),
        (file_system.fcntl, "flock", refuse(errno.ENOLCK), r"cannot lock a file \(No locks available\)"),
        (
            file_system.fcntl,
            "flock",
            lambda *_: None,
            r"cannot lock a file \(a second process would get the same lock\)",
        ),
    ],
)
def test_what_a_file_system_lacks_is_one_line_before_any_work(tmp_path, monkeypatch, place, name, instead, told):
    with monkeypatch.context() as patch:
        patch.setattr(place, name, instead)
        with pytest.raises(RunError, match=told) as error, RunFolder(tmp_path / "run").locked():
            pass
    assert "\n" not in str(error.value)
    assert "choose another --run-dir" in str(error.value)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_file_system_that_cannot_append_is_told(tmp_path, monkeypatch):
    before = Path.open

    def opened(path, mode="r", *args, **options):
        if mode == "a":  # as mounts of object storage have it
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return before(path, mode, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(RunError, match="cannot append to a file"):
            check_file_system(tmp_path)


def test_a_full_disk_is_not_taken_for_a_lack(tmp_path, monkeypatch):
    monkeypatch.setattr(file_system.os, "fsync", refuse(errno.ENOSPC))
    with pytest.raises(RunError, match="No space left on device"), RunFolder(tmp_path / "run").locked():
        pass


def test_the_process_that_holds_a_folder_is_named(tmp_path):
    code = "import sys; from pathlib import Path; from blendsearch.results.run_folder import RunFolder\n"
    code += "with RunFolder(Path(sys.argv[1])).locked(): print('in', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "in\n"
        told = rf"another process is at work in this folder \({socket.gethostname()} pid {other.pid} since 2\d+-.*\);"
        with pytest.raises(RunError, match=told), RunFolder(tmp_path).locked():
            pass
        other.kill()  # what it leaves does not keep others of its host out
    with RunFolder(tmp_path).locked():
        assert json.loads((tmp_path / ".holder.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".holder.json").exists()


def test_a_living_process_of_another_host_is_told_where_locks_do_not_reach(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "LOOK", 5.0)
    elsewhere = {"host": "node17", "pid": 4711, "since": "2031-05-06 07:08:09"}
    ended = threading.Event()

    def live():
        number = 0
        while not ended.wait(0.05):
            number += 1
            part = tmp_path / "part"
            part.write_text(json.dumps({**elsewhere, "beat": number}))
            part.replace(tmp_path / ".holder.json")

    thread = threading.Thread(target=live)
    thread.start()
    try:
        while not (tmp_path / ".holder.json").exists():
            time.sleep(0.01)
        told = r"another process is at work in this folder \(node17 pid 4711 since 2031-05-06 07:08:09\)"
        with pytest.raises(RunError, match=told), RunFolder(tmp_path).locked():
            pass
    finally:
        ended.set()
        thread.join()
    monkeypatch.setattr(folder_lock, "LOOK", 0.3)
    with RunFolder(tmp_path).locked():  # it gives no sign of life any more
        assert json.loads((tmp_path / ".holder.json").read_text())["host"] == socket.gethostname()


def test_a_holder_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "BEAT", 0.05)
    with RunFolder(tmp_path).locked():
        end = time.monotonic() + 5
        while json.loads((tmp_path / ".holder.json").read_text())["beat"] < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
