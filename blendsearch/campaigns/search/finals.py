"""The finals of a search: the plans that its proxy puts first, judged by short retrainings on the search split."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import nn

from blendsearch.allocation import Budget
from blendsearch.campaigns.search.trials import open_ledger
from blendsearch.compute import Compute, child_seed
from blendsearch.config import FinalsConfig, RetrainingConfig
from blendsearch.data.batches import Split
from blendsearch.evolution.failure import succeeded
from blendsearch.evolution.halving import Standing, standings
from blendsearch.evolution.ledger import Ledger, Trial
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.given_plans import PlanCounts, PlanScorer
from blendsearch.results.records.search import Finalist, FinalsRecord, HalvingOutcome, HalvingRung
from blendsearch.results.run_folder import FolderMark, RunFolder, checkpoint_at
from blendsearch.schedules import SCHEDULES, Job, Refit
from blendsearch.structure import Plan, Structure
from blendsearch.training import Reconstruction
from blendsearch.training.evaluation import correct_mask, recalibrate


@dataclass(frozen=True)
class Candidate:
    """A candidate of the finals: the number of its trial, its genome by gene name, its plan and its proxy."""

    number: int
    genome: Mapping[str, float]
    plan: Plan
    proxy: float


@dataclass(frozen=True)
class HalvingTrial:
    """A plan to be trained on a rung (from 1): for a share of the retraining's epochs, so many times."""

    plan: Plan
    rung: int
    share: float
    seeds: int

    @property
    def key(self) -> str:
        """A name for files."""
        return f"rung{self.rung}-{self.plan.digest}"

    @property
    def record(self) -> str:
        """The file of its record; a plan that two finals share is judged once for both."""
        return f"records/finals/{self.key}.json"

    @property
    def trainings(self) -> list[str]:
        """The names of its trainings, one a seed."""
        return [f"finals-{self.key}-seed{seed}" for seed in range(self.seeds)]


@dataclass(frozen=True, kw_only=True)
class HalvingSetup:
    """What all trials share; of the splits all but the one for tests, so none can read it."""

    network: nn.Module
    structure: Structure
    budget: Budget
    training: RetrainingConfig
    train: Split
    calibration: Split
    search: Split
    compute: Compute
    seed: int
    checkpoints: Path
    mark: FolderMark | None = None
    compensation: Refit | None = None
    reconstruction: Reconstruction | None = None

    @classmethod
    def of(cls, experiment: Experiment) -> HalvingSetup:
        """Return the terms of an experiment's space."""
        splits = experiment.splits
        return cls(
            network=experiment.network,
            structure=experiment.structure,
            # The plan fills the budget already; as in an audit, nothing is to be taken from it.
            budget=experiment.budget.whole,
            training=experiment.space.retraining,
            train=splits.train,
            calibration=splits.calibration,
            search=splits.search,
            compute=experiment.compute,
            seed=experiment.space.seed,
            checkpoints=experiment.folder / "checkpoints",
            mark=FolderMark.of(experiment.folder),
            compensation=experiment.compensation,
            reconstruction=experiment.reconstruction,
        )


@dataclass
class Climber:
    """A candidate on its way up the rungs; stopped: why it went no further, None while it is in.

    correct: for each rung bool [seeds, images], what was classified right.
    """

    candidate: Candidate
    correct: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0
    stopped: str | None = None

    @property
    def accuracies(self) -> list[float]:
        """The accuracy on the search split at each rung, in [0, 1]."""
        return [float(matrix.mean()) for matrix in self.correct]


def best_distinct(values: Sequence[tuple[str, float]], count: int) -> list[int]:
    """Return the positions of the `count` highest values among (plan digest, value), each plan once, best first.

    Those that failed have no place among them.
    """
    first: dict[str, int] = {}
    for position, (digest, value) in enumerate(values):
        if succeeded(value):
            first.setdefault(digest, position)
    return sorted(first.values(), key=lambda position: (-values[position][1], position))[:count]


def best_candidates(trials: Sequence[Trial], count: int, plan_of: Callable[[Trial], Plan]) -> list[Candidate]:
    """Return the different plans that the proxy puts first, so many of them, best first."""
    places = best_distinct([(trial.attrs["plan"], trial.value) for trial in trials], count)
    best = [trials[place] for place in places]
    return [Candidate(one.number, one.params, plan_of(one), one.value) for one in best]


def one_each(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the first candidate of each plan, in their order."""
    first: dict[str, Candidate] = {}
    for one in candidates:
        first.setdefault(one.plan.digest, one)
    return list(first.values())


def hold_finals(experiment: Experiment, name: str, candidates: Sequence[Candidate]) -> Candidate:
    """Let candidates climb the space's rungs, write records/NAME.json after each, and return the winner.

    Each rung prunes anew and retrains all that are still in for its share of the epochs, on equal terms. Before the
    last rung, who is neither in the better half nor held back by mere chance is out; on the last the highest accuracy
    wins, at a tie the higher proxy. What a stopped run judged is read from the folder, not repeated.
    """
    settings = experiment.space.search.finals
    assert settings is not None
    climbers = [Climber(candidate) for candidate in candidates]
    for rung, share in enumerate(settings.rungs, start=1):
        inside = [climber for climber in climbers if climber.stopped is None]
        trials = [HalvingTrial(climber.candidate.plan, rung, share, settings.seeds) for climber in inside]
        outcomes = _judge(experiment, name, trials, f"rung {rung} of {len(settings.rungs)}")
        for climber, outcome in zip(inside, outcomes, strict=True):
            climber.correct.append(np.array([[digit == "1" for digit in one] for one in outcome.correct]))
            climber.seconds += outcome.seconds
        _decide(inside, rung, last=rung == len(settings.rungs))
        experiment.folder.write_record(f"records/{name}.json", _record(settings, experiment, climbers))
    ledger = open_ledger(experiment, name)
    _note(ledger, climbers, len(settings.rungs))
    ledger.close()
    return next(climber.candidate for climber in climbers if climber.stopped == "won")


def _decide(inside: Sequence[Climber], rung: int, *, last: bool) -> None:
    """Note who is out after a rung, and why; after the last one, who won."""
    correct = [climber.correct[-1] for climber in inside]
    proxies = [climber.candidate.proxy for climber in inside]
    for climber, standing in zip(inside, standings(correct, proxies, 1 if last else None), strict=True):
        if last:
            climber.stopped = _ending(standing)
        elif not standing.stays:
            assert standing.comparison is not None
            climber.stopped = (
                f"not in the better half, clearly worse than its last at rung {rung} (p {standing.comparison.p:.2g})"
            )


def _ending(standing: Standing) -> str:
    if standing.comparison is None:
        return "won"
    clearly = "clearly worse" if standing.comparison.clearly_worse else "not clearly worse"
    return f"place {standing.place + 1} at the last rung, {clearly} than the first (p {standing.comparison.p:.2g})"


def _judge(experiment: Experiment, name: str, trials: Sequence[HalvingTrial], rung: str) -> Iterator[HalvingOutcome]:
    """Train what is not in the folder yet of a rung; yield all results in their order."""
    folder, task = experiment.folder, name.replace("-", " of the ")
    waiting = [trial for trial in trials if not folder.has(trial.record)]
    finished = len(trials) - len(waiting)
    for trial in trials:
        if folder.has(trial.record):  # a run that was killed just then has left its checkpoints
            _remove_checkpoints(folder, trial)
    experiment.progress(task, finished, len(trials), rung)
    for position, outcome in experiment.pool(train_for_rung, HalvingSetup.of(experiment)).map(waiting):
        trial = waiting[position]
        folder.write_record(trial.record, outcome)
        _remove_checkpoints(folder, trial)
        folder.event("judged", rung=trial.rung, plan=trial.plan.digest, accuracy=outcome.accuracy)
        finished += 1
        experiment.progress(task, finished, len(trials), f"{rung}, {100 * outcome.accuracy:.2f} %")
    for trial in trials:
        yield folder.read_record(trial.record, HalvingOutcome)


def _remove_checkpoints(folder: RunFolder, trial: HalvingTrial) -> None:
    for training in trial.trainings:
        folder.checkpoint(training).remove()


def train_for_rung(setup: HalvingSetup, trial: HalvingTrial) -> HalvingOutcome:
    """Prune by a plan, retrain for the rung's share, and read image by image what is right on the search split.

    The schedule is one_shot, since a plan fixes what any schedule would decide; learning rate and warm-up are those of
    a training of that length. The seed depends on rung and repetition alone, so all see the same images in the same
    order; it is another than in the retraining that decides the campaign.

    Batch norm is recalibrated on the calibration split before reading: after a dozen steps its running statistics are
    still those of the network before pruning, and how far they lag says little about the plan.
    """
    start = time.perf_counter()
    found, steps = [], 0
    for repetition, training in enumerate(trial.trainings):
        job = Job(
            structure=setup.structure,
            scorer=PlanScorer(trial.plan),
            allocation=PlanCounts(trial.plan),
            budget=setup.budget,
            train=setup.train,
            training=shorten(setup.training, trial.share),
            seed=child_seed(setup.seed, "finals", trial.rung, repetition),
            compute=setup.compute,
            checkpoint=checkpoint_at(setup.checkpoints / f"{training}.pt", setup.mark),
            teacher=setup.network,
            compensation=setup.compensation,
            reconstruction=setup.reconstruction,
        )
        outcome = SCHEDULES.get("one_shot")().run(setup.network, job)
        recalibrate(outcome.network, setup.calibration.batches(100), setup.compute)
        found.append(correct_mask(outcome.network, setup.search.batches(500), setup.compute).numpy())
        steps += outcome.history.steps
    return HalvingOutcome(
        rung=trial.rung,
        share=trial.share,
        plan=trial.plan.digest,
        accuracy=float(np.mean(found)),
        correct=["".join("01"[int(one)] for one in row) for row in found],
        steps=steps,
        seconds=round(time.perf_counter() - start, 3),
    )


def shorten(training: RetrainingConfig, share: float) -> RetrainingConfig:
    """Return a training of a share of the epochs and of the warm-up, without early stop: all take the same steps."""
    changes = {"epochs": training.epochs * share, "warmup_epochs": training.warmup_epochs * share, "early_stop": None}
    return training.model_copy(update=changes)


def _record(settings: FinalsConfig, experiment: Experiment, climbers: Sequence[Climber]) -> FinalsRecord:
    """Return what the finals came to so far; candidates in the proxy's order."""
    epochs = experiment.space.retraining.epochs
    return FinalsRecord(
        rungs=[HalvingRung(share=share, epochs=epochs * share) for share in settings.rungs],
        seeds=settings.seeds,
        seconds=round(sum(climber.seconds for climber in climbers), 3),
        candidates=[
            Finalist(
                trial=climber.candidate.number,
                proxy=climber.candidate.proxy,
                accuracies=climber.accuracies,
                seconds=round(climber.seconds, 3),
                stopped=climber.stopped,
                digest=climber.candidate.plan.digest,
                plan=climber.candidate.plan.to_dict(),
                genome=dict(climber.candidate.genome),
            )
            for climber in climbers
        ],
    )


def _note(ledger: Ledger, climbers: Sequence[Climber], rungs: int) -> None:
    """Record every candidate in the study of the finals."""
    for position, climber in enumerate(climbers):
        candidate = climber.candidate
        ledger.record_climb(
            position,
            candidate.genome,
            climber.accuracies,
            rungs=rungs,
            seconds=climber.seconds,
            attrs={
                "plan": candidate.plan.digest,
                "trial": candidate.number,
                "proxy": candidate.proxy,
                "stopped": climber.stopped,
            },
        )
