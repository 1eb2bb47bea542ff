"""Trials that fail: what stands for their fitness, and how many of them a search bears."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from blendsearch.errors import TrialError
from blendsearch.evolution.parallel import Failed

FAILED = -math.inf
"""In place of the fitness of a trial that failed: below every other. Never written into a record."""


def succeeded(value: float) -> bool:
    """Return whether a fitness is one, and does not stand for a failure."""
    return value != FAILED


def value_words(value: float) -> str:
    """Return a fitness with four digits, or "failed"."""
    return f"{value:.4f}" if succeeded(value) else "failed"


def too_many(failed: int, of: int, last: Failed) -> TrialError:
    """Build the error that ends a search in which most trials of a generation fail."""
    return TrialError(
        f"search: {failed} of {of} trials at once failed, so it is not the candidates: a worker process {last.told}; "
        f"{last.advice} and continue with --resume"
    )


def count_reasons(failures: Iterable[Failed | None]) -> dict[str, int]:
    """Return how many failed for each reason, the most frequent first."""
    return dict(Counter(one.reason for one in failures if one is not None).most_common())
