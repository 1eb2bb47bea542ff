"""Optimiser steps and the learning rate of each."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.plain import State

RISE = 0.3  # share of a one-cycle schedule that rises
START, END = 1 / 25, 1 / 25 / 1e4  # its first and last learning rate, as shares of the highest
LEAST_SCALE = 2.0**-16  # gradients that are not finite at this scale are not so for being scaled


class NotFiniteError(Exception):
    """A loss, gradient or weight is infinite or no number; the training loop says where and what to do."""


class Steps:
    """Takes a network's optimiser steps: backward pass, scaling for float16, clipping, update."""

    def __init__(self, network: nn.Module, training: TrainingConfig, compute: Compute) -> None:
        self.parameters = list(network.parameters())
        self.clip_norm = training.clip_norm
        self.optimizer = make_optimizer(network, training)
        self.scaler = torch.amp.GradScaler(compute.kind, enabled=compute.scales_gradients)

    def step(self, loss: Tensor, lr: float) -> None:
        """Descend along a loss's gradient at a learning rate; NotFiniteError when the gradient is not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            norm = float(nn.utils.clip_grad_norm_(self.parameters, self.clip_norm))
            if not self.scaler.is_enabled() and not math.isfinite(norm):
                raise NotFiniteError(f"the gradient's norm is {norm}")
        self.scaler.step(self.optimizer)  # of scaled gradients that are not finite it takes none
        self.scaler.update()  # and halves the scale
        if self.scaler.is_enabled() and self.scaler.get_scale() < LEAST_SCALE:
            raise NotFiniteError("the gradient is not finite in float16, however small its scale")

    def state_dict(self) -> State:
        """Return what a checkpoint must hold to go on."""
        # The optimizer's tensors go on changing, hence the copy.
        return {"optimizer": copy.deepcopy(self.optimizer.state_dict()), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Go on from a checkpoint."""
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])


def make_optimizer(network: nn.Module, training: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimizer, with weight decay on convolution and linear weights alone (Goyal et al. 2017)."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.dim() > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.lr)
    return torch.optim.SGD(groups, lr=training.lr, momentum=training.momentum, nesterov=training.nesterov)


def learning_rate(training: TrainingConfig, step: int, total: int, per_epoch: int) -> float:
    """Return the learning rate of a step (from 0): linear warm-up, then the schedule.

    Sources: cosine, Loshchilov & Hutter 2017 (SGDR, no restarts); one_cycle, Smith & Topin 2018, with the curve and
    defaults of torch's OneCycleLR (momentum stays as it is).
    """
    warmup = min(round(training.warmup_epochs * per_epoch), total)
    if step < warmup:
        return training.lr * (step + 1) / (warmup + 1)
    step, length = step - warmup, total - warmup
    if training.schedule == "constant":
        return training.lr
    if training.schedule == "cosine":
        return training.lr * _cosine(1.0, 0.0, step / max(1, length))
    peak = RISE * length - 1
    if step <= peak:
        return training.lr * _cosine(START, 1.0, step / peak)
    return training.lr * _cosine(1.0, END, (step - peak) / (length - 1 - peak))


def _cosine(start: float, end: float, place: float) -> float:
    """Go from start to end along half a cosine, place in [0, 1]."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * place))
