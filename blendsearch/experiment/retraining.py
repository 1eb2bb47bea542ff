"""Equal retraining: every contender on the same terms, each with several seeds."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from blendsearch.allocation import Allocation, Budget
from blendsearch.blending import Scores
from blendsearch.compute import Compute, child_seed
from blendsearch.config import RetrainingConfig
from blendsearch.data.batches import Split
from blendsearch.data.splits import Splits
from blendsearch.errors import RunError, quoted
from blendsearch.experiment.contenders import Contender
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.given import TrainFunction
from blendsearch.experiment.given_plans import PlanCounts, PlanScorer
from blendsearch.experiment.scoring import BlendScorer
from blendsearch.progress import Progress, silent
from blendsearch.results.records.retraining import BLEND, FRONT, CorrectImages, RetrainingOutcome
from blendsearch.results.run_folder import FolderMark, RunFolder, checkpoint_at
from blendsearch.schedules import Job, Outcome, Refit, Schedule, Scorer
from blendsearch.statistics.task import Loss
from blendsearch.structure import Plan, Structure
from blendsearch.training import Reconstruction
from blendsearch.training.evaluation import score_images

AGAIN = "again"
"""The folder of checkpoints of what is retrained beside a record of it."""
KEPT = (BLEND, FRONT)
"""Kinds of contenders of which the networks of all seeds are kept; of the others the best one's, see `better`."""


@dataclass(frozen=True)
class Repetition:
    """One network to retrain: a contender's name and kind, and the seed of this repetition."""

    name: str
    kind: str
    seed: int

    @property
    def key(self) -> str:
        """A name for files."""
        return f"{self.kind}-{self.name}-seed{self.seed}".replace(" ", "_")

    @property
    def record(self) -> str:
        """The file of its record below the run folder."""
        return f"records/retrained/{self.key}.json"

    @property
    def network(self) -> str:
        """The file of its weights below the run folder, where they are kept."""
        return f"networks/{self.key}.safetensors"


@dataclass(frozen=True)
class Pruning:
    """How one contender is pruned: what scores its filters, what shares out its budget, and that budget."""

    scorer: Scorer
    allocation: Allocation
    budget: Budget

    @classmethod
    def by_plan(cls, plan: Plan, budget: Budget) -> Pruning:
        """Return how a plan is followed: it says how much is kept, so nothing is to be taken from it."""
        return cls(PlanScorer(plan), PlanCounts(plan), budget.whole)


@dataclass(frozen=True, kw_only=True)
class RetrainingSetup:
    """What all contenders share: network, schedule, training, splits, compensation; and how each is pruned, by name.

    compensation, reconstruction, own, loss: see `Job`. checkpoints: folder for the last epoch of each retraining under
    way, kept where the folder of the mark is seen: workers may be on other machines.
    """

    network: nn.Module
    structure: Structure
    prunings: Mapping[str, Pruning]
    schedule: Schedule
    training: RetrainingConfig
    compensation: Refit | None
    reconstruction: Reconstruction | None = None
    splits: Splits
    compute: Compute
    seed: int
    checkpoints: Path
    mark: FolderMark | None = None
    own: TrainFunction | None = None
    loss: Loss | None = None

    @classmethod
    def of(cls, experiment: Experiment, prunings: Mapping[str, Pruning], schedule: Schedule) -> RetrainingSetup:
        """Return the terms of an experiment's space; the network goes to the CPU, from where workers take it."""
        return cls(
            network=experiment.network.cpu(),
            structure=experiment.structure,
            prunings=prunings,
            schedule=schedule,
            training=experiment.space.retraining,
            compensation=experiment.compensation,
            reconstruction=experiment.reconstruction,
            splits=experiment.splits,
            compute=experiment.compute,
            seed=experiment.space.seed,
            checkpoints=experiment.folder / "checkpoints",
            mark=FolderMark.of(experiment.folder),
            own=None if experiment.given is None else experiment.given.train_fn,
            loss=None if experiment.given is None else experiment.given.loss,
        )


def retrain(
    setup: RetrainingSetup, repetition: Repetition, progress: Progress = silent
) -> tuple[RetrainingOutcome, dict[str, Tensor]]:
    """Prune and retrain one contender and read its accuracies; the test split is read here, once per network.

    The training seed depends on the repetition alone, not on the contender: all see the same images in the same
    order, which makes the comparison a paired one.
    """
    start = time.perf_counter()
    pruning, splits, compute = setup.prunings[repetition.name], setup.splits, setup.compute
    job = Job(
        structure=setup.structure,
        scorer=pruning.scorer,
        allocation=pruning.allocation,
        budget=pruning.budget,
        train=splits.train,
        training=setup.training,
        seed=child_seed(setup.seed, "retraining", repetition.seed),
        compute=compute,
        progress=progress,
        checkpoint=checkpoint_at(setup.checkpoints / f"{repetition.key}.pt", setup.mark),
        teacher=setup.network,
        validation=splits.search if setup.training.early_stop else None,
        compensation=setup.compensation,
        reconstruction=setup.reconstruction,
        own=setup.own,
        loss=setup.loss,
    )
    outcome = setup.schedule.run(setup.network, job)
    counts, cost = outcome.plan.counts, setup.structure.cost
    scores = score_images(outcome.network, splits.test, compute)
    record = RetrainingOutcome(
        name=repetition.name,
        kind=repetition.kind,
        seed=repetition.seed,
        search_accuracy=float(score_images(outcome.network, splits.search, compute).mean()),
        test_accuracy=float(scores.mean()),
        pruned_test_accuracy=_read_before(outcome, splits.test, compute),
        flops_ratio=cost.ratio("flops", counts),
        params_ratio=cost.ratio("params", counts),
        seconds=round(time.perf_counter() - start, 3),
        steps=None if outcome.history.own else outcome.history.steps,
        best_epoch=outcome.history.best_epoch,
        loss=outcome.history.loss,
        kept=counts,
        plan=outcome.plan.to_dict(),
        correct=CorrectImages.of(scores.numpy()),
    )
    return record, {name: tensor.detach().cpu() for name, tensor in outcome.network.state_dict().items()}


def _read_before(outcome: Outcome, test: Split, compute: Compute) -> float | None:
    """Return the test accuracy before training, in [0, 1]; None where the schedule did not keep those weights."""
    if outcome.before is None:
        return None
    network = copy.deepcopy(outcome.network)
    network.load_state_dict(outcome.before)
    return float(score_images(network, test, compute).mean())


def retrain_all(
    experiment: Experiment, setup: RetrainingSetup, repetitions: Sequence[Repetition]
) -> list[RetrainingOutcome]:
    """Retrain all that is not yet in the folder; return all records in the order of `repetitions`."""
    folder = experiment.folder
    waiting = [repetition for repetition in repetitions if not folder.has(repetition.record)]
    finished = len(repetitions) - len(waiting)
    for repetition in repetitions:
        if folder.has(repetition.record):  # a run that was killed just then has left its checkpoint
            folder.checkpoint(repetition.key).remove()
    experiment.progress("retraining", finished, len(repetitions), "")
    for position, (result, state) in experiment.pool(retrain, setup).map(waiting):
        repetition = waiting[position]
        experiment.guard()
        _keep_network(folder, repetition, result, state, repetitions)
        folder.write_record(repetition.record, result)
        folder.checkpoint(repetition.key).remove()
        folder.event("retrained", name=result.name, seed=result.seed, test_accuracy=result.test_accuracy)
        finished += 1
        told = f"{result.name} {100 * result.test_accuracy:.2f} %"
        experiment.progress("retraining", finished, len(repetitions), told)
    return [read_outcome(folder, repetition) for repetition in repetitions]


def read_outcome(folder: RunFolder, repetition: Repetition) -> RetrainingOutcome:
    """Return what a retraining came to; RunError where its file is of another one."""
    found = folder.read_record(repetition.record, RetrainingOutcome)
    of = {"name": repetition.name, "kind": repetition.kind, "seed": repetition.seed}
    for key, value in of.items():
        if getattr(found, key) != value:
            raise RunError(
                f"{folder / repetition.record}: {key}: {quoted(getattr(found, key))} given, {value!r} expected"
            )
    return found


def better(one: RetrainingOutcome) -> tuple[float, int]:
    """Return what puts retrainings of one contender in order: the accuracy on the search images, then the seed."""
    return one.search_accuracy, -one.seed


def _keep_network(
    folder: RunFolder,
    repetition: Repetition,
    result: RetrainingOutcome,
    state: Mapping[str, Tensor],
    repetitions: Sequence[Repetition],
) -> None:
    """Keep a network, unless another retraining of the same contender, of which one is enough, is better."""
    if repetition.kind not in KEPT:
        same = [one for one in repetitions if (one.name, one.kind) == (repetition.name, repetition.kind)]
        for other in same:
            if other == repetition or not folder.has(other.record):
                continue
            if better(folder.read_record(other.record, RetrainingOutcome)) > better(result):
                return
            (folder / other.network).unlink(missing_ok=True)
    folder.write_tensors(repetition.network, state)


def _pruning_of(experiment: Experiment, scores: Scores, one: Contender) -> Pruning:
    """Return how a contender is pruned: by its blend, or by the plan that it brings."""
    if one.plan is not None:
        return Pruning.by_plan(one.plan, one.budget)
    return Pruning(BlendScorer.of(experiment, one.blend, scores), one.allocation, one.budget)


def retrain_contenders(
    experiment: Experiment, scores: Scores, contenders: Mapping[str, Contender], schedule: Schedule
) -> list[RetrainingOutcome]:
    """Retrain contenders on the terms of the space with each of its seeds; return their records, whole seeds first."""
    repetitions = [
        Repetition(name, one.kind, seed)
        for seed in range(experiment.space.retraining.seeds)
        for name, one in contenders.items()
    ]
    return retrain_all(experiment, _setup(experiment, scores, contenders, schedule), repetitions)


def retrain_again(
    experiment: Experiment,
    scores: Scores,
    contenders: Mapping[str, Contender],
    schedule: Schedule,
    repetition: Repetition,
) -> None:
    """Retrain a contender whose record is there already, for its network, and put that into the folder."""
    setup = _setup(experiment, scores, contenders, schedule)
    # Of its own name: beside a record a checkpoint is what a killed run left, and is removed.
    setup = replace(setup, checkpoints=setup.checkpoints / AGAIN)
    for _, (_, state) in experiment.pool(retrain, setup).map([repetition]):
        experiment.folder.write_tensors(repetition.network, state)
    experiment.folder.checkpoint(f"{AGAIN}/{repetition.key}").remove()


def _setup(
    experiment: Experiment, scores: Scores, contenders: Mapping[str, Contender], schedule: Schedule
) -> RetrainingSetup:
    prunings = {name: _pruning_of(experiment, scores, one) for name, one in contenders.items()}
    return RetrainingSetup.of(experiment, prunings, schedule)
