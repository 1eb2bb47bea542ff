"""The finals of a campaign as a table: who climbed how far, and why each went no further."""

from __future__ import annotations

from dataclasses import dataclass

from blendsearch.results.records.search import Finalist, FinalsRecord
from blendsearch.results.runs import SearchRun
from blendsearch.results.words import decimal, duration, percent


@dataclass(frozen=True, kw_only=True)
class FinalRow:
    """A candidate in words; accuracies: one a rung, a dash where it was out. won: whether it became the blend."""

    place: int
    trial: int
    proxy: str
    accuracies: tuple[str, ...]
    seconds: str
    stopped: str
    won: bool


@dataclass(frozen=True, kw_only=True)
class FinalsTable:
    """What the section of the finals shows. rungs: column heads. cost: the time of all trainings, in words."""

    rungs: tuple[str, ...]
    rows: tuple[FinalRow, ...]
    cost: str
    trainings: int
    proxy_first_won: bool


def finals_table(run: SearchRun) -> FinalsTable | None:
    """Return the table of a campaign's finals, or None when there were none."""
    return None if run.finals is None else _table(run.finals)


def _table(finals: FinalsRecord) -> FinalsTable:
    rows = tuple(_row(place, one, len(finals.rungs)) for place, one in enumerate(finals.candidates, start=1))
    return FinalsTable(
        rungs=tuple(f"{rung.epochs:.3g} {'epoch' if rung.epochs == 1 else 'epochs'}" for rung in finals.rungs),
        rows=rows,
        cost=duration(finals.seconds),
        trainings=finals.seeds * sum(len(one.accuracies) for one in finals.candidates),
        proxy_first_won=bool(rows) and rows[0].won,
    )


def _row(place: int, one: Finalist, rungs: int) -> FinalRow:
    missed = [None] * (rungs - len(one.accuracies))
    return FinalRow(
        place=place,
        trial=one.trial,
        proxy=decimal(one.proxy, 4),
        accuracies=tuple(percent(value) for value in [*one.accuracies, *missed]),
        seconds=duration(one.seconds),
        stopped=one.stopped or "still in",
        won=one.stopped == "won",
    )
