"""What a job's files say of the people whose ratings it used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blendsearch.criteria import CRITERIA
from blendsearch.experiment.experiment import Experiment


def raters_record(experiment: Experiment, criteria: Sequence[str]) -> dict[str, Any]:
    """Return {"ratings": ...} where some of the criteria read ratings, else nothing.

    Keys: raters (name -> filters rated), shared (filters that all rated), kappa (Fleiss', or None), fallback.
    """
    ratings = experiment.ratings
    if ratings is None or not any("ratings" in CRITERIA.get(name).needs for name in criteria):
        return {}
    counts = {name: sum(len(rated) for rated in marks.values()) for name, marks in ratings.raters.items()}
    shared = len(ratings.shared)
    return {
        "ratings": {"raters": counts, "shared": shared, "kappa": ratings.kappa, "fallback": ratings.fallback},
    }
