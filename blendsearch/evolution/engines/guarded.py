"""What every piece of work runs inside, on any engine: memory that runs out and time that is over are no errors."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from blendsearch.compute import is_out_of_memory
from blendsearch.errors import first_line
from blendsearch.evolution.engines.base import SLOW, Lost, Work

TRIES_OF_A_SLOW_ONE = 2
"""What took too long once may have met a busy machine; the second time it runs alone."""
TRIES_OF_A_LARGE_ONE = 2
"""The second time the memory is its own."""


@dataclass(frozen=True)
class Guarded:
    """A function of (state, item) that returns a `Lost` when memory runs out, and takes no longer than its limit.

    limit_seconds: after so many its whole process ends, whatever it is at; so only for processes that may.
    """

    function: Callable[[Any, Any], Any]
    limit_seconds: float | None = None

    def __call__(self, state: Any, item: Any) -> Any:
        try:
            with ending_after(self.limit_seconds):
                return self.function(state, item)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            said = first_line(error)[:200]
        _free_memory()  # out here nothing holds the tensors of the failed try any longer
        return Lost("ran out of memory", tries=TRIES_OF_A_LARGE_ONE, detail=said)


def took_too_long(seconds: float) -> Lost:
    """Return the loss of an item that was ended by its limit."""
    return Lost(f"{SLOW} {seconds:g} s", tries=TRIES_OF_A_SLOW_ONE)


def late(work: Work, begun: float, result: Any) -> Any:
    """Return a result, or a loss that its limit is the reason of; begun: when a worker was given the item."""
    limit = work.limit_seconds
    over = limit is not None and time.monotonic() - begun >= limit
    return took_too_long(limit) if over and limit is not None and isinstance(result, Lost) else result


@contextlib.contextmanager
def ending_after(seconds: float | None) -> Iterator[None]:
    """Run a block, and end this process where the block takes longer; None for as long as it likes.

    Where there are timers the system itself ends the process: a thread of ours would wait for ever for code that does
    not return to Python.
    """
    if seconds is None:
        yield
    elif hasattr(signal, "setitimer"):
        if threading.current_thread() is threading.main_thread():  # only there can handlers be set
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    else:
        timer = threading.Timer(seconds, os._exit, (1,))
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
