"""Progress on a terminal as bars, elsewhere as lines with the time of day."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from blendsearch.cli.heartbeat import Heartbeat
from blendsearch.progress import NOTE, Progress, silent

SECONDS_BETWEEN_LINES = 5.0
MOST_BARS = 10
WORKING = "at work"
"""The bar that stands for work which reports nothing."""
PIPE_WIDTH = 2000  # no table is cut or wrapped where there is no terminal


def output_console(quiet: bool = False) -> Console:
    """Return a console on standard output that takes texts as they are: no markup, no emoji codes."""
    console = Console(markup=False, emoji=False, highlight=False, quiet=quiet)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


@contextlib.contextmanager
def shown_progress(console: Console) -> Iterator[Progress]:
    """Give a progress callback for a block: bars on a terminal, plain lines elsewhere; signs of life in silences."""
    shown: Lines | Bars = Bars(console) if console.is_terminal else Lines(console)
    with Heartbeat(shown.still) as heart:

        def progress(task: str, done: int, total: int, detail: str = "") -> None:
            heart.beat(f"after {task} {done}/{total}" if done >= total else task)
            shown(task, done, total, detail)

        try:
            yield progress
        finally:
            shown.stop()


@contextlib.contextmanager
def shown_loading(console: Console) -> Iterator[None]:
    """Show during a block, where it takes long, that the package and its libraries are loaded."""
    if console.is_terminal:
        with console.status("loading"):
            yield
        return
    with Heartbeat(Lines(console).still, "loading the package and its libraries"):
        yield


@contextlib.contextmanager
def no_progress() -> Iterator[Progress]:
    """Give a progress callback that shows nothing."""
    yield silent


@dataclass
class _Pace:
    """When and where a task began (above 0 after a resume), how far it is, when it last had a line."""

    began: float
    first: int
    done: int
    total: int
    shown: float
    complete: bool = False

    def rate(self, now: float) -> float:
        """Steps a second; 0 while there is nothing to go by."""
        elapsed = now - self.began
        return (self.done - self.first) / elapsed if elapsed > 0 else 0.0

    def seconds_left(self, now: float) -> float:
        """Seconds until the last step at the pace so far; 0 while that is unknown."""
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate > 0 else 0.0


class Lines:
    """One line a task about every five seconds, and one when it is complete."""

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.now = now
        self.paces: dict[str, _Pace] = {}
        self.completions: dict[str, float] = {}

    def __call__(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Take a step of a task, or a note; see blendsearch.progress."""
        if task == NOTE:
            self.console.print(f"note: {detail}", soft_wrap=True)
            return
        now = self.now()
        pace = self.paces.get(task)
        if pace is None or done < pace.done or total != pace.total:
            pace = self.paces[task] = _Pace(now, done, done, total, shown=now)
        pace.done = done
        if done >= total:
            self._complete(task, pace, detail, now)
        elif now - pace.shown >= SECONDS_BETWEEN_LINES:
            pace.shown = now
            self._print(task, pace, detail, now)

    def still(self, silent: float, last: str) -> None:
        """Print that work goes on, though nothing has been reported for so many seconds."""
        self.console.print(time.strftime("%H:%M:%S"), f"still at work, {last or 'starting'}, {clock(silent)}")

    def stop(self) -> None:
        """There is nothing to give back."""

    def _complete(self, task: str, pace: _Pace, detail: str, now: float) -> None:
        """Print the last line of a task once, and not for every one of many short tasks of the same name."""
        if pace.complete:
            return
        pace.complete = True
        if now - self.completions.get(task, -SECONDS_BETWEEN_LINES) >= SECONDS_BETWEEN_LINES:
            self.completions[task] = now
            self._print(task, pace, detail, now)

    def _print(self, task: str, pace: _Pace, detail: str, now: float) -> None:
        left = pace.seconds_left(now)
        parts = [
            f"{task} {pace.done}/{pace.total}",
            rate_text(pace.rate(now)),
            f"{clock(now - pace.began)} elapsed",
            f"{clock(left)} left" if left else "",
            detail,
        ]
        self.console.print(time.strftime("%H:%M:%S"), ", ".join(part for part in parts if part))


class RateColumn(ProgressColumn):
    """Steps a second, or seconds a step where they are slow."""

    def render(self, task: Task) -> Text:
        """Return the rate of the running or finished task."""
        return Text(rate_text(task.finished_speed or task.speed or 0.0), style="progress.data.speed")


class ClockColumn(ProgressColumn):
    """Time since the start, and the time left while the task runs."""

    def render(self, task: Task) -> Text:
        """Return for example '1:20, 0:40 left'."""
        elapsed = task.finished_time if task.finished else task.elapsed
        left = None if task.finished else task.time_remaining
        return Text(clock(elapsed or 0.0) + (f", {clock(left)} left" if left else ""), style="progress.elapsed")


class Bars:
    """One bar a task name; the oldest complete ones make room when there are many."""

    def __init__(self, console: Console) -> None:
        self.ids: dict[str, TaskID] = {}
        self.started = False
        self.bars = RichProgress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            RateColumn(table_column=Column(no_wrap=True)),
            ClockColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[detail]}", markup=False, table_column=Column(no_wrap=True)),
            console=console,
            speed_estimate_period=600,
            refresh_per_second=4,
        )

    def __call__(self, task: str, done: int, total: int, detail: str = "") -> None:
        """Take a step of a task, or a note, which stays above the bars; see blendsearch.progress."""
        if task == NOTE:
            self.bars.console.print(f"note: {detail}", markup=False, highlight=False)
            return
        if task != WORKING and WORKING in self.ids:
            self.bars.update(self.ids[WORKING], visible=False, completed=1)
        known = self.ids.get(task)
        if known is None:
            known = self.ids[task] = self.bars.add_task(task, total=total, completed=done, detail=detail)
            self._make_room()
        elif done < self.bars.tasks[self.bars.task_ids.index(known)].completed:
            self.bars.reset(known, total=total, completed=done, visible=True, detail=detail)
        self.bars.update(known, completed=done, total=total, detail=detail)
        if not self.started:  # an empty display would leave a blank line
            self.started = True
            self.bars.start()

    def still(self, silent: float, last: str) -> None:
        """Show that work goes on: without a bar at work nothing on the screen moves."""
        if all(task.finished for task in self.bars.tasks):
            self(WORKING, 0, 1, last)

    def stop(self) -> None:
        """Leave the bars as they are and give the terminal back."""
        if self.started:
            self.bars.stop()

    def _make_room(self) -> None:
        visible = [task for task in self.bars.tasks if task.visible]
        complete = [task for task in visible if task.finished]
        for task in complete[: max(0, len(visible) - MOST_BARS)]:
            self.bars.update(task.id, visible=False)


def rate_text(rate: float) -> str:
    """Write steps a second as '12/s', '1.2/s' or '3.5 s each'; '' for 0."""
    if rate <= 0:
        return ""
    if rate < 1:
        return f"{1 / rate:.1f} s each"
    return f"{rate:.1f}/s" if rate < 10 else f"{rate:.0f}/s"


def clock(seconds: float) -> str:
    """Write seconds as '0:05', '12:30' or '1:02:03'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
