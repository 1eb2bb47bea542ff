"""Schedules of several stages, in each of which the network is cut and trained; a stopped one goes on where it was."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from blendsearch.compute import child_seed
from blendsearch.plain import State
from blendsearch.results.reading import taken_from
from blendsearch.schedules.base import Job, Outcome, Schedule
from blendsearch.structure import Plan, Structure
from blendsearch.training.loop import CheckpointStore, History, steps_per_epoch


@dataclass
class Place:
    """Where a run stands before a stage: the network as it is now, and its plan in the indices of the original.

    number: of the stage, from 1. parts: histories of the stages before it. cut: whether the plan already holds
    this stage's cut, as in a run that was stopped while it trained.
    """

    job: Job
    network: nn.Module
    plan: Plan
    number: int = 1
    parts: list[History] = field(default_factory=list)
    cut: bool = False

    @cached_property
    def structure(self) -> Structure:
        """The structure of the network as it is now."""
        whole = self.number == 1 and not self.cut
        return self.job.structure if whole else self.job.structure.again(self.network, self.plan)


@dataclass
class Stage:
    """One turn of pruning and training. label: names it in progress messages. share: of the optimiser steps."""

    label: str
    share: float

    def plan(self, place: Place) -> Plan | None:
        """Return what to keep, in the indices of the network as it is now; None when nothing is to go."""
        raise NotImplementedError

    def train(self, network: nn.Module, job: Job, **terms: Any) -> History:
        """Train the network in place; `terms` are those of `Job.fit`."""
        return job.fit(network, **terms)


class StagedSchedule(Schedule):
    """A schedule of several stages.

    Its optimiser steps together are as many as those of one-shot retraining. Each stage trains with an optimizer
    and a learning-rate schedule of its own, without warm-up, and with a child seed of its own. With a checkpoint a
    run that was stopped goes on with the epoch after the last finished one, and ends with the same weights.
    """

    def stages(self, network: nn.Module, job: Job) -> Sequence[Stage]:
        """Return the stages of a run, whose shares sum up to 1."""
        raise NotImplementedError

    def run(self, network: nn.Module, job: Job) -> Outcome:
        for place in self.places(network, job):
            last = place
        return Outcome(last.network, last.plan, History.joined(last.parts))

    def places(self, network: nn.Module, job: Job) -> Iterator[Place]:
        """Yield where the run stands: first at its beginning, or where it was stopped, then after each stage.

        A stage is run when the next place is asked for, so that between two of them somebody may look at the network.
        """
        stages = self.stages(network, job)
        epochs = divided(job, [stage.share for stage in stages])
        place = _start(network, job)
        yield place
        while place.number <= len(stages):
            place = _done(place, stages[place.number - 1], epochs[place.number - 1])
            if job.checkpoint is not None and place.number <= len(stages):
                job.checkpoint.save({**_frame(place), "network": _plain(place.network)})
            yield place


def divided(job: Job, shares: Sequence[float]) -> list[float]:
    """Divide the job's optimiser steps by the shares; return the epochs of each part, whole steps all of them."""
    per_epoch = steps_per_epoch(len(job.train), job.training.batch_size)
    total = max(1, round(job.training.epochs * per_epoch)) if job.training.epochs else 0
    ends = [round(total * reached) for reached in itertools.accumulate(shares)]
    ends[-1] = total
    return [(end - start) / per_epoch for start, end in itertools.pairwise([0, *ends])]


def _done(place: Place, stage: Stage, epochs: float) -> Place:
    """Return the place after a stage."""
    job = place.job
    if not place.cut:
        place = _cut(place, stage)
    training = job.training.model_copy(update={"epochs": epochs, "warmup_epochs": 0.0})
    history = stage.train(
        place.network, job, training=training, seed=child_seed(job.seed, "step", place.number),
        task=f"{job.task}, {stage.label}", checkpoint=_WithinStage.of(place),
    )  # fmt: skip
    return Place(job, place.network, place.plan, place.number + 1, [*place.parts, history])


def _cut(place: Place, stage: Stage) -> Place:
    plan = stage.plan(place)
    if plan is None:
        return replace(place, network=copy.deepcopy(place.network), cut=True)
    network = place.job.cut(place.structure, place.network, plan)
    return replace(place, network=network, plan=place.plan.then(plan), cut=True)


@dataclass
class _WithinStage:
    """The checkpoint store of one stage's training: keeps beside its state where the whole run stands."""

    store: CheckpointStore
    place: Place

    @classmethod
    def of(cls, place: Place) -> _WithinStage | None:
        return None if place.job.checkpoint is None else cls(place.job.checkpoint, place)

    @property
    def where(self) -> str:
        """The place of the run's checkpoint."""
        return self.store.where

    def load(self) -> State | None:
        state = self.store.load()
        own = state is not None and state["stage"] == self.place.number
        return state.get("training") if state is not None and own else None

    def save(self, state: State) -> None:
        self.store.save({**_frame(self.place), "training": state})


def _frame(place: Place) -> State:
    parts = [asdict(part) for part in place.parts]
    return {"stage": place.number, "plan": place.plan.to_dict(), "history": parts}


def _start(network: nn.Module, job: Job) -> Place:
    """Return the place before the first stage, or the one that the checkpoint holds.

    The network's shape comes from the plan; its weights lie in the checkpoint: here between two stages, with the
    state of the training within one.
    """
    state = job.checkpoint.load() if job.checkpoint is not None else None
    if state is None:
        return Place(job, network, Plan.full(job.structure.widths))
    assert job.checkpoint is not None
    with taken_from(Path(job.checkpoint.where)):
        plan, parts = Plan.from_dict(state["plan"]), [History(**part) for part in state["history"]]
        resumed = job.compute.place(job.structure.slice(network, plan))
        within = "training" in state
        if not within:
            resumed.load_state_dict(state["network"])
            resumed.eval()
        return Place(job, resumed, plan, state["stage"], parts, cut=within)


def _plain(network: nn.Module) -> State:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
