"""A blendsearch command that is watched, with all the processes that it starts, and killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import blendsearch

MARK = "KILL_HARNESS_MARK"
"""Variable in the environment by which all processes of a run are known."""
SHARED_MEMORY = Path("/dev/shm")


class Run:
    """One command, running."""

    def __init__(self, words: Sequence[str], root: Path, temporary: Path) -> None:
        """Start `blendsearch WORDS` in the folder `root`; temporary: its folder for temporary files."""
        self.memory = set(_shared_memory())
        self.mark = uuid.uuid4().hex
        folders = [str(Path(blendsearch.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        path = os.pathsep.join(filter(None, folders))
        self.said = root / "said.txt"
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it in the background; it is inherited
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.started = time.monotonic()
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "blendsearch", *words],
                cwd=root,
                env={**os.environ, MARK: self.mark, "TMPDIR": str(temporary), "PYTHONPATH": path},
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        self.seen: set[int] = {self.process.pid}

    @property
    def code(self) -> int | None:
        """What the main process ended with; None while it runs."""
        return self.process.poll()

    @property
    def words(self) -> str:
        """What it has said on its standard error."""
        return self.said.read_text(errors="replace").strip()

    @property
    def last_words(self) -> str:
        """The last line of that."""
        return (self.words.splitlines() or ["(nothing)"])[-1][:300]

    def wait(self, until: float) -> bool:
        """Wait for the end of the main process until a moment of time.monotonic(); tell whether it came."""
        while self.code is None and time.monotonic() < until:
            time.sleep(0.02)
        return self.code is not None

    def wait_for_files(self, folder: Path) -> None:
        """Wait until a file lies in a folder or the main process has ended."""
        while self.code is None and not any(folder.iterdir()):
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the main process; SIGINT to all, as a terminal does."""
        self.living()
        with suppress(ProcessLookupError):
            (os.killpg if number == signal.SIGINT else os.kill)(self.process.pid, number)

    def living(self) -> set[int]:
        """Return the processes of the run that are alive; remember that they were there."""
        alive = {pid for pid in _processes() if _marked(pid, self.mark)}
        self.seen |= alive
        return alive

    def shared_memory(self) -> list[str]:
        """Return what has come into shared memory and is named after a process of the run."""
        new = [name for name in _shared_memory() if name not in self.memory]
        return [name for name in new if self.seen & set(map(int, re.findall(r"\d+", name)))]

    def end(self) -> None:
        """Kill what is left, so that it does not disturb what comes next."""
        for pid in self.living():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def _shared_memory() -> list[str]:
    return sorted(os.listdir(SHARED_MEMORY)) if SHARED_MEMORY.is_dir() else []


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _marked(pid: int, mark: str) -> bool:
    process = Path("/proc") / str(pid)
    try:
        if (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        return f"{MARK}={mark}".encode() in (process / "environ").read_bytes()
    except OSError:  # gone meanwhile, or another user's
        return False
