"""What shows progress: lines, bars, pictures in a notebook, and when nothing is shown at all."""

from __future__ import annotations

import io
import sys
import time
import types

import pytest
from rich.console import Console

from blendsearch.errors import BlendsearchError
from blendsearch.progress import shown as module
from blendsearch.progress import silent
from blendsearch.progress.bars import WORKING, Bars, NotebookBars
from blendsearch.progress.lines import Lines
from blendsearch.progress.shown import patient, reporting, showing
from blendsearch.progress.words import clock, rate_text


def test_words_for_rates_and_times():
    assert [rate_text(rate) for rate in (0, 0.25, 1.26, 123.4)] == ["", "4.0 s each", "1.3/s", "123/s"]
    assert [clock(seconds) for seconds in (4.6, 750, 3723)] == ["0:05", "12:30", "1:02:03"]


@pytest.fixture
def lines():
    """A Lines display whose clock the test sets, and what it printed."""

    class Display:
        def __init__(self):
            self.out = io.StringIO()
            self.time = 0.0
            self.show = Lines(Console(file=self.out, width=200), now=lambda: self.time)

        def at(self, time, *step):
            self.time = time
            self.show(*step)
            return self.out.getvalue().splitlines()

    return Display()


def test_lines_come_every_five_seconds_and_at_the_end(lines):
    for second in range(1, 20):
        printed = lines.at(second, "train", second, 20, "loss 0.3")
    assert len(printed) == 3
    assert printed[0].endswith("train 6/20, 1.0/s, 0:05 elapsed, 0:14 left, loss 0.3")
    assert lines.at(20, "train", 20, 20)[-1].endswith("train 20/20, 1.0/s, 0:19 elapsed")
    assert len(lines.at(21, "train", 20, 20)) == 4


def test_many_short_tasks_of_one_name_do_not_flood(lines):
    for step in range(100):
        lines.at(step / 10, "batch norm", 0, 1)
        printed = lines.at(step / 10 + 0.05, "batch norm", 1, 1)
    assert len(printed) == 2


def test_rate_after_a_resume_counts_from_where_it_began(lines):
    lines.at(0, "search", 50, 100)
    assert "1.0/s, 0:10 elapsed, 0:40 left" in lines.at(10, "search", 60, 100)[-1]


def test_bars_keep_one_bar_a_name_and_make_room():
    bars = Bars(Console(file=io.StringIO(), force_terminal=True, width=120))
    for task in range(20):
        bars(f"retrain {task}", 0, 2)
        bars(f"retrain {task}", 2, 2, "loss [0.1]")
    bars("retrain 19", 1, 2)
    bars.stop()
    assert len(bars.bars.tasks) == 20
    assert sum(task.visible for task in bars.bars.tasks) == 10
    assert not bars.bars.tasks[-1].finished


def test_bars_that_never_began_print_nothing():
    out = io.StringIO()
    Bars(Console(file=out, force_terminal=True)).stop()
    assert out.getvalue() == ""


def test_a_step_that_takes_long_has_lines_too(lines):
    lines.at(0, "scores", 3, 9, "obs of conv1")
    lines.time = 6
    lines.show.tick()
    assert lines.out.getvalue().endswith("scores 3/9, 0:06 elapsed, obs of conv1\n")
    lines.show.tick()
    assert len(lines.out.getvalue().splitlines()) == 1


def test_a_total_that_is_not_known_is_not_written(lines):
    lines.at(0, "batches", 1, 0)
    assert lines.at(10, "batches", 11, 0)[-1].endswith("batches 11, 1.0/s, 0:10 elapsed")
    assert lines.at(11, "batches", 12, 12)[-1].endswith("batches 12/12, 0:00 elapsed")


def test_bars_of_a_total_that_is_not_known_become_ones_of_a_known_one():
    bars = Bars(Console(file=io.StringIO(), force_terminal=True))
    bars("structure", 0, 0)
    assert bars.bars.tasks[0].total is None
    bars("structure", 2, 4)
    assert (bars.bars.tasks[0].total, bars.bars.tasks[0].finished) == (4, False)
    bars.stop()


@pytest.mark.parametrize("kind", ["terminal", "log"])
def test_nothing_is_shown_of_what_is_short(kind):
    out = io.StringIO()
    with showing(Console(file=out, force_terminal=kind == "terminal"), after=30) as progress:
        progress("statistics", 1, 2)
        progress("statistics", 2, 2)
    assert out.getvalue() == ""


@pytest.mark.parametrize("kind", ["terminal", "log"])
def test_what_takes_longer_is_shown_without_a_further_call(kind, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_TICKS", 0.02)
    monkeypatch.setattr("blendsearch.progress.lines.SECONDS_BETWEEN_LINES", 0.05)
    out = io.StringIO()
    with showing(Console(file=out, force_terminal=kind == "terminal", width=120), after=0.1) as progress:
        progress("statistics", 1, 4, "64 images")
        time.sleep(0.5)
        assert "statistics" in out.getvalue() or kind == "terminal"
    assert all(word in out.getvalue() for word in ("statistics", "1/4", "64 images"))


def test_by_default_it_goes_to_standard_error(monkeypatch, capsys):
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    with reporting("auto") as progress:
        progress("scores", 2, 2, "l1 of conv1")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "scores 2/2" in printed.err
    with reporting(None) as progress:
        progress("scores", 2, 2)
    assert capsys.readouterr() == ("", "")


def test_a_callback_is_handed_on_and_something_else_refused():
    with reporting(silent) as progress:
        assert progress is silent
    words = r"progress: 'loud' given, allowed: 'auto', None, or a function"
    with pytest.raises(BlendsearchError, match=words), reporting("loud"):
        pass


def test_what_is_printed_meanwhile_goes_where_it_would_have_gone(capsys):
    with showing(Console(file=io.StringIO(), force_terminal=True)) as progress:
        progress("scores", 1, 2)
        print("a result")
    assert capsys.readouterr().out == "a result\n"


def test_an_error_inside_ends_the_display():
    bars = io.StringIO()

    def work():
        with showing(Console(file=bars, force_terminal=True)) as progress:
            progress("scores", 1, 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert bars.getvalue().endswith("\x1b[?25h")  # the cursor is back


def test_a_patient_callback_hands_on_what_comes_late():
    told = []
    early, late = (patient(lambda *given: told.append(given), seconds) for seconds in (30, 0))
    early("structure", 1, 2)
    late("structure", 2, 2, "checked")
    assert told == [("structure", 2, 2, "checked")]


def test_in_a_notebook_one_picture_is_drawn_anew(monkeypatch):
    shown = []

    class Handle:
        def update(self, picture, raw):
            shown.append(picture)

    def display(picture, raw, display_id):
        assert raw
        assert display_id
        shown.append(picture)
        return Handle()

    ipython = types.ModuleType("IPython.display")
    ipython.display = display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", ipython)
    bars = NotebookBars()
    for done in range(50):
        bars("scores", done, 50, "l1 of <conv1>")
    bars("scores", 50, 50)
    bars.stop()
    assert len(shown) == 2  # the first one, and how it ended
    assert "0/50" in shown[0]["text/plain"]
    assert "&lt;conv1&gt;" in shown[0]["text/html"]
    assert "50/50" in shown[1]["text/plain"]
    unseen = NotebookBars(after=30)
    unseen("scores", 1, 2)
    unseen.stop()
    assert len(shown) == 2


def test_a_note_is_a_line_of_its_own_whatever_is_shown(lines):
    assert lines.at(0, "note", 1, 1, "weights have seen the images") == ["note: weights have seen the images"]
    assert len(lines.at(0.1, "note", 1, 1, "another")) == 2
    out = io.StringIO()
    bars = Bars(Console(file=out, force_terminal=True, width=120))
    bars("note", 1, 1, "weights [1] have seen the images")
    bars.stop()
    assert "note: weights [1] have seen the images" in out.getvalue()


def test_a_bar_at_work_stands_for_silence_and_goes_with_it():
    bars = Bars(Console(file=io.StringIO(), force_terminal=True, width=120))
    bars("scoring", 1, 1)
    bars.still(5, "after scoring 1/1")
    assert [task.description for task in bars.bars.tasks if task.visible] == ["scoring", WORKING]
    bars("search", 1, 2)
    assert WORKING not in [task.description for task in bars.bars.tasks if task.visible]
    bars.still(5, "search")  # its own bar shows that it is at work
    assert WORKING not in [task.description for task in bars.bars.tasks if task.visible]
    bars.stop()
