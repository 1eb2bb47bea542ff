"""The finals of a search: the plans that its proxy puts first, judged by short retrainings on the search split."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from blendsearch.allocation import Budget
from blendsearch.compute import Compute, child_seed
from blendsearch.config import FinalsConfig, RetrainingConfig
from blendsearch.data.batches import Split
from blendsearch.evolution.halving import Standing, standings
from blendsearch.evolution.ledger import Ledger
from blendsearch.evolution.parallel import WorkerPool
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.given_plans import PlanCounts, PlanScorer
from blendsearch.results.run_folder import Checkpoint, RunFolder
from blendsearch.schedules import SCHEDULES, Job, Refit
from blendsearch.structure import Plan, Structure
from blendsearch.training.evaluation import correct_mask, recalibrate


@dataclass(frozen=True)
class Finalist:
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


@dataclass
class HalvingSetup:
    """What all heats share; of the splits all but the one for tests, so none can read it."""

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
    compensation: Refit | None = None


@dataclass
class Climb:
    """How far a finalist has come. stopped: why it went no further, None while it is in."""

    finalist: Finalist
    rights: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0
    stopped: str | None = None

    @property
    def accuracies(self) -> list[float]:
        """The accuracy on the search split at each rung, in [0, 1]."""
        return [float(matrix.mean()) for matrix in self.rights]


def best_distinct(values: Sequence[tuple[str, float]], count: int) -> list[int]:
    """Return the positions of the `count` highest values among (plan digest, value), each plan once, best first."""
    first: dict[str, int] = {}
    for position, (digest, _) in enumerate(values):
        first.setdefault(digest, position)
    return sorted(first.values(), key=lambda position: (-values[position][1], position))[:count]


def finals(
    experiment: Experiment, folder: RunFolder, name: str, finalists: Sequence[Finalist], ledger: Ledger
) -> Finalist:
    """Let finalists climb the space's rungs, write records/NAME.json after each, and return the winner.

    Each rung prunes anew and retrains all that are still in for its share of the epochs, on equal terms. Before the
    last rung, who is neither in the better half nor held back by mere chance is out; on the last the highest accuracy
    wins, at a tie the higher proxy. What a stopped run judged is read from the folder, not repeated.
    """
    settings = experiment.space.search.finals
    assert settings is not None
    climbs = [Climb(finalist) for finalist in finalists]
    for rung, share in enumerate(settings.rungs, start=1):
        inside = [climb for climb in climbs if climb.stopped is None]
        heats = [HalvingTrial(climb.finalist.plan, rung, share, settings.seeds) for climb in inside]
        for climb, record in zip(inside, _judged(experiment, folder, name, heats, len(settings.rungs)), strict=True):
            climb.rights.append(np.array([[digit == "1" for digit in one] for one in record["right"]]))
            climb.seconds += record["seconds"]
        _decide(inside, rung, last=rung == len(settings.rungs))
        folder.write_json(f"records/{name}.json", _record(climbs, settings, experiment.space.retraining.epochs))
    for position, climb in enumerate(climbs):
        attrs = {"plan": climb.finalist.plan.digest, "trial": climb.finalist.number, "proxy": climb.finalist.proxy}
        ledger.record_climb(
            position, climb.finalist.genome, climb.accuracies, len(settings.rungs), climb.seconds,
            {**attrs, "stopped": climb.stopped},
        )  # fmt: skip
    return next(climb.finalist for climb in climbs if climb.stopped == "won")


def _decide(inside: Sequence[Climb], rung: int, *, last: bool) -> None:
    """Note who is out after a rung, and why; after the last one, who won."""
    rights = [climb.rights[-1] for climb in inside]
    proxies = [climb.finalist.proxy for climb in inside]
    for climb, standing in zip(inside, standings(rights, proxies, 1 if last else None), strict=True):
        if last:
            climb.stopped = _ending(standing)
        elif not standing.stays:
            assert standing.comparison is not None
            climb.stopped = (
                f"not in the better half, clearly worse than its last at rung {rung} (p {standing.comparison.p:.2g})"
            )


def _ending(standing: Standing) -> str:
    if standing.comparison is None:
        return "won"
    clearly = "clearly worse" if standing.comparison.clearly_worse else "not clearly worse"
    return f"place {standing.place + 1} at the last rung, {clearly} than the first (p {standing.comparison.p:.2g})"


def _judged(
    experiment: Experiment, folder: RunFolder, name: str, heats: Sequence[HalvingTrial], rungs: int
) -> Iterator[dict[str, Any]]:
    """Train the heats of a rung whose result is not in the folder; yield all results in their order."""
    waiting = [heat for heat in heats if not folder.has(_file(heat))]
    pool: WorkerPool[HalvingSetup, HalvingTrial, dict[str, Any]] = WorkerPool(
        judge, _court(experiment, folder), workers=experiment.workers, threads=experiment.space.compute.threads
    )
    task, finished = name.replace("-", " of the "), len(heats) - len(waiting)
    rung = f"rung {heats[0].rung} of {rungs}"
    experiment.progress(task, finished, len(heats), rung)
    for position, record in pool.map(waiting):
        heat = waiting[position]
        folder.write_json(_file(heat), record)
        for repetition in range(heat.seeds):
            folder.checkpoint(_training(heat, repetition)).remove()
        folder.event("judged", rung=heat.rung, plan=heat.plan.digest, accuracy=record["accuracy"])
        finished += 1
        experiment.progress(task, finished, len(heats), f"{rung}, {100 * record['accuracy']:.2f} %")
    for heat in heats:
        yield folder.read_json(_file(heat))


def _court(experiment: Experiment, folder: RunFolder) -> HalvingSetup:
    # The plan fills the budget already; as in an audit, nothing is to be taken from it.
    return HalvingSetup(
        experiment.network, experiment.structure, replace(experiment.budget, ratio=1.0), experiment.space.retraining, experiment.splits.train,
        experiment.splits.calibration, experiment.splits.search, experiment.compute, experiment.space.seed, folder / "checkpoints",
        experiment.compensation,
    )  # fmt: skip


def judge(court: HalvingSetup, heat: HalvingTrial) -> dict[str, Any]:
    """Prune by a plan, retrain for the rung's share, and read image by image what is right on the search split.

    The schedule is one_shot, since a plan fixes what any schedule would decide; learning rate and warm-up are those of
    a training of that length. The seed depends on rung and repetition alone, so all see the same images in the same
    order; it is another than in the retraining that decides the campaign. Keys: rung, share, plan (digest), accuracy,
    right (a string of 0 and 1 for each seed), steps, seconds.

    Batch norm is recalibrated on the calibration split before reading: after a dozen steps its running statistics are
    still those of the network before pruning, and how far they lag says little about the plan.
    """
    start = time.perf_counter()
    found, steps = [], 0
    for repetition in range(heat.seeds):
        job = Job(
            court.structure, PlanScorer(heat.plan), PlanCounts(heat.plan), court.budget,
            court.train, shortened(court.training, heat.share),
            seed=child_seed(court.seed, "finals", heat.rung, repetition), compute=court.compute,
            checkpoint=Checkpoint(court.checkpoints / f"{_training(heat, repetition)}.pt"), teacher=court.network,
            compensation=court.compensation,
        )  # fmt: skip
        outcome = SCHEDULES.get("one_shot")().run(court.network, job)
        recalibrate(outcome.network, court.calibration.batches(100), court.compute)
        found.append(correct_mask(outcome.network, court.search.batches(500), court.compute).numpy())
        steps += outcome.history.steps
    return {
        "rung": heat.rung,
        "share": heat.share,
        "plan": heat.plan.digest,
        "accuracy": float(np.mean(found)),
        "right": ["".join("01"[int(one)] for one in row) for row in found],
        "steps": steps,
        "seconds": round(time.perf_counter() - start, 3),
    }


def shortened(training: RetrainingConfig, share: float) -> RetrainingConfig:
    """Return a training of a share of the epochs and of the warm-up, without early stop: all take the same steps."""
    changes = {"epochs": training.epochs * share, "warmup_epochs": training.warmup_epochs * share, "early_stop": None}
    return training.model_copy(update=changes)


def _file(heat: HalvingTrial) -> str:
    """A plan that two finals share is judged once for both."""
    return f"records/finals/{heat.key}.json"


def _training(heat: HalvingTrial, repetition: int) -> str:
    return f"finals-{heat.key}-seed{repetition}"


def _record(climbs: Sequence[Climb], settings: FinalsConfig, epochs: float) -> dict[str, Any]:
    """Return what the finals came to so far, as plain JSON; candidates in the proxy's order."""
    return {
        "rungs": [{"share": share, "epochs": epochs * share} for share in settings.rungs],
        "seeds": settings.seeds,
        "seconds": round(sum(climb.seconds for climb in climbs), 3),
        "candidates": [
            {
                "trial": climb.finalist.number,
                "proxy": climb.finalist.proxy,
                "accuracies": climb.accuracies,
                "seconds": round(climb.seconds, 3),
                "stopped": climb.stopped,
                "digest": climb.finalist.plan.digest,
                "plan": climb.finalist.plan.to_dict(),
                "genome": dict(climb.finalist.genome),
            }
            for climb in climbs
        ],
    }
