"""What trials came to, a line each as soon as one is done: a stopped run repeats none of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

from blendsearch.errors import RunError
from blendsearch.proxies import Estimate

LONGEST = 4096
"""Bytes that no line has."""


class Journal:
    """A file of estimates by plan, for one judge among those that share the file.

    judge: a name of what estimates; the file's run fixes all else. Estimates of plans that were stopped in a race stand
    with the plan that they raced against; scores image by image are not kept. Half a line at the end, which a killed
    process left, counts as not written; RunError where another one is no estimate.
    """

    def __init__(self, path: Path, judge: str) -> None:
        self.path, self.judge = path, judge
        self.known: dict[str, Estimate] = {}
        self.stopped: dict[tuple[str, str], Estimate] = {}
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
            judge, plan, value, seconds, passes, *rival = json.loads(line)
            estimate = Estimate(float(value), float(seconds), int(passes), stopped=bool(rival))
            (against,) = rival or [None]
        except (ValueError, TypeError):
            raise RunError(
                f"{self.path}: line {number} is not a plan's estimate, [judge, plan, value, seconds, passes] and whom "
                "it lost to, if it did; without the file, what it tells is judged anew"
            ) from None
        if judge == self.judge:
            self._keep(plan, estimate, against)

    def _keep(self, plan: str, estimate: Estimate, rival: str | None) -> None:
        if rival is None:
            self.known[plan] = estimate
        else:
            self.stopped[plan, rival] = estimate

    def __getstate__(self) -> None:
        raise TypeError("a journal is written by one process alone")

    def get(self, plan: str, rival: str | None = None) -> Estimate | None:
        """Return the estimate of the plan with a digest, if it was written.

        rival: digest of the plan that it would race against; one that was stopped in that very race is found, too.
        """
        raced = None if rival is None else self.stopped.get((plan, rival))
        return raced or self.known.get(plan)

    def put(self, plan: str, estimate: Estimate, rival: str | None = None) -> None:
        """Write the estimate of a plan down; rival: whom it raced against, if it did."""
        against = rival if estimate.stopped else None
        if self.get(plan, against) is not None:
            return
        self._keep(plan, Estimate(estimate.value, estimate.seconds, estimate.passes, stopped=estimate.stopped), against)
        entry = [self.judge, plan, estimate.value, estimate.seconds, estimate.passes]
        line = json.dumps(entry if against is None else [*entry, against], allow_nan=False)
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
