"""What trials came to, a line each as soon as one is done: a stopped run repeats none of them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from blendsearch.errors import RunError
from blendsearch.proxies import Estimate

LONGEST = 4096
"""Bytes that no line has."""


class Journal:
    """A file of estimates by plan, for one judge among those that share the file.

    judge: a name of what estimates; the file's run fixes all else. Estimates of plans that were compared with another
    one, or stopped in a race against it, stand with that; scores image by image are not kept. Half a line at the end,
    which a killed process left, counts as not written; RunError where another one is no estimate.
    """

    def __init__(self, path: Path, judge: str) -> None:
        self.path, self.judge = path, judge
        self.known: dict[str, Estimate] = {}
        self.beside: dict[tuple[str, str], Estimate] = {}
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror or error})") from None
        for number, line in enumerate(lines, start=1):
            self._take(number, line)

    def _take(self, number: int, line: bytes) -> None:
        try:
            judge, plan, value, seconds, passes, *beside = json.loads(line)
            rival, error, stopped = beside or (None, None, False)
            error = None if error is None else float(error)
            estimate = Estimate(float(value), float(seconds), int(passes), stopped=bool(stopped), error=error)
        except (ValueError, TypeError):
            raise RunError(
                f"{self.path}: line {number} is not a plan's estimate, [judge, plan, value, seconds, passes], and, "
                "if it was compared, with whom, the difference's error, and whether it was stopped; without the file, "
                "what it tells is judged anew"
            ) from None
        if judge == self.judge:
            self._keep(plan, estimate, rival)

    def _keep(self, plan: str, estimate: Estimate, rival: str | None) -> None:
        if rival is not None:
            self.beside[plan, rival] = estimate
        if not estimate.stopped:
            self.known.setdefault(plan, estimate)

    def of_another(self, judge: str) -> Journal:
        """Return the journal of another judge in the same file, told apart from this one's by its name."""
        return Journal(self.path, f"{self.judge}, {judge}")

    def __getstate__(self) -> None:
        raise TypeError("a journal is written by one process alone")

    def get(self, plan: str) -> Estimate | None:
        """Return the estimate of the plan with a digest on all images, if it was written."""
        return self.known.get(plan)

    def compared(self, plan: str, rival: str) -> Estimate | None:
        """Return the estimate of a plan beside another one, both by digest, if it was written."""
        return self.beside.get((plan, rival))

    def put(self, plan: str, estimate: Estimate, rival: str | None = None) -> None:
        """Write the estimate of a plan down, unless it is there; rival: whom it was compared with."""
        if (plan, rival) in self.beside or (rival is None and plan in self.known):
            return
        self._keep(plan, replace(estimate, scores=None), rival)
        entry = [self.judge, plan, estimate.value, estimate.seconds, estimate.passes]
        beside = [] if rival is None else [rival, estimate.error, estimate.stopped]
        line = json.dumps([*entry, *beside], allow_nan=False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            file.truncate(_end_of_lines(file))
            file.write(f"{line}\n".encode())


def _end_of_lines(file: BinaryIO) -> int:
    """Return where the last whole line ends."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - LONGEST))
    tail = file.read()
    return end - len(tail) + tail.rfind(b"\n") + 1 if tail else 0
