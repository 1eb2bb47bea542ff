"""The one training loop: baseline, adaptation, retraining and short fine-tuning all go through it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.compute import Compute, child_seed
from blendsearch.config import TrainingConfig
from blendsearch.data.batches import Split
from blendsearch.errors import DataError, TrainingError
from blendsearch.progress import Progress, silent
from blendsearch.training.evaluation import evaluate


class CheckpointStore(Protocol):
    """Keeps the state of the last finished epoch (tensors, numbers, strings, lists and dicts of these)."""

    def load(self) -> dict[str, Any] | None:
        """Return the last saved state, or None."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state in place of the last."""


@dataclass
class History:
    """What happened, epoch by epoch: mean loss, share of training images right, last learning rate.

    validation: accuracy after each epoch, where a validation split was given. seconds, steps: in all.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0

    @classmethod
    def joined(cls, parts: Sequence[History]) -> History:
        """Return the history of several trainings one after the other."""
        lists = {name: [v for part in parts for v in getattr(part, name)] for name in ("loss", "accuracy", "lr")}
        validation = [value for part in parts for value in part.validation]
        return cls(
            **lists, validation=validation, seconds=sum(p.seconds for p in parts), steps=sum(p.steps for p in parts)
        )


def train(
    network: nn.Module,
    split: Split,
    config: TrainingConfig,
    *,
    seed: int,
    compute: Compute | None = None,
    progress: Progress = silent,
    task: str = "training",
    checkpoint: CheckpointStore | None = None,
    validation: Split | None = None,
    mode: Callable[[nn.Module], object] = nn.Module.train,
    window: tuple[int, int] | None = None,
) -> History:
    """Train a network in place and return its history; it is left on the compute's device, in evaluation mode.

    mode: puts the network into training mode; a schedule that freezes layers leaves their batch norms in evaluation
    mode there. Parameters that do not require gradients stay as they are.
    window: (steps before, steps in all) of a longer training that this call is a part of, from the start of an
    epoch on; learning rates, images and progress are those of the longer one. The optimizer starts afresh.

    The images' order and augmentation in an epoch come from (seed, epoch) alone, so a run that is stopped and
    continued from its checkpoint ends with the same weights, bit for bit. Fractional epochs end in the middle of
    one. Weight decay spares biases and norms (Goyal et al. 2017). Raises TrainingError when the loss stops being
    finite; the checkpoint then still holds the epoch before.
    """
    compute = compute or Compute()
    compute.place(network)
    history = History()
    if config.epochs == 0:
        network.eval()
        return history
    per_epoch = steps_per_epoch(len(split), config.batch_size)
    total = max(1, round(config.epochs * per_epoch))
    before, whole = window or (0, total)
    optimizer = make_optimizer(network, config)
    start = _restore(checkpoint, network, optimizer, history, total)
    clock = time.perf_counter() - history.seconds
    for epoch in range(start, math.ceil(total / per_epoch)):
        steps = min(per_epoch, total - epoch * per_epoch)
        place = before // per_epoch + epoch
        batches = islice(split.batches(config.batch_size, seed=child_seed(seed, "epoch", place), augment=True), steps)
        with torch.random.fork_rng(devices=[compute.device] if compute.device.startswith("cuda") else []):
            torch.manual_seed(child_seed(seed, "dropout", place))
            mode(network)
            _epoch(network, batches, optimizer, config, compute, progress, task, history, before, whole, per_epoch)
        if validation is not None:
            history.validation.append(evaluate(network, validation.batches(500), compute).accuracy)
        history.seconds = time.perf_counter() - clock
        if checkpoint is not None:
            checkpoint.save(_state(network, optimizer, history, epoch + 1, total))
    network.eval()
    return history


def _epoch(
    network: nn.Module,
    batches: Any,
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    compute: Compute,
    progress: Progress,
    task: str,
    history: History,
    before: int,
    whole: int,
    per_epoch: int,
) -> None:
    loss_sum, right, seen = torch.zeros(()), torch.zeros(()), 0
    rate = 0.0
    for images, labels in batches:
        rate = learning_rate(config, before + history.steps, whole, per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with compute.autocast():
            logits = network(compute.images(images))
        labels = labels.to(logits.device, non_blocking=True)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=config.label_smoothing)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"{task}: the loss is {value} in epoch {before // per_epoch + len(history.loss) + 1}, "
                f"step {before + history.steps + 1} of {whole} "
                f"(learning rate {rate:.4g}); a lower lr, a warm-up or clip_norm may help"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        optimizer.step()
        history.steps += 1
        loss_sum += value * len(labels)
        right += (logits.argmax(1) == labels).sum().float().cpu()
        seen += len(labels)
        progress(task, before + history.steps, whole, f"loss {value:.3f}")
    history.loss.append(float(loss_sum / seen))
    history.accuracy.append(float(right / seen))
    history.lr.append(rate)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the optimiser steps of an epoch; DataError when there is no image.

    A last batch of one image is left out (another image each epoch): batch norm cannot train on a single value.
    """
    if images == 0:
        raise DataError("training: no image given, at least one expected")
    whole, rest = divmod(images, batch_size)
    return max(1, whole + (rest > 1))


def learning_rate(config: TrainingConfig, step: int, total: int, per_epoch: int) -> float:
    """Return the learning rate of a step (from 0): linear warm-up, then the schedule; "one_cycle" rises over 30 %.

    Sources: cosine, Loshchilov & Hutter 2017 (SGDR, no restarts); one_cycle, Smith & Topin 2018.
    """
    warmup = min(round(config.warmup_epochs * per_epoch), total)
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    place = (step - warmup) / max(1, total - warmup)
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * place))
    rise = 0.3
    if place < rise:
        return config.lr * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * place / rise)))
    return config.lr * 0.5 * (1 + math.cos(math.pi * (place - rise) / (1 - rise)))


def make_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimizer, with weight decay on convolution and linear weights alone."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)


def _state(
    network: nn.Module, optimizer: torch.optim.Optimizer, history: History, epoch: int, total: int
) -> dict[str, Any]:
    weights = {name: _plain(tensor) for name, tensor in network.state_dict().items()}
    return {
        "network": weights,
        "optimizer": copy.deepcopy(optimizer.state_dict()),  # its tensors go on changing
        "history": asdict(history),
        "epoch": epoch,
        "total": total,
    }


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone()


def _restore(
    checkpoint: CheckpointStore | None,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    history: History,
    total: int,
) -> int:
    """Go on from the checkpoint, if there is one of this training; return the epoch to go on with."""
    state = checkpoint.load() if checkpoint is not None else None
    if state is None:
        return 0
    if state["total"] != total:
        raise TrainingError(f"checkpoint: it is of a training of {state['total']} steps, this one has {total}")
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
    for name, value in copy.deepcopy(state["history"]).items():
        setattr(history, name, value)
    return int(state["epoch"])
