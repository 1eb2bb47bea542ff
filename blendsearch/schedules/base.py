"""What a schedule is: how pruning and retraining take turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from blendsearch.allocation import Allocation, Budget
from blendsearch.compute import Compute, child_seed
from blendsearch.config import TrainingConfig
from blendsearch.criteria import ScoringSetup, score_network
from blendsearch.data.batches import Split
from blendsearch.plain import State
from blendsearch.progress import Progress, silent
from blendsearch.registry import Registry
from blendsearch.schedules.refit import Refit
from blendsearch.statistics.task import Loss
from blendsearch.structure import Plan, Structure
from blendsearch.training.loop import CheckpointStore, History, train
from blendsearch.training.losses import OwnLoss
from blendsearch.training.own import train_by
from blendsearch.training.reconstruction import Reconstruction

Scorer = Callable[[nn.Module, Structure], dict[str, Tensor]]
"""Scores the filters of a network as it is now: (network, its structure) -> group -> [C]."""


@dataclass(kw_only=True)
class Trainer:
    """What trains networks on equal terms.

    teacher: the unpruned network, for distillation. validation: what early stop chooses on, never the test split.
    own: the user's own training in place of all that, which trains a network in place or returns the trained one.
    loss: what is lowered in place of cross entropy.
    """

    train: Split
    training: TrainingConfig
    seed: int = 0
    compute: Compute = field(default_factory=Compute)
    progress: Progress = silent
    task: str = "training"
    checkpoint: CheckpointStore | None = None
    teacher: nn.Module | None = None
    validation: Split | None = None
    own: Callable[[nn.Module], Any] | None = None
    loss: Loss | None = None

    @property
    def trains(self) -> bool:
        """Whether networks are trained at all."""
        return self.own is not None or self.training.epochs > 0

    def fit(self, network: nn.Module, **changes: Any) -> History:
        """Train a network in place; `changes` replace arguments of `train`."""
        if self.own is not None:
            return train_by(self.own, network, self.seed, self.compute)
        given: dict[str, Any] = {
            "training": self.training,
            "seed": self.seed,
            "compute": self.compute,
            "progress": self.progress,
            "task": self.task,
            "teacher": self.teacher,
            "validation": self.validation,
            "objective": OwnLoss.of(self.loss),
        }
        return train(network, self.train, **{**given, **changes})


@dataclass(kw_only=True)
class Job(Trainer):
    """Everything a schedule needs beside the network: how to score, how much to keep, how to train.

    compensation: refits in closed form what every cut leaves; None leaves it as it is. reconstruction: goes on from
    there by gradient; None does not.
    """

    structure: Structure
    scorer: Scorer
    allocation: Allocation
    budget: Budget
    task: str = "retraining"
    compensation: Refit | None = None
    reconstruction: Reconstruction | None = None

    def cut(self, structure: Structure, network: nn.Module, plan: Plan) -> nn.Module:
        """Return a pruned copy of a network of this structure, refitted where the job says so."""
        pruned = structure.slice(network, plan)
        if self.compensation is not None:
            self.compensation(network, structure, pruned, plan, self.compute, child_seed(self.seed, "compensation"))
        if self.reconstruction is not None:
            seed = child_seed(self.seed, "reconstruction")
            self.reconstruction(
                network, structure, pruned, plan, compute=self.compute, seed=seed, progress=self.progress
            )
        return pruned


@dataclass(frozen=True)
class Outcome:
    """The pruned and retrained network, its plan in the indices of the original, and the training history.

    before: the same network's weights as they were before it was trained, on the CPU; None where it was not, or was
    pruned and trained in turns.
    """

    network: nn.Module
    plan: Plan
    history: History
    before: State | None = None


class Schedule:
    """Takes a trained network to a pruned and retrained one. Options are the keyword arguments of its class.

    keeps_weights: whether the outcome starts from the weights that slicing leaves.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    keeps_weights: ClassVar[bool] = True

    def run(self, network: nn.Module, job: Job) -> Outcome:
        """Prune and retrain a copy of `network`, which stays as it is."""
        raise NotImplementedError


@dataclass(kw_only=True)
class TrainingJob(Trainer):
    """Everything a training schedule needs beside the network; there is no budget, since nothing is pruned for good.

    calibration: what criteria look at. The seed is that of plain training, so that both see the same images.
    """

    structure: Structure
    calibration: Split

    def score(self, network: nn.Module, criterion: str, seed: int) -> dict[str, Tensor]:
        """Score the filters of the network as it is now: group -> [C], the mean over coupled convolutions."""
        setup = ScoringSetup(compute=self.compute, seed=seed, group_rule="mean")
        return score_network(network, self.structure, self.calibration.batches(128), [criterion], setup)[criterion]


class TrainingSchedule:
    """Trains a network in a way of its own and returns it at full size, after as many steps as plain training.

    Options are the keyword arguments of its class. It stands in the same registry as the schedules that prune.
    """

    name: ClassVar[str]
    source: ClassVar[str]

    def check(self, training: TrainingConfig) -> None:
        """Raise ConfigError when this training is not one that the schedule can follow."""

    def train(self, network: nn.Module, job: TrainingJob) -> History:
        """Train `network` in place; go on from the job's checkpoint where there is one."""
        raise NotImplementedError


AnySchedule = type[Schedule] | type[TrainingSchedule]
SCHEDULES: Registry[Any] = Registry("schedule", "schedules")
S = TypeVar("S", bound=AnySchedule)


def register_schedule(schedule: S) -> S:
    """Register a schedule class, of pruning or of training, under its `name`; usable as a decorator."""
    SCHEDULES.register(schedule.name)(schedule)
    return schedule
