"""What one retraining came to."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from blendsearch.results.records.common import Number, Record

BLEND = "blend"
CRITERION = "criterion"
RANDOM_SEARCH = "control"
ABLATION = "ablation"
FRONT = "front"
FRONT_CRITERION = "front criterion"
TRANSFERRED = "transferred"
"""Kinds of contenders, as files have them; the random search was called a control when they got their names."""

RANDOM_SEARCH_NAME = "random search"
"""The name under which the best of the random search is a contender."""


class Retraining(Record):
    """A contender retrained with one seed: accuracies in [0, 1], ratios against the unpruned network.

    steps: optimiser steps taken, the same for all contenders unless early stop is on. best_epoch: with early stop,
    the epoch whose weights were kept; it was chosen on the search split, so search_accuracy is then a little too high.
    """

    name: str
    kind: str
    seed: int
    search_accuracy: float
    test_accuracy: float
    flops_ratio: float
    params_ratio: float
    seconds: Number = None
    steps: int | None = None
    best_epoch: int | None = None
    loss: list[Number] = Field(default_factory=list)


class RetrainingOutcome(Retraining):
    """A retraining and what it pruned; kept: group -> filters kept. plan: see `Plan.to_dict`."""

    kept: dict[str, int] = Field(default_factory=dict)
    plan: dict[str, Any] | None = None
