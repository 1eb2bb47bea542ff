"""The engine without workers: one item after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from blendsearch.compute import threads
from blendsearch.evolution.engines.base import Work


class HereEngine:
    """This process."""

    nearby = True
    workers = 1

    def run(self, work: Work, items: Mapping[int, Any]) -> Iterator[tuple[int, Any]]:
        """Yield (position, result) in order."""
        with threads(work.threads):
            for position, item in items.items():
                yield position, work.function(work.state, item)

    def abandon(self) -> None:
        """Do nothing: nothing goes on beside what called."""
