"""The trials of a campaign: in a file of its run folder, or in the database that the space names."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping

from blendsearch.config import Space
from blendsearch.errors import RunError
from blendsearch.evolution.claims import Claims
from blendsearch.evolution.database import Database
from blendsearch.evolution.ledger import Ledger, Trial
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.records.search import Generation

AT_WORK = "search"

FAILED = "records/failed.json"


def open_ledger(experiment: Experiment, *part: str) -> Ledger:
    """Open the study of the search, or of a part of it."""
    costs = () if part else experiment.space.search.objectives
    return Ledger(
        _database(experiment),
        "-".join([study_name(experiment), *part]),
        costs,
        guard=experiment.guard,
        progress=experiment.progress,
    )


def read_trials(experiment: Experiment) -> list[Trial]:
    """Read every trial of the search."""
    ledger = open_ledger(experiment)
    trials = ledger.trials()
    ledger.close()
    return trials


def study_name(experiment: Experiment) -> str:
    """Return what the study is called: as the space, in a database of many runs with the identity of this one."""
    space = experiment.space
    return space.name if space.ledger is None else f"{space.name}-{experiment.folder.identity}"


def check_ledger(space: Space) -> None:
    """Raise RunError where the database that a space names cannot be reached."""
    if space.ledger is not None:
        Database.at(space.ledger).check()


def check_trials(ledger: Ledger, generations: list[Generation]) -> None:
    """Raise RunError where the ledger lacks trials of a search that is gone on with."""
    wanted = generations[-1].evaluations if generations else 0
    there = len(ledger.trials())
    if there < wanted:
        raise RunError(
            f"{ledger.where}: holds {there} of the {wanted} trials that this run has done; go on with the ledger that "
            "it began with"
        )


@contextlib.contextmanager
def held_study(experiment: Experiment) -> Iterator[Experiment]:
    """Keep other processes, on this host or another, from going on with the same search in a shared database.

    Raises RunError for a search that another process is at. A process that was away for longer than its lease and
    finds that another took the search over stops before it writes a trial.
    """
    address = experiment.space.ledger
    if address is None:
        yield experiment
        return
    study = study_name(experiment)
    with Claims(Database.at(address), f"search {study}", experiment.progress) as claims:
        claims.hold(AT_WORK, f"the search '{study}'")

        def guard() -> None:
            if not claims.still_held(AT_WORK):
                raise RunError(f"the search '{study}' was taken over by {claims.holder(AT_WORK) or 'another process'}")

        held = copy.copy(experiment)
        held.guard = guard
        yield held


def _database(experiment: Experiment) -> Database:
    address = experiment.space.ledger
    return Database.of_file((experiment.folder / "trials.db").resolve()) if address is None else Database.at(address)


def note_failed(experiment: Experiment, failed: Mapping[str, str]) -> None:
    """Write down which contenders could not be judged, and why; nothing where there are none, and never were."""
    if failed or experiment.folder.has(FAILED):
        experiment.folder.write_json(FAILED, dict(failed))


def read_failed(experiment: Experiment) -> dict[str, str]:
    """Return contender -> why it could not be judged."""
    folder = experiment.folder
    return folder.read_record(FAILED, dict[str, str]) if folder.has(FAILED) else {}
