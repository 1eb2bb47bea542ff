"""The trials of a campaign, in the storage of its run folder."""

from __future__ import annotations

from blendsearch.evolution.ledger import Ledger, Trial
from blendsearch.experiment.experiment import Experiment


def open_ledger(experiment: Experiment, *part: str) -> Ledger:
    """Open the study of the search, or of a part of it, in the folder's storage."""
    costs = () if part else experiment.space.search.objectives
    storage = f"sqlite:///{(experiment.folder / 'trials.db').resolve()}"
    return Ledger(storage, "-".join([experiment.space.name, *part]), costs)


def read_trials(experiment: Experiment) -> list[Trial]:
    """Read every trial of the search."""
    ledger = open_ledger(experiment)
    trials = ledger.trials()
    ledger.close()
    return trials
