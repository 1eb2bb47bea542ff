"""Progress that is shown while a block runs: for the command line, and for every call of the Python interface."""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Iterator
from typing import Literal, Protocol

from rich.console import Console

from blendsearch.errors import BlendsearchError, quoted
from blendsearch.progress import Progress, Reporting, silent
from blendsearch.progress.bars import Bars, NotebookBars
from blendsearch.progress.heartbeat import Heartbeat
from blendsearch.progress.lines import Lines

AUTO: Literal["auto"] = "auto"
PATIENCE = 2.0
"""Seconds that a call may take before its progress is shown."""

SECONDS_BETWEEN_TICKS = 0.5
LINE_WIDTH = 2000


class Display(Protocol):
    """Shows steps of tasks, in `tick` also what time brings about."""

    def __call__(self, task: str, done: int, total: int, detail: str = "") -> None: ...

    def tick(self) -> None: ...

    def still(self, silent: float, last: str) -> None: ...

    def stop(self) -> None: ...


@contextlib.contextmanager
def reporting(given: Reporting) -> Iterator[Progress]:
    """Give the callback for one call of the Python interface, from what it was given as `progress`.

    "auto" shows it on standard error once the call has taken two seconds. Raises BlendsearchError for what is none.
    """
    if given is None or given is False:
        yield silent
    elif given == AUTO:
        with showing(Console(stderr=True, markup=False, emoji=False, highlight=False), after=PATIENCE) as progress:
            yield progress
    elif callable(given):
        yield given
    else:
        raise BlendsearchError(
            f"progress: {quoted(given)} given, allowed: 'auto', None, or a function of (task, done, total, detail)"
        )


@contextlib.contextmanager
def showing(console: Console, after: float = 0.0) -> Iterator[Progress]:
    """Give a callback that shows progress on a console: bars on a terminal or in a notebook, plain lines elsewhere.

    Where nothing is reported for long, signs of life.

    after: seconds in which nothing is shown yet.
    """
    display = _display(console, after)
    lock, ended = threading.RLock(), threading.Event()
    heart = Heartbeat(display.still)

    def tick() -> None:
        while not ended.wait(SECONDS_BETWEEN_TICKS):
            with lock:
                display.tick()
                heart.look()

    def progress(task: str, done: int, total: int, detail: str = "") -> None:
        with lock:
            heart.beat(f"after {task} {done}/{total}" if total and done >= total else task)
            display(task, done, total, detail)

    # In the caller's context, by which a notebook knows the cell that prints.
    clock = threading.Thread(target=contextvars.copy_context().run, args=(tick,), daemon=True)
    clock.start()
    try:
        yield progress
    finally:
        ended.set()
        clock.join()
        display.stop()


def _display(console: Console, after: float) -> Display:
    if console.is_jupyter:
        return NotebookBars(after)
    if console.is_terminal and not console.is_dumb_terminal:
        return Bars(console, after)
    console.width = LINE_WIDTH
    return Lines(console, after=after)


def patient(progress: Progress, seconds: float = PATIENCE) -> Progress:
    """Return a callback that hands on what is reported later than so many seconds from now."""
    begin = time.monotonic() + seconds

    def later(task: str, done: int, total: int, detail: str = "") -> None:
        if time.monotonic() >= begin:
            progress(task, done, total, detail)

    return later
