"""Progress where there is no terminal: lines with the time of day."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from blendsearch.progress import NOTE
from blendsearch.progress.words import clock, rate_text

SECONDS_BETWEEN_LINES = 5.0


@dataclass
class _Pace:
    """When and where a task began (above 0 after a resume), how far it is, when it last had a line."""

    began: float
    first: int
    done: int
    total: int
    shown: float
    detail: str = ""
    complete: bool = False

    def rate(self, now: float) -> float:
        """Steps a second; 0 while there is nothing to go by."""
        elapsed = now - self.began
        return (self.done - self.first) / elapsed if elapsed > 0 else 0.0

    def seconds_left(self, now: float) -> float:
        """Seconds until the last step at the pace so far; 0 while that is unknown."""
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate > 0 and self.total else 0.0


class Lines:
    """One line a task about every five seconds, and one when it is complete.

    after: seconds from now in which nothing is printed.
    """

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic, after: float = 0.0) -> None:
        self.console = console
        self.now = now
        self.begin = now() + after
        self.paces: dict[str, _Pace] = {}
        self.completions: dict[str, float] = {}
        self.latest = ""

    def __call__(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Take a step of a task, or a note; see blendsearch.progress."""
        if task == NOTE:
            self.console.print(f"note: {detail}", soft_wrap=True)
            return
        now = self.now()
        pace = self.paces.get(task)
        if pace is None or done < pace.done or total != pace.total:
            pace = self.paces[task] = _Pace(now, done, done, total, shown=now)
        pace.done, pace.detail, self.latest = done, detail, task
        if total and done >= total:
            self._complete(task, pace, now)
        else:
            self.tick()

    def tick(self) -> None:
        """Print the line that is due of the task that reported last, also where a step of it takes long."""
        now, pace = self.now(), self.paces.get(self.latest)
        if pace is not None and not pace.complete and now - pace.shown >= SECONDS_BETWEEN_LINES:
            pace.shown = now
            self._print(self.latest, pace, now)

    def still(self, silent: float, last: str) -> None:
        """Print that work goes on, though nothing is under way and nothing has been reported for so many seconds."""
        pace = self.paces.get(self.latest)
        if self.now() >= self.begin and (pace is None or pace.complete):
            self.console.print(time.strftime("%H:%M:%S"), f"still at work, {last or 'starting'}, {clock(silent)}")

    def stop(self) -> None:
        """Leave the lines as they are."""

    def _complete(self, task: str, pace: _Pace, now: float) -> None:
        """Print the last line of a task once, and not for every one of many short tasks of the same name."""
        if pace.complete:
            return
        pace.complete = True
        if now - self.completions.get(task, -SECONDS_BETWEEN_LINES) >= SECONDS_BETWEEN_LINES:
            self.completions[task] = now
            self._print(task, pace, now)

    def _print(self, task: str, pace: _Pace, now: float) -> None:
        if now < self.begin:
            return
        left = pace.seconds_left(now)
        parts = [
            f"{task} {pace.done}/{pace.total}" if pace.total else f"{task} {pace.done}" if pace.done else task,
            rate_text(pace.rate(now)),
            f"{clock(now - pace.began)} elapsed",
            f"{clock(left)} left" if left else "",
            pace.detail,
        ]
        self.console.print(time.strftime("%H:%M:%S"), ", ".join(part for part in parts if part))
