"""RePr: train, drop the filters that overlap most for a while, bring them back looking elsewhere, train on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.allocation import Budget
from blendsearch.allocation.global_threshold import NORMALISATIONS
from blendsearch.compute import child_seed
from blendsearch.config import TrainingConfig
from blendsearch.criteria import CRITERIA, applicable
from blendsearch.errors import ConfigError, TrainingError, unknown_name
from blendsearch.plain import State
from blendsearch.results.reading import taken_from
from blendsearch.schedules.base import TrainingJob, TrainingSchedule, register_schedule
from blendsearch.schedules.restoring import bring_back
from blendsearch.statistics import Statistics
from blendsearch.structure import Plan, Structure
from blendsearch.training.loop import CheckpointStore, History, steps_per_epoch

COMPARED: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda scores: scores, **NORMALISATIONS}


@dataclass(frozen=True)
class Phase:
    """A stretch of the training, in steps: of the full network, or of what is left without the dropped filters."""

    number: int
    before: int
    steps: int
    dropped: bool


@register_schedule
class RePr(TrainingSchedule):
    """Trains a network at full size, without its most overlapping filters for a while; `blendsearch train` only.

    cycles, full, sub: so often, the full network trains for `full` epochs and what is left of it for `sub`; the rest
    of training.epochs follows. Learning rates are those of plain training; momentum starts afresh in each phase.
    drop: share of all filters that go, the lowest scores of the whole network; min_keep: share of each group that
    stays, one filter at least (ours: overlaps are largest where filters are small, as in a first layer, of which
    next to nothing would be left). criterion: what scores them. compare: how scores of different layers are made
    comparable: "none" (the source compares overlaps as they are), or a normalisation of the global_threshold
    allocation, which criteria with a scale of their own in each layer need. Coupled convolutions lose the same
    filters, by the mean of their scores. Returned filters: `bring_back`.
    """

    name = "repr"
    source = "Prakash et al., RePr: Improved Training of Convolutional Filters, CVPR 2019, algorithm 1"

    def __init__(
        self,
        cycles: int = 3,
        full: int = 20,
        sub: int = 10,
        drop: float = 0.3,
        criterion: str = "orthogonality",
        compare: str = "none",
        min_keep: float = 0.5,
    ) -> None:
        for option, value in {"cycles": cycles, "full": full, "sub": sub}.items():
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"schedule.{option}: {value} given, a whole number, at least 1, expected")
        if not 0 < drop < 1:
            raise ConfigError(f"schedule.drop: {drop} given, more than 0 and below 1 expected")
        if not 0 <= min_keep < 1:
            raise ConfigError(f"schedule.min_keep: {min_keep} given, 0 to below 1 expected")
        if compare not in COMPARED:
            raise unknown_name("normalisation", compare, COMPARED, "schedule.compare")
        CRITERIA.get(criterion, "schedule.criterion")
        self.cycles, self.full, self.sub = cycles, full, sub
        self.drop, self.criterion, self.compare, self.min_keep = drop, criterion, compare, min_keep

    def check(self, training: TrainingConfig) -> None:
        if training.early_stop is not None:
            raise ConfigError(
                "training.early_stop: not allowed with schedule 'repr' (the best epoch of a phase in which filters are "
                "missing says nothing about the whole); set it to null"
            )
        needed = self.cycles * (self.full + self.sub)
        if needed > training.epochs:
            fits = int(training.epochs // (self.full + self.sub))
            most = f"at most {fits} such cycles fit" if fits else "not one such cycle fits"
            raise ConfigError(
                f"schedule: repr with {self.cycles} cycles of {self.full} + {self.sub} epochs needs {needed} epochs, "
                f"training.epochs is {training.epochs:g} ({most}; lower schedule.full and schedule.sub or train longer)"
            )

    def train(self, network: nn.Module, job: TrainingJob) -> History:
        self.check(job.training)
        self._check_structure(network, job.structure)
        per_epoch = steps_per_epoch(len(job.train), job.training.batch_size)
        total = round(job.training.epochs * per_epoch)
        progress = Stages(job.checkpoint, total, repr(sorted(vars(self).items())))
        history = progress.resume(network)
        for phase in self.phases(total, per_epoch):
            if phase.number < progress.number:
                continue
            plan = progress.plan or (self._without_lowest(network, job, phase) if phase.dropped else None)
            progress.begin(phase, network, plan, history)
            training = job.training.model_copy(update={"epochs": phase.steps / per_epoch})
            terms = {"training": training, "window": (phase.before, total), "checkpoint": progress}
            history = History.joined([history, self._fitted(network, plan, job, phase, terms)])
            progress.end()
        return history

    def phases(self, total: int, per_epoch: int) -> Iterator[Phase]:
        """Yield the stretches of a training of `total` steps, in order; together they are as long."""
        before, number = 0, 0
        for number in range(2 * self.cycles):
            steps = per_epoch * (self.sub if number % 2 else self.full)
            yield Phase(number, before, steps, dropped=bool(number % 2))
            before += steps
        if before < total:
            yield Phase(number + 1, before, total - before, dropped=False)

    def _fitted(
        self, network: nn.Module, plan: Plan | None, job: TrainingJob, phase: Phase, terms: dict[str, Any]
    ) -> History:
        """Train the network, or what the plan leaves of it and then bring back the rest."""
        if plan is None:
            return job.fit(network, **terms)
        left = job.structure.slice(network, plan)
        history = job.fit(left, **terms)
        job.structure.merge(network, left, plan)
        bring_back(network, job.structure, plan, child_seed(job.seed, "returned filters", phase.number))
        return history

    def _without_lowest(self, network: nn.Module, job: TrainingJob, phase: Phase) -> Plan:
        scores = job.score(network, self.criterion, child_seed(job.seed, "statistics", phase.number))
        comparable = {group: COMPARED[self.compare](score.double()) for group, score in scores.items()}
        return without_lowest(comparable, self.drop, self.min_keep)

    def _check_structure(self, network: nn.Module, structure: Structure) -> None:
        """Raise ConfigError before any training when this network cannot lose so many filters, or be scored so."""
        widths = structure.widths
        without_lowest({group: torch.zeros(width) for group, width in widths.items()}, self.drop, self.min_keep)
        reasons = applicable([self.criterion], structure, Statistics.of_weights(network, structure))
        for reason in reasons.values():
            raise ConfigError(f"schedule.criterion: '{self.criterion}': {reason}")


def without_lowest(scores: Mapping[str, Tensor], drop: float, min_keep: float) -> Plan:
    """Return the plan without the share `drop` of all filters, the lowest scores of all groups ranked together.

    Each group keeps the share `min_keep`, at least one filter; the next lowest go in place of those. Of equal scores
    the earlier group and lower index go. Raises ConfigError when so many cannot go.
    """
    widths = {group: len(score) for group, score in scores.items()}
    room = {group: widths[group] - floor for group, floor in Budget(min_keep=min_keep).floors(widths).items()}
    wanted, possible = round(drop * sum(widths.values())), sum(room.values())
    if wanted > possible:
        raise ConfigError(
            f"schedule.drop: {drop:g} given, at most {int(1e4 * possible / sum(widths.values())) / 1e4:g} of the "
            f"filters can go when every group keeps its minimum (schedule.min_keep {min_keep:g})"
        )
    places = [(group, index) for group, width in widths.items() for index in range(width)]
    keep = {group: set(range(width)) for group, width in widths.items()}
    for place in torch.cat(list(scores.values())).argsort(stable=True).tolist():
        group, index = places[place]
        if wanted and room[group]:
            keep[group].remove(index)
            room[group] -= 1
            wanted -= 1
    return Plan({group: tuple(sorted(kept)) for group, kept in keep.items()}, widths)


class Stages:
    """One checkpoint for all phases: the full network as the phase began, its plan, and the phase's own checkpoint.

    To the phase's training it is the checkpoint store; without a store to keep it in, it keeps nothing.
    """

    def __init__(self, store: CheckpointStore | None, total: int, options: str) -> None:
        self.store, self.total, self.options = store, total, options
        self.state: State = {}
        self.number = 0
        self.plan: Plan | None = None

    def resume(self, network: nn.Module) -> History:
        """Set the network back to the start of the phase under way and return the history before it."""
        state = self.store.load() if self.store is not None else None
        if state is None or self.store is None:
            return History()
        with taken_from(Path(self.store.where)):
            return self._take_up(state, network)

    def _take_up(self, state: State, network: nn.Module) -> History:
        if state.get("total") != self.total or state.get("options") != self.options:
            raise TrainingError(
                f"checkpoint: it is of another training (schedule or length) than this one of repr, {self.total} steps"
            )
        self.state = state
        self.number = state["phase"]
        self.plan = None if state["plan"] is None else Plan.from_dict(state["plan"])
        network.load_state_dict(state["full"])
        return History(**copy.deepcopy(state["before"]))

    def begin(self, phase: Phase, network: nn.Module, plan: Plan | None, history: History) -> None:
        """Note how a phase begins; one that was resumed goes on."""
        if self.state:
            return
        self.state = {
            "phase": phase.number,
            "full": {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()},
            "plan": None if plan is None else plan.to_dict(),
            "before": asdict(history),
            "inner": None,
            "total": self.total,
            "options": self.options,
        }

    def end(self) -> None:
        """Forget the phase; the next one begins."""
        self.state, self.plan = {}, None

    @property
    def where(self) -> str:
        """The place of the run's checkpoint."""
        return "memory alone" if self.store is None else self.store.where

    def load(self) -> State | None:
        """Return the checkpoint of the phase's training."""
        inner: State | None = self.state["inner"]
        return inner

    def save(self, state: State) -> None:
        """Keep the checkpoint of the phase's training together with how the phase began."""
        self.state["inner"] = state
        if self.store is not None:
            self.store.save(dict(self.state))
