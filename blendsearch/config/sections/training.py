"""How networks are trained, retrained after pruning, and refitted without labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from blendsearch.config.sections.types import BelowOne, Count, Epochs, NotNegative, Positive, Section, broken_rule


class DistillationConfig(Section):
    """Learning from the unpruned network too.

    weight: the share of its term in the loss.
    temperature: of both softmaxes.
    """

    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Positive = 4.0


class EarlyStopConfig(Section):
    """Stop once the accuracy on the search split no longer rises, and take the best epoch.

    patience: epochs without a rise before it stops.
    min_delta: what counts as a rise, as a share of the images.
    """

    patience: Count = 5
    min_delta: BelowOne = 0.0


class TrainingConfig(Section):
    """One training run.

    epochs: passes over the training images; a fraction is allowed, and 0 takes the network as it is, which is what
    `training` does where model.weights are given and nothing is said here.
    batch_size: images an optimiser step.
    optimizer: sgd or adamw.
    lr: the highest learning rate.
    momentum: of sgd.
    nesterov: Nesterov's momentum, of sgd.
    weight_decay: on weights of convolutions and linear layers alone.
    schedule: how the learning rate moves after the warm-up: down along a cosine, up and down as one_cycle, or not at
    all.
    warmup_epochs: in which the learning rate rises linearly.
    label_smoothing: the share of a target that is spread over all classes.
    clip_norm: the longest gradient; null for no limit.
    distillation: learn from the unpruned network too; null for labels alone.
    early_stop: end before all epochs; the learning rate still moves as for all of them, and networks may then differ
    in optimiser steps. null for all epochs.
    """

    epochs: Epochs = 20
    batch_size: Count = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.05
    momentum: BelowOne = 0.9
    nesterov: bool = True
    weight_decay: NotNegative = 5e-4
    schedule: Literal["cosine", "one_cycle", "constant"] = "cosine"
    warmup_epochs: Epochs = 0
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
    """Training of the pruned networks: blend, criteria and all others on the same terms.

    seeds: how often each is retrained; with two and more the report gives intervals.
    """

    epochs: Epochs = 10
    seeds: Count = 1


class CompensationConfig(Section):
    """Closed-form refit after each cut, without labels, of the layers that read what was cut.

    images: how many it looks at: of the calibration split and, when there are more of them, of the training split;
    null takes the calibration split as it is.
    positions: output positions of a layer that the least squares are solved over.
    ridge: added to the diagonal of the normal equations, as a share of its mean.
    """

    images: Count | None = 1000
    positions: Count = 20_000
    ridge: Positive = 1e-3


class ReconstructionConfig(Section):
    """Short training after each cut, without labels, towards what the network gave before it.

    Trained with AdamW, along a cosine.

    images: as for compensation; null takes the calibration split.
    steps: optimiser steps.
    batch_size: images a step.
    lr: the highest learning rate.
    features: weight of the distance between feature maps.
    logits: weight of the distance between answers.
    temperature: of the softmaxes that answers are compared by.
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
