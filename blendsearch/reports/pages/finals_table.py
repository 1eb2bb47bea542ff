"""The finals of a campaign as a table: who climbed how far, and why each went no further."""

from __future__ import annotations

from dataclasses import dataclass

from blendsearch.results.records.search import Finals, Run
from blendsearch.results.words import DASH, duration, percent


@dataclass(frozen=True)
class FinalRow:
    """A candidate in words; accuracies: one a rung, a dash where it was out. won: whether it became the blend."""

    place: str
    trial: str
    proxy: str
    accuracies: tuple[str, ...]
    seconds: str
    stopped: str
    won: bool


@dataclass(frozen=True)
class FinalsTable:
    """What the section of the finals shows. rungs: column heads. cost: the time of all trainings, in words."""

    rungs: tuple[str, ...]
    rows: tuple[FinalRow, ...]
    cost: str
    trainings: int
    proxy_first_won: bool


def finals_table(run: Run) -> FinalsTable | None:
    """Return the table of a campaign's finals, or None when there were none."""
    return None if run.finals is None else _table(run.finals)


def _table(finals: Finals) -> FinalsTable:
    rungs = len(finals.rungs)
    rows = [
        FinalRow(
            place=str(place),
            trial=str(one.trial),
            proxy=DASH if one.proxy is None else f"{one.proxy:.4f}",
            accuracies=tuple(percent(value) for value in [*one.accuracies, *[None] * (rungs - len(one.accuracies))]),
            seconds=duration(one.seconds),
            stopped=one.stopped or "still in",
            won=one.stopped == "won",
        )
        for place, one in enumerate(finals.candidates, start=1)
    ]
    heads = tuple(f"{rung.epochs:.3g} {'epoch' if rung.epochs == 1 else 'epochs'}" for rung in finals.rungs)
    trainings = finals.seeds * sum(len(one.accuracies) for one in finals.candidates)
    return FinalsTable(heads, tuple(rows), duration(finals.seconds), trainings, bool(rows) and rows[0].won)
