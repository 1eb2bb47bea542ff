"""Equal retraining: the best blend and every base criterion, on the same terms, each with several seeds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from blendsearch.allocation import Allocation, Budget
from blendsearch.compute import Compute, child_seed
from blendsearch.config import RetrainingConfig
from blendsearch.data.splits import Splits
from blendsearch.evolution.parallel import WorkerPool
from blendsearch.progress import Progress, silent
from blendsearch.results.run_folder import Checkpoint, RunFolder
from blendsearch.schedules import Job, Refit, Schedule, Scorer
from blendsearch.structure import Structure
from blendsearch.training.evaluation import evaluate


@dataclass(frozen=True)
class Candidate:
    """One network to retrain: a blend, a base criterion or the control, and the seed of this repetition."""

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


@dataclass
class Terms:
    """What all candidates share: network, budget, schedule, training, splits; and what scores and allocates each.

    scorers, allocations: by the candidate's name. compensation: see `Job`. budgets: by the name of candidates whose
    budget is another than the common one, as on a front.
    checkpoints: folder for the last epoch of each retraining under way.
    """

    network: nn.Module
    structure: Structure
    scorers: dict[str, Scorer]
    allocations: dict[str, Allocation]
    budget: Budget
    schedule: Schedule
    training: RetrainingConfig
    splits: Splits
    compute: Compute
    seed: int
    checkpoints: Path | None = None
    compensation: Refit | None = None
    budgets: dict[str, Budget] = field(default_factory=dict)


@dataclass(frozen=True)
class Retrained:
    """What came out of one retraining; accuracies in [0, 1], ratios against the unpruned network.

    steps: optimiser steps taken, the same for all candidates unless early stop is on. best_epoch: with early stop,
    the epoch whose weights were kept; it was chosen on the search split, so search_accuracy is then a little too high.
    """

    name: str
    kind: str
    seed: int
    search_accuracy: float
    test_accuracy: float
    flops_ratio: float
    params_ratio: float
    seconds: float
    steps: int
    best_epoch: int | None
    loss: list[float]
    kept: dict[str, int]
    plan: dict[str, Any]


def retrain(terms: Terms, candidate: Candidate, progress: Progress = silent) -> tuple[Retrained, dict[str, Tensor]]:
    """Prune and retrain one candidate and read its accuracies; the test split is read here, once per network.

    The training seed depends on the repetition alone, not on the candidate: all see the same images in the same
    order, which makes the comparison a paired one.
    """
    start = time.perf_counter()
    checkpoint = Checkpoint(terms.checkpoints / f"{candidate.key}.pt") if terms.checkpoints else None
    job = Job(
        terms.structure, terms.scorers[candidate.name], terms.allocations[candidate.name],
        terms.budgets.get(candidate.name, terms.budget), terms.splits.train, terms.training,
        seed=child_seed(terms.seed, "retraining", candidate.seed),
        compute=terms.compute, progress=progress, checkpoint=checkpoint, teacher=terms.network,
        validation=terms.splits.search if terms.training.early_stop else None, compensation=terms.compensation,
    )  # fmt: skip
    outcome = terms.schedule.run(terms.network, job)
    search = evaluate(outcome.network, terms.splits.search.batches(500), terms.compute)
    test = evaluate(outcome.network, terms.splits.test.batches(500), terms.compute)
    counts = outcome.plan.counts
    result = Retrained(
        name=candidate.name,
        kind=candidate.kind,
        seed=candidate.seed,
        search_accuracy=search.accuracy,
        test_accuracy=test.accuracy,
        flops_ratio=terms.structure.cost.ratio("flops", counts),
        params_ratio=terms.structure.cost.ratio("params", counts),
        seconds=round(time.perf_counter() - start, 3),
        steps=outcome.history.steps,
        best_epoch=outcome.history.best_epoch,
        loss=outcome.history.loss,
        kept=counts,
        plan=outcome.plan.to_dict(),
    )
    return result, {name: tensor.detach().cpu() for name, tensor in outcome.network.state_dict().items()}


def retrain_all(
    terms: Terms,
    candidates: Sequence[Candidate],
    folder: RunFolder,
    *,
    workers: int,
    threads: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Retrain every candidate not yet in the folder; return all records in the order of `candidates`."""
    waiting = [candidate for candidate in candidates if not folder.has(candidate.record)]
    pool: WorkerPool[Terms, Candidate, tuple[Retrained, dict[str, Tensor]]]
    pool = WorkerPool(retrain, terms, workers=workers, threads=threads)
    finished = len(candidates) - len(waiting)
    progress("retraining", finished, len(candidates), "")
    for position, (result, state) in pool.map(waiting):
        candidate = waiting[position]
        if candidate.kind in ("blend", "front"):
            folder.write_tensors(f"networks/{candidate.key}.safetensors", state)
        folder.write_json(candidate.record, asdict(result))
        folder.checkpoint(candidate.key).remove()
        folder.event("retrained", name=result.name, seed=result.seed, test_accuracy=result.test_accuracy)
        finished += 1
        progress("retraining", finished, len(candidates), f"{result.name} {100 * result.test_accuracy:.2f} %")
    return [folder.read_json(candidate.record) for candidate in candidates]
