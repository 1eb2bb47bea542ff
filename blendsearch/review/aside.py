"""Work beside the server that takes long, and that nobody waits for once the server is stopped."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE = 10.0
"""Seconds that work is given to get to its next step in Python, in which it ends."""


class Aside:
    """Threads of one review, each with a piece of work of its own."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def begin(self, work: Callable[..., T], *given: Any) -> Future[T]:
        """Begin work in a thread, and return what will have its result, or what it raised."""
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(work(*given))
            except BaseException as error:  # for whoever asks for the result
                result.set_exception(error)

        thread = threading.Thread(target=run, daemon=True)
        self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        thread.start()
        return result

    def end(self) -> None:
        """End all work in the middle of what it does: a process that ends while torch computes in a thread aborts."""
        for thread in self._threads:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        for thread in self._threads:
            thread.join(PATIENCE)
