"""How networks are trained, retrained after pruning, and refitted without labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from blendsearch.config.sections.types import BelowOne, Count, NotNegative, Positive, Section, broken_rule


class DistillationConfig(Section):
    """Learning from the unpruned network too: the share of its term in the loss, and the softmax temperature."""

    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Positive = 4.0


class EarlyStopConfig(Section):
    """Stop after `patience` epochs in which the accuracy on the search split rose by no more than `min_delta`."""

    patience: Count = 5
    min_delta: BelowOne = 0.0


class TrainingConfig(Section):
    """One training run; `epochs` may be a fraction, and 0 means that the network is taken as it is.

    epochs: where model.weights are given and nothing is said here, 0.
    early_stop: the learning rate still moves as for all `epochs`; networks may then differ in optimiser steps.
    """

    epochs: NotNegative = 20
    batch_size: Count = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.05
    momentum: BelowOne = 0.9
    nesterov: bool = True
    weight_decay: NotNegative = 5e-4
    schedule: Literal["cosine", "one_cycle", "constant"] = "cosine"
    warmup_epochs: NotNegative = 0
    label_smoothing: BelowOne = 0
    clip_norm: Positive | None = None
    distillation: DistillationConfig | None = None
    early_stop: EarlyStopConfig | None = None

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> TrainingConfig:
        if self.optimizer == "sgd" and self.nesterov and self.momentum == 0:
            raise broken_rule("nesterov needs a momentum above 0; set nesterov: false")
        return self


class RetrainingConfig(TrainingConfig):
    """Training of the pruned networks; with `seeds` above 1 each is retrained so often, for an interval."""

    epochs: NotNegative = 10
    seeds: Count = 1


class CompensationConfig(Section):
    """Closed-form refit after each cut, without labels: how many images, output positions per layer, and the ridge.

    Images come out of the calibration split and, when there are more of them, out of the training split; null takes
    the calibration split as it is.
    """

    images: Count | None = 1000
    positions: Count = 20_000
    ridge: Positive = 1e-3


class ReconstructionConfig(Section):
    """Short training after each cut, without labels, towards what the network gave before it.

    features, logits: weights of the distances between feature maps and between answers, the latter at a softmax
    temperature. images: as for compensation; null takes the calibration split. AdamW, cosine.
    """

    images: Count | None = None
    steps: Count = 400
    batch_size: Count = 64
    lr: Positive = 3e-3
    features: NotNegative = 1.0
    logits: NotNegative = 0.0
    temperature: Positive = 4.0

    @model_validator(mode="after")
    def _something_is_compared(self) -> ReconstructionConfig:
        if self.features == self.logits == 0:
            raise broken_rule("features and logits are both 0; one of them must be above 0")
        return self


def train_where_no_weights(data: object) -> object:
    """Take a network as it is, in a file that gives it weights and says nothing of training.epochs."""
    if not isinstance(data, Mapping):
        return data
    model, training = data.get("model"), data.get("training", {})
    weights = model.get("weights") if isinstance(model, Mapping) else getattr(model, "weights", None)
    if weights is None or not isinstance(training, Mapping) or "epochs" in training:
        return data
    return {**data, "training": {**training, "epochs": 0}}


def compensate_where_nothing_trains(data: object) -> object:
    """Switch compensation on, on the calibration images, in a file that trains no pruned network and says nothing."""
    retraining = data.get("retraining") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or "compensation" in data or not isinstance(retraining, Mapping):
        return data
    if retraining.get("epochs") != 0:
        return data
    return {**data, "compensation": {"images": None}}
