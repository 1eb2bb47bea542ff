"""One process at a time in a run folder, on one host or, where the folder is shared, on several."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from blendsearch.errors import RunError
from blendsearch.files import atomic
from blendsearch.plain import State
from blendsearch.results.file_system import check_file_system

HOLDER = ".holder.json"
BEAT = 5.0
"""Seconds between the signs of life of the process that works in a folder."""
LOOK = 12.0
"""Seconds in which a process of another host would have given one."""


@contextlib.contextmanager
def folder_locked(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep other processes out of a folder, which is there; patience: seconds to wait for one to leave it.

    The system's lock keeps out those of the same host, and of others where the file system locks between hosts. Where
    it does not, the file HOLDER does, whose number goes up while its process lives: clocks need not agree. Raises
    RunError, which names the process, when one is at work already, or when the file system lacks what runs need.
    """
    check_file_system(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise _held(folder, read_holder(folder)) from None
    try:
        _wait_for_other_hosts(folder)
        with _signs_of_life(folder):
            yield
    finally:
        lock.release()


def _wait_for_other_hosts(folder: Path) -> None:
    """Return once no process of another host is at work; RunError when one is."""
    first = found = read_holder(folder)
    if first is None or first.get("host") == socket.gethostname():  # of this host, where the lock is free: it is dead
        return
    end = time.monotonic() + LOOK
    while found is not None and time.monotonic() < end:
        if found != first:
            raise _held(folder, found)
        time.sleep(min(1.0, LOOK / 10))
        found = read_holder(folder)


@contextlib.contextmanager
def _signs_of_life(folder: Path) -> Iterator[None]:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    ended = threading.Event()

    def sign(number: int) -> None:
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": since, "beat": number}
        with atomic(folder / HOLDER) as part:
            part.write_text(json.dumps(holder), encoding="utf-8")

    def keep() -> None:
        number = 0
        while not ended.wait(BEAT):
            number += 1
            if folder.is_dir():
                with contextlib.suppress(OSError):  # a full disk is told by what has to be written
                    sign(number)

    sign(0)
    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=BEAT)
        with contextlib.suppress(OSError):
            (folder / HOLDER).unlink(missing_ok=True)


def read_holder(folder: Path) -> State | None:
    """Return who works in a folder, or was killed there: host, pid, since when; None where nobody is noted."""
    try:
        found = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _held(folder: Path, holder: State | None) -> RunError:
    who = f" ({holder.get('host')} pid {holder.get('pid')} since {holder.get('since')})" if holder else ""
    return RunError(f"{folder}: another process is at work in this folder{who}; wait for it or stop it")
