"""The one training loop: baseline, adaptation, retraining and short fine-tuning all go through it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from blendsearch.compute import Compute, child_seed
from blendsearch.config import TrainingConfig
from blendsearch.data.batches import Split
from blendsearch.errors import ConfigError, DataError, TrainingError
from blendsearch.plain import State
from blendsearch.progress import Progress, silent
from blendsearch.results.reading import taken_from
from blendsearch.training.early_stop import EarlyStop, weights_of
from blendsearch.training.evaluation import Batches, images_device, score_images
from blendsearch.training.losses import Objective, main_answer, make_objective
from blendsearch.training.optimisers import NotFiniteError, Steps, learning_rate


class CheckpointStore(Protocol):
    """Keeps the state of the last finished epoch (tensors, numbers, strings, lists and dicts of these)."""

    @property
    def where(self) -> str:
        """Where the state lies, for a message."""

    def load(self) -> State | None:
        """Return the last saved state, or None."""

    def save(self, state: State) -> None:
        """Keep a state in place of the last."""


@dataclass
class History:
    """What happened, epoch by epoch: mean loss, share of training images right (nan where that means nothing), last
    learning rate.

    validation: accuracy after each epoch, where a validation split was given. seconds, steps: in all. own: a
    training of the user's own, whose steps were not counted. best_epoch:
    with early stop, the epoch (from 1) whose weights the network ended with. stopped: whether it ended early.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0
    best_epoch: int | None = None
    stopped: bool = False
    own: bool = False

    @classmethod
    def joined(cls, parts: Sequence[History]) -> History:
        """Return the history of several trainings one after the other; the last part says which epoch was best."""
        lists: dict[str, Any] = {
            name: [value for part in parts for value in getattr(part, name)]
            for name in ("loss", "accuracy", "lr", "validation")
        }
        last = parts[-1].best_epoch if parts else None
        return cls(
            **lists,
            seconds=sum(part.seconds for part in parts),
            steps=sum(part.steps for part in parts),
            best_epoch=None if last is None else last + sum(len(part.loss) for part in parts[:-1]),
            stopped=any(part.stopped for part in parts),
        )


def train(
    network: nn.Module,
    split: Split,
    training: TrainingConfig,
    *,
    seed: int,
    compute: Compute | None = None,
    progress: Progress = silent,
    task: str = "training",
    checkpoint: CheckpointStore | None = None,
    validation: Split | None = None,
    teacher: nn.Module | None = None,
    objective: Objective | None = None,
    mode: Callable[[nn.Module], object] = nn.Module.train,
    window: tuple[int, int] | None = None,
) -> History:
    """Train a network in place and return its history; it is left on the compute's device, in evaluation mode.

    validation: read after each epoch; early stop chooses the best epoch on it. teacher: the network to distil from
    where the settings say so, left as it is. objective: what is minimised in place of what the settings say. mode:
    puts the network into training mode; a schedule that freezes layers leaves their batch norms in evaluation mode
    there. Parameters that do not require gradients stay as they are. window: (steps before, steps in all) of a longer
    training that this call is a part of, from the start of an epoch on; learning rates, images and progress are those
    of the longer one. The optimizer starts afresh. Of a network that gives auxiliary answers while it trains the main
    one is trained, see `main_answer`.

    The images' order and augmentation in an epoch come from (seed, epoch) alone, so a run that is stopped and
    continued from its checkpoint ends with the same weights, bit for bit. Fractional epochs end in the middle of
    one. Raises TrainingError when loss, gradient or weights stop being finite; the checkpoint then still holds the
    last good epoch. Raises ConfigError for early stop without a validation split, distillation without a teacher.
    """
    compute = compute or Compute()
    compute.place(network)
    if training.epochs == 0:
        network.eval()
        return History()
    per_epoch = steps_per_epoch(len(split), training.batch_size)
    total = max(1, round(training.epochs * per_epoch))
    before, whole = window or (0, total)
    run = _Run(
        network=network,
        training=training,
        compute=compute,
        progress=progress,
        task=task,
        total=total,
        per_epoch=per_epoch,
        checkpoint=checkpoint,
        before=before,
        whole=whole,
        steps=Steps(network, training, compute),
        objective=objective or make_objective(training, teacher, compute),
        early_stop=_early_stop(training, validation),
    )
    history = run.history
    start = run.restore()
    clock = time.perf_counter() - history.seconds
    for epoch in range(start, math.ceil(total / per_epoch)):
        if history.stopped:
            break
        steps = min(per_epoch, total - epoch * per_epoch)
        place = before // per_epoch + epoch
        batches = islice(split.batches(training.batch_size, seed=child_seed(seed, "epoch", place), augment=True), steps)
        with torch.random.fork_rng(devices=[compute.device] if compute.device.startswith("cuda") else []):
            torch.manual_seed(child_seed(seed, "dropout", place))
            mode(network)
            run.epoch(batches)
        if validation is not None:
            run.validate(validation)
        history.seconds = time.perf_counter() - clock
        run.save(epoch + 1)
    if run.early_stop is not None:
        run.early_stop.put_back(network)
    network.eval()
    return history


def _early_stop(training: TrainingConfig, validation: Split | None) -> EarlyStop | None:
    if training.early_stop is None:
        return None
    if validation is None:
        raise ConfigError("early_stop: no validation split given (allowed: null, or a training that is given one)")
    return EarlyStop(training.early_stop)


@dataclass(kw_only=True)
class _Run:
    """One training under way: `total` steps, which come after `before` of the `whole`."""

    network: nn.Module
    training: TrainingConfig
    compute: Compute
    progress: Progress
    task: str
    total: int
    per_epoch: int
    checkpoint: CheckpointStore | None
    before: int
    whole: int
    steps: Steps
    objective: Objective
    early_stop: EarlyStop | None
    history: History = field(default_factory=History)

    def epoch(self, batches: Batches) -> None:
        """Train on the batches of one epoch."""
        history = self.history
        loss_sum, right, seen, lr = torch.zeros(()), torch.zeros(()), 0, 0.0
        for images, labels in batches:
            lr = learning_rate(self.training, self.before + history.steps, self.whole, self.per_epoch)
            try:
                value, hits = self._batch(images, labels, lr)
            except NotFiniteError as error:
                epoch = self.before // self.per_epoch + len(history.loss) + 1
                place = f"in epoch {epoch}, step {self.before + history.steps + 1} of {self.whole}"
                raise self._diverged(f"{error} {place} (learning rate {lr:.4g})") from None
            history.steps += 1
            loss_sum += value * len(labels)
            right += hits.float().cpu()
            seen += len(labels)
            self.progress(self.task, self.before + history.steps, self.whole, f"loss {value:.3f}")
        # The last update is not seen by any loss, and a checkpoint must hold what one can go on from.
        if not all(bool(parameter.isfinite().all()) for parameter in self.network.parameters()):
            raise self._diverged(f"the weights are not finite after epoch {len(history.loss) + 1}")
        history.loss.append(float(loss_sum / seen))
        history.accuracy.append(float(right / seen))
        history.lr.append(lr)

    def _batch(self, images: Tensor, labels: Tensor, lr: float) -> tuple[float, Tensor]:
        """Take one step; return the batch's mean loss and how many images were right before it."""
        images = self.compute.images(images)
        with self.compute.autocast(), self.objective.watching():
            outputs = self.network(images)
        if self.objective.classifies:
            outputs = main_answer(outputs)
        labels = labels.to(images_device(outputs, self.compute), non_blocking=True)
        loss = self.objective(images, outputs, labels)
        value = loss.item()
        if not math.isfinite(value):
            raise NotFiniteError(f"the loss is {value}")
        self.steps.step(loss, lr)
        return value, (outputs.argmax(1) == labels).sum() if self.objective.classifies else torch.tensor(math.nan)

    def validate(self, validation: Split) -> None:
        """Read the accuracy after an epoch, and stop where the settings say so."""
        accuracy = float(score_images(self.network, validation, self.compute).mean())
        history = self.history
        history.validation.append(accuracy)
        if self.early_stop is not None:
            enough = self.early_stop.see(len(history.loss), accuracy, self.network)
            history.stopped = enough and history.steps < self.total
            history.best_epoch = self.early_stop.best_epoch

    def save(self, epoch: int) -> None:
        """Keep everything that a training stopped now would need to go on."""
        if self.checkpoint is None:
            return
        state = {
            "network": weights_of(self.network),
            **self.steps.state_dict(),
            "history": asdict(self.history),
            "epoch": epoch,
            "total": self.total,
        }
        if self.early_stop is not None:
            state["early_stop"] = self.early_stop.state_dict()
        self.checkpoint.save(state)

    def restore(self) -> int:
        """Go on from the checkpoint, if there is one of this training; return the epoch to go on with."""
        state = self.checkpoint.load() if self.checkpoint is not None else None
        if state is None or self.checkpoint is None:
            return 0
        with taken_from(Path(self.checkpoint.where)):
            return self._take_up(state)

    def _take_up(self, state: State) -> int:
        if state["total"] != self.total:
            raise TrainingError(f"checkpoint: it is of a training of {state['total']} steps, this one has {self.total}")
        if ("early_stop" in state) != (self.early_stop is not None):
            raise TrainingError("checkpoint: it is of a training with another early_stop; delete it or set the same")
        self.network.load_state_dict(state["network"])
        self.steps.load_state_dict(state)
        for name, value in copy.deepcopy(state["history"]).items():
            setattr(self.history, name, value)
        if self.early_stop is not None:
            self.early_stop.load_state_dict(state["early_stop"])
        return int(state["epoch"])

    def _diverged(self, what: str) -> TrainingError:
        """Build the error of a training that left the finite numbers."""
        epochs = len(self.history.loss)
        if self.checkpoint is None or epochs == 0:
            good = "no checkpoint of a good epoch was kept"
        else:
            good = f"the last good checkpoint is of epoch {epochs}, in {self.checkpoint.where}"
        return TrainingError(
            f"{self.task}: {what}; {good}; continuing with these settings would end here again: "
            "start a new run with a lower lr, a warm-up or clip_norm"
        )


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the optimiser steps of an epoch; DataError when there is no image.

    A last batch of one image is left out (another image each epoch): batch norm cannot train on a single value.
    """
    if images == 0:
        raise DataError("training: no image given, at least one expected")
    whole, rest = divmod(images, batch_size)
    return max(1, whole + (rest > 1))
