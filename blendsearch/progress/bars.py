"""Progress as bars: on a terminal, and in a notebook."""

from __future__ import annotations

import io
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from blendsearch.progress import NOTE
from blendsearch.progress.words import clock, rate_text

MOST_BARS = 10
WORKING = "at work"
"""The bar that stands for work which reports nothing."""
SECONDS_BETWEEN_PICTURES = 0.5
NOTEBOOK_WIDTH = 110


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
    """One bar a task name; the oldest complete ones make room when there are many.

    after: seconds from now in which nothing is shown.
    """

    def __init__(self, console: Console, after: float = 0.0) -> None:
        self.ids: dict[str, TaskID] = {}
        self.started = False
        self.begin = time.monotonic() + after
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
            redirect_stdout=sys.stdout.isatty(),  # else what is printed meanwhile would leave the file it is meant for
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
            known = self.ids[task] = self.bars.add_task(task, total=total or None, completed=done, detail=detail)
            self._make_room()
        elif done < self.bars.tasks[self.bars.task_ids.index(known)].completed:
            self.bars.reset(known, total=total, completed=done, visible=True, detail=detail)
        self.bars.update(known, completed=done, total=total or None, detail=detail)
        self.tick()

    def tick(self) -> None:
        """Begin to show what there is; an empty display would leave a blank line."""
        if not self.started and self.ids and time.monotonic() >= self.begin:
            self.started = True
            self.bars.start()

    def still(self, silent: float, last: str) -> None:
        """Show that work goes on: without a bar at work nothing on the screen moves."""
        if time.monotonic() >= self.begin and all(task.finished for task in self.bars.tasks):
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


class NotebookBars(Bars):
    """The same bars as a picture below the cell, drawn anew twice a second; it takes no widgets."""

    def __init__(self, after: float = 0.0) -> None:
        super().__init__(Console(file=io.StringIO(), record=True, width=NOTEBOOK_WIDTH, force_jupyter=False), after)
        self.handle: Any = None
        self.drawn = 0.0

    def tick(self) -> None:
        """Draw the bars where that is due."""
        now = time.monotonic()
        if self.ids and now >= self.begin and now - self.drawn >= SECONDS_BETWEEN_PICTURES:
            self.drawn = now
            self._draw()

    def stop(self) -> None:
        """Draw the bars for the last time."""
        if self.handle is not None:
            self._draw()

    def _draw(self) -> None:
        from IPython.display import display  # there in a notebook, and nowhere else needed

        console = self.bars.console
        console.print(self.bars.get_renderable())
        html = console.export_html(inline_styles=True, clear=False, code_format="<pre>{code}</pre>")
        picture = {"text/plain": console.export_text().rstrip(), "text/html": html}
        if self.handle is None:
            self.handle = display(picture, raw=True, display_id=True)
        else:
            self.handle.update(picture, raw=True)
