"""A sign of life while nothing is reported: a line now and then where there is no terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SILENCE = 5.0
"""Seconds without any report after which a sign is given; each further one takes twice as long to come."""


class Heartbeat:
    """Calls `show(seconds since the last report, what was last reported)` in long silences, from a thread of its own.

    `beat` is to be called with every report. Used as a context.
    """

    def __init__(
        self, show: Callable[[float, str], None], last: str = "", now: Callable[[], float] = time.monotonic
    ) -> None:
        self.show, self.now, self.last = show, now, last
        self.since = now()
        self.next = SILENCE
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def beat(self, what: str) -> None:
        """Take note of a report."""
        self.last, self.since, self.next = what, self.now(), SILENCE

    def look(self) -> None:
        """Give a sign if it is time for one."""
        silent = self.now() - self.since
        if silent >= self.next:
            self.next = 2 * self.next
            self.show(silent, self.last)

    def _watch(self) -> None:
        while not self.ended.wait(0.5):
            self.look()

    def __enter__(self) -> Heartbeat:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.thread.join(timeout=2)
