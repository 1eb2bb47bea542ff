"""The marks of all raters: one truth on the server, in the run folder after every change."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from blendsearch.results.run_folder import RunFolder
from blendsearch.statistics.ratings import SCHEMA, WORDS, RatedFilters, Ratings, check_marks, read_ratings
from blendsearch.structure import Plan, Structure

FILE = "ratings.json"
NAMES = {value: word for word, value in WORDS.items()}


class Marks:
    """Who marked which filter how. A change counts once it is in the file; several tabs may write at once.

    given: marks that a folder without any begins with, and keeps from then on as its own.
    version: goes up with every change, so that a page knows whether it is behind.
    """

    def __init__(self, folder: RunFolder, structure: Structure, rater: str, given: Ratings | None = None) -> None:
        self.folder = folder
        self.rater = rater
        self.version = 0
        self._lock = threading.RLock()
        self._undo: list[tuple[str, int, float | None]] = []
        if given is not None and not folder.has(FILE):
            folder.write_json(FILE, _record(given.raters))
        found = read_ratings(folder / FILE).raters if folder.has(FILE) else {}
        self._raters = {name: {g: dict(rated) for g, rated in marks.items()} for name, marks in found.items()}
        for marks in self._raters.values():
            check_marks(structure, marks)
        self._raters.setdefault(rater, {})

    def mark(self, group: str, filter: int, word: str | None) -> None:
        """Set a mark of this rater, "keep", "unsure" or "drop"; None takes it away."""
        with self._lock:
            before = self._own.get(group, {}).get(filter)
            self._set(group, filter, None if word is None else WORDS[word])
            self._undo.append((group, filter, before))

    def undo(self) -> tuple[str, int] | None:
        """Take back this rater's last change since the server started; return its group and filter, or None."""
        with self._lock:
            if not self._undo:
                return None
            group, filter, before = self._undo[-1]
            self._set(group, filter, before)
            self._undo.pop()
            return group, filter

    def forget_changes(self) -> None:
        """Make the changes so far final: what was pruned by them cannot be taken back."""
        with self._lock:
            self._undo.clear()

    def of(self, group: str) -> dict[int, str]:
        """Return this rater's marks of a group; a number that is none of the three counts as the nearest."""
        with self._lock:
            return {i: _word(value) for i, value in self._own.get(group, {}).items()}

    def counts(self) -> dict[str, int]:
        """Return how many filters of each group this rater marked."""
        with self._lock:
            return {group: len(rated) for group, rated in self._own.items()}

    def ratings(self, fallback: str | None = None) -> Ratings:
        """Return what all raters say by now."""
        with self._lock:
            raters = {n: {g: dict(rated) for g, rated in own.items()} for n, own in self._raters.items() if own}
            return Ratings(raters, fallback)

    def plan(self, widths: Mapping[str, int]) -> Plan:
        """Return what stays when this rater's drops go; of a group that would lose all, the first filter stays."""
        keep = {}
        for group, width in widths.items():
            dropped = {i for i, word in self.of(group).items() if word == "drop"}
            keep[group] = tuple(i for i in range(width) if i not in dropped) or (0,)
        return Plan(keep, dict(widths))

    @property
    def _own(self) -> RatedFilters:
        return self._raters[self.rater]

    def _set(self, group: str, filter: int, value: float | None) -> None:
        own = {g: dict(rated) for g, rated in self._own.items()}
        if value is None:
            own.get(group, {}).pop(filter, None)
        else:
            own.setdefault(group, {})[filter] = value
        changed = {**self._raters, self.rater: {g: rated for g, rated in own.items() if rated}}
        self.folder.write_json(FILE, _record(changed))
        self._raters = changed  # not before it is in the file
        self.version += 1


def _record(raters: Mapping[str, RatedFilters]) -> dict[str, Any]:
    groups = {
        name: {g: {str(i): NAMES.get(v, v) for i, v in sorted(rated.items())} for g, rated in marks.items()}
        for name, marks in raters.items()
        if marks  # who took back all marks is no rater
    }
    return {"schema": SCHEMA, "raters": {name: {"groups": own} for name, own in groups.items()}}


def _word(value: float) -> str:
    return "drop" if value < 0.25 else "keep" if value > 0.75 else "unsure"
