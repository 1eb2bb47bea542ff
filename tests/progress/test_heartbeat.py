"""Signs of life in silences, ever rarer, and none while there are reports."""

from __future__ import annotations

import io
import time

from rich.console import Console

from blendsearch.progress import heartbeat
from blendsearch.progress.heartbeat import Heartbeat
from blendsearch.progress.shown import showing


def test_signs_come_after_a_silence_and_then_more_rarely():
    clock, signs = [0.0], []
    heart = Heartbeat(lambda silent, last: signs.append((clock[0], silent, last)), "loading", now=lambda: clock[0])
    for second in range(1, 50):
        clock[0] = float(second)
        if second == 30:
            heart.beat("search")
        heart.look()
    assert [(at, last) for at, _, last in signs] == [
        (5, "loading"), (10, "loading"), (20, "loading"), (35, "search"), (40, "search"),
    ]  # fmt: skip
    assert signs[-1][1] == 10


def test_a_pipe_gets_a_line_in_a_silence(monkeypatch):
    monkeypatch.setattr(heartbeat, "SILENCE", 0.05)
    out = io.StringIO()
    with showing(Console(file=out, width=200)) as progress:
        progress("statistics", 2, 2)
        time.sleep(1.3)
    lines = out.getvalue().splitlines()
    assert "statistics 2/2" in lines[0]
    assert "still at work, after statistics 2/2, 0:0" in lines[1]
