"""What one retraining came to."""

from __future__ import annotations

import base64

import numpy as np
from pydantic import Field

from blendsearch.results.records.common import Number, PlanData, Record

BLEND = "blend"
CRITERION = "criterion"
RANDOM_SEARCH = "control"
ABLATION = "ablation"
RIVAL = "rival"
FRONT = "front"
FRONT_CRITERION = "front criterion"
TRANSFERRED = "transferred"
"""Kinds of contenders, as files have them; the random search was called a control when they got their names."""

RANDOM_SEARCH_NAME = "random search"
"""The name under which the best of the random search is a contender."""

MEAN_OF_RANKS = "mean of ranks"
HESSO = "HESSO default"
CRITERION_PER_LAYER = "criterion per layer"
LAYER_BY_LAYER = "drop losses layer by layer"
TILTED = "drop losses and mean of ranks"
SWAPPED = "proxy's choice, swapped"
OWN_SHARES = "one criterion with own shares"
RIVAL_WORDS = {
    MEAN_OF_RANKS: "the mean of all criteria's ranks",
    HESSO: "the default blend of HESSO",
    CRITERION_PER_LAYER: "one criterion for each layer, chosen by the proxy",
    LAYER_BY_LAYER: "the drop losses alone, chosen layer by layer",
    TILTED: "the drop losses, tilted by the mean of all criteria's ranks as far as the proxy prefers",
    SWAPPED: "the criterion that the proxy chooses, its plan improved filter by filter as long as the blend's",
    OWN_SHARES: "the criterion that the proxy chooses, with shares that a search as long evolved for it",
}
"""Name of a rival -> what it is, in sentences."""


class CorrectImages(Record):
    """Which images of the test split a network classified right; bits: one an image, packed, in base64.

    scores: where a metric of the user's own gives other values than 0 and 1, these, float32 little-endian in base64, in
    place of the bits.
    """

    images: int
    bits: str = ""
    scores: str = ""

    @classmethod
    def of(cls, scores: np.ndarray) -> CorrectImages:
        """Return the record of scores in [0, 1] (or bool), [images]."""
        right = np.asarray(scores) == 1
        if bool((np.asarray(scores) == right).all()):
            return cls(images=len(right), bits=base64.b64encode(np.packbits(right).tobytes()).decode("ascii"))
        written = np.asarray(scores, dtype="<f4").tobytes()
        return cls(images=len(right), scores=base64.b64encode(written).decode("ascii"))

    @property
    def mask(self) -> np.ndarray:
        """The score of each image: float64 [images], 1 for classified right and 0 for not."""
        if self.scores:
            return np.frombuffer(base64.b64decode(self.scores), dtype="<f4").astype(float)
        packed = np.frombuffer(base64.b64decode(self.bits), dtype=np.uint8)
        return np.unpackbits(packed, count=self.images).astype(float)


class TestRecord(Record):
    """records/test.json: the unpruned network's test accuracy in [0, 1]; correct: None in those of older versions."""

    __test__ = False  # no tests in here, whatever pytest takes its name for

    accuracy: float = Field(alias="baseline")
    correct: CorrectImages | None = None


class Retraining(Record):
    """A contender retrained with one seed: accuracies in [0, 1], ratios against the unpruned network.

    steps: optimiser steps taken, the same for all contenders unless early stop is on. best_epoch: with early stop,
    the epoch whose weights were kept; it was chosen on the search split, so search_accuracy is then a little too high.
    pruned_test_accuracy: right after pruning (and compensation and reconstruction), before any training; with the
    schedule one_shot alone, and None where nothing is trained, since test_accuracy is then that.
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
    pruned_test_accuracy: Number = None


class RetrainingOutcome(Retraining):
    """A retraining and what it pruned; kept: group -> filters kept. plan: see `Plan.to_dict`.

    correct: on the test split; None in records of older versions.
    """

    kept: dict[str, int] = Field(default_factory=dict)
    plan: PlanData | None = None
    correct: CorrectImages | None = None
