"""The scarce-data scenario: accuracy against the share removed, without retraining, from few images per class."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from blendsearch.allocation import Allocation, Budget
from blendsearch.campaigns.curves.summary import compare_families, curves_of, evidence
from blendsearch.campaigns.search.run import stopwatch
from blendsearch.compute import Compute, child_seed, generator, threads
from blendsearch.config import Space
from blendsearch.criteria import CRITERIA, Scores, applicable, measures_of, names, score_groups
from blendsearch.data.batches import Split
from blendsearch.errors import BudgetError, DataError
from blendsearch.evolution.parallel import WorkerPool
from blendsearch.experiment.experiment import (
    Experiment,
    check_wanted,
    data_name,
    prepare_allocation,
    price_structure,
    train_unpruned,
)
from blendsearch.progress import Progress, silent
from blendsearch.reports.report import write_report
from blendsearch.results.run_folder import RunFolder, check_same_job, check_same_space, choose_folder
from blendsearch.results.versions import versions
from blendsearch.statistics import gather
from blendsearch.statistics.ratings import Ratings
from blendsearch.structure import Plan, Structure
from blendsearch.training.evaluation import evaluate

JOB = "curves"


@dataclass(frozen=True)
class Curves:
    """A finished run: its folder, the summary as in summary.json, and the report's path."""

    run_dir: Path
    summary: dict[str, Any]
    report: Path


@dataclass(frozen=True)
class Cell:
    """Criteria to be scored from one draw of `samples` images per class; 0 for criteria that look at no image."""

    samples: int
    draw: int
    criteria: tuple[str, ...]

    @property
    def key(self) -> str:
        """A name for files."""
        return f"samples{self.samples}-draw{self.draw}"


@dataclass
class Terms:
    """What all cells share: the trained network, the budgets (one a share removed), and where to look and test."""

    network: nn.Module
    structure: Structure
    allocation: Allocation
    budgets: list[Budget]
    calibration: Split
    test: Split
    ratings: Ratings | None
    group_rule: str
    compute: Compute
    seed: int


@dataclass(frozen=True)
class Measured:
    """A cell's test accuracies: criterion -> one for each share removed; images: how many were looked at."""

    samples: int
    draw: int
    images: int
    accuracy: dict[str, list[float]]
    evaluations: int
    seconds: float


def run_curves(space: Space, run_dir: Path | None = None, resume: bool = False, progress: Progress = silent) -> Curves:
    """Measure the curves of a space, or go on with a stopped run; same space, same result, however often stopped.

    The network is sliced and measured as it is: no retraining, no new batch-norm statistics. Accuracy is read on
    the test split; nothing is chosen by it. Raises DataError when a class has too few calibration images and
    BudgetError when a share cannot be removed.
    """
    experiment = Experiment(space, progress)
    folder = choose_folder(run_dir, f"{space.name}-{JOB}", resume)
    with folder.locked():
        return _run(experiment, folder)


def _run(experiment: Experiment, folder: RunFolder) -> Curves:
    space = experiment.space
    check_same_job(folder, JOB)
    check_same_space(folder, space.to_dict())
    _check_images(experiment)
    if experiment.budget.kind != "latency":  # whose table is measured into the folder
        _budgets(experiment.budget, experiment)
    event = "resumed" if folder.has("space.json") else "started"
    folder.write_json("job.json", {"job": JOB})
    folder.write_text("space.yaml", space.to_yaml())
    folder.write_json("space.json", space.to_dict())
    folder.event(event, seed=space.seed)
    with stopwatch(folder, "total"):
        price_structure(experiment, folder)
        budgets = _budgets(experiment.budget, experiment)
        baseline = train_unpruned(experiment, folder)
        criteria = _criteria(experiment, folder)
        terms = Terms(
            experiment.network, experiment.structure, prepare_allocation(experiment, folder), budgets, experiment.splits.calibration,
            _test_part(experiment), experiment.ratings, space.structure.group_rule, experiment.compute, space.seed,
        )  # fmt: skip
        with stopwatch(folder, "curves"):
            unpruned = _unpruned(terms, folder, space.compute.threads)
            records = _measured(terms, _cells(space, criteria["criteria"]), folder, experiment)
    summary = _summarise(
        experiment, folder, {**baseline, "test_accuracy": unpruned}, criteria, records, len(terms.test)
    )
    folder.write_json("summary.json", summary)
    report = write_report(folder.path, experiment.progress)
    folder.event("finished", sentence=summary["comparison"]["sentence"])
    return Curves(folder.path, summary, report)


def _check_images(experiment: Experiment) -> None:
    settings, splits = experiment.space.curves, experiment.splits
    counts = torch.bincount(splits.calibration.labels, minlength=len(splits.classes))
    fewest = int(counts.argmin())
    if int(counts[fewest]) < max(settings.samples_per_class):
        raise DataError(
            f"curves.samples_per_class: {max(settings.samples_per_class)} given, the calibration split has only "
            f"{int(counts[fewest])} images of class '{splits.classes[fewest]}'; ask for fewer or raise data.calibration"
        )
    if settings.images is not None and settings.images > len(splits.test):
        raise DataError(f"curves.images: {settings.images} given, the test split has {len(splits.test)} images")


def _budgets(given: Budget, experiment: Experiment) -> list[Budget]:
    """Return the space's budget with each share removed in the place of its own; BudgetError when one is too large."""
    structure = experiment.structure
    budgets = []
    for share in experiment.space.curves.removed:
        budget = Budget(given.kind, round(1 - share, 9), given.min_keep)
        try:
            budget.check_possible(budget.floors(structure.widths), structure.cost)
        except BudgetError as error:
            raise BudgetError(f"curves.removed: {share:g} given; {error}") from None
        budgets.append(budget)
    return budgets


def _test_part(experiment: Experiment) -> Split:
    images = experiment.space.curves.images
    return experiment.splits.test if images is None else experiment.splits.test.take(images)


def _criteria(experiment: Experiment, folder: RunFolder) -> dict[str, Any]:
    """Return the criteria that score this network, and with "all" those left out and why, from the smallest draw."""
    if not folder.has("records/criteria.json"):
        space = experiment.space
        wanted = names() if space.criteria == "all" else list(space.criteria)
        few = drawn(experiment.splits.calibration, space.curves.samples_per_class[0], 0, space.seed)
        statistics = gather(
            experiment.network, experiment.structure, few.batches(128), measures_of(wanted, experiment.ratings), compute=experiment.compute,
            seed=space.seed, ratings=experiment.ratings, relevance_per_class=None,
        )  # fmt: skip
        check_wanted(experiment, statistics)
        left_out = applicable(wanted, experiment.structure, statistics)
        used = [name for name in wanted if name not in left_out]
        folder.write_json("records/criteria.json", {"criteria": used, "left_out": left_out})
    record: dict[str, Any] = folder.read_json("records/criteria.json")
    return record


def drawn(calibration: Split, samples: int, draw: int, seed: int) -> Split:
    """Return `samples` images of each class; those of a smaller number are among them, draw by draw."""
    labels = calibration.labels
    chosen = [
        own[torch.randperm(len(own), generator=generator(seed, JOB, draw, label))[:samples]]
        for label in labels.unique().tolist()
        for own in [(labels == label).nonzero().flatten()]
    ]
    return calibration.subset(torch.cat(chosen).sort().values)


def _cells(space: Space, criteria: list[str]) -> list[Cell]:
    """Return the cells, each criterion in as few as give it a curve.

    Criteria that look at no image have one cell, or one a draw where they draw numbers; the others have one for
    every draw of every number of images.
    """
    settings = space.curves
    looking = tuple(name for name in criteria if looks_at_images(name) or _falls_back_on_images(name, space))
    chance = tuple(name for name in criteria if name not in looking and CRITERIA.get(name).seeded)
    fixed = tuple(name for name in criteria if name not in looking and name not in chance)
    draws = range(settings.draws)
    cells = [Cell(0, draw, fixed + chance if draw == 0 else chance) for draw in draws]
    cells += [Cell(samples, draw, looking) for samples in settings.samples_per_class for draw in draws]
    return [cell for cell in cells if cell.criteria]


def looks_at_images(criterion: str) -> bool:
    """Tell whether a criterion's scores depend on the images it is given."""
    return evidence(criterion) in ("activations", "gradients", "relevance")


def _falls_back_on_images(criterion: str, space: Space) -> bool:
    fallback = space.ratings.fallback if space.ratings is not None else None
    return fallback is not None and "ratings" in CRITERIA.get(criterion).needs and looks_at_images(fallback)


def _unpruned(terms: Terms, folder: RunFolder, count: int) -> float:
    """Return the unpruned network's accuracy on the test images of the curves."""
    if not folder.has("records/unpruned.json"):
        with threads(count):
            accuracy = _accuracy(terms, Plan.full(terms.structure.widths))
        folder.write_json("records/unpruned.json", {"test_accuracy": accuracy})
    return float(folder.read_json("records/unpruned.json")["test_accuracy"])


def _measured(terms: Terms, cells: list[Cell], folder: RunFolder, experiment: Experiment) -> list[dict[str, Any]]:
    """Measure every cell not yet in the folder; return all records in the order of `cells`."""
    waiting = [cell for cell in cells if not folder.has(_record(cell))]
    pool = WorkerPool(measure, terms, workers=experiment.workers, threads=experiment.space.compute.threads)
    finished = len(cells) - len(waiting)
    experiment.progress(JOB, finished, len(cells), "")
    for position, result in pool.map(waiting):
        folder.write_json(_record(waiting[position]), asdict(result))
        finished += 1
        experiment.progress(JOB, finished, len(cells), _what(waiting[position]))
    return [folder.read_json(_record(cell)) for cell in cells]


def _record(cell: Cell) -> str:
    return f"records/cells/{cell.key}.json"


def _what(cell: Cell) -> str:
    return f"{cell.samples} a class, draw {cell.draw + 1}" if cell.samples else "criteria without images"


def measure(terms: Terms, cell: Cell) -> Measured:
    """Score a cell's criteria from its images, and read the accuracy of every distinct plan once."""
    start = time.perf_counter()
    scores, images = _scores(terms, cell)
    known: dict[str, float] = {}
    accuracy: dict[str, list[float]] = {}
    for name, groups in scores.items():
        plans = [terms.allocation.plan(terms.structure, groups, budget) for budget in terms.budgets]
        for plan in plans:
            if plan.digest not in known:
                known[plan.digest] = _accuracy(terms, plan)
        accuracy[name] = [known[plan.digest] for plan in plans]
    seconds = round(time.perf_counter() - start, 3)
    return Measured(cell.samples, cell.draw, images, accuracy, len(known), seconds)


def _scores(terms: Terms, cell: Cell) -> tuple[Scores, int]:
    """Return the scores of a cell's criteria, all from one pass, and the number of images."""
    batches: Any = ()
    if cell.samples:
        batches = drawn(terms.calibration, cell.samples, cell.draw, terms.seed).batches(128)
    statistics = gather(
        terms.network, terms.structure, batches, measures_of(cell.criteria, terms.ratings), compute=terms.compute,
        seed=child_seed(terms.seed, JOB, "statistics", cell.draw), ratings=terms.ratings,
        relevance_per_class=None,  # all sides look at the same images
    )  # fmt: skip
    return score_groups(terms.structure, statistics, cell.criteria, group_rule=terms.group_rule), statistics.samples


def _accuracy(terms: Terms, plan: Plan) -> float:
    network = terms.compute.place(terms.structure.slice(terms.network, plan))
    return evaluate(network, terms.test.batches(250), terms.compute).accuracy


def _summarise(
    experiment: Experiment,
    folder: RunFolder,
    baseline: dict[str, Any],
    criteria: dict[str, Any],
    records: list[dict[str, Any]],
    images: int,
) -> dict[str, Any]:
    """Put the run into one record."""
    space, splits = experiment.space, experiment.splits
    settings = space.curves
    curves = curves_of(records, settings.removed, baseline["test_accuracy"])
    return {
        "job": JOB,
        "name": space.name,
        "seed": space.seed,
        "budget": {"kind": experiment.budget.kind, "min_keep": experiment.budget.min_keep},
        "allocation": space.allocation.name,
        "removed": settings.removed,
        "samples_per_class": settings.samples_per_class,
        "draws": settings.draws,
        "test_images": images,
        "baseline": {key: baseline[key] for key in ("test_accuracy", "flops", "params")},
        "curves": curves,
        "comparison": compare_families(curves, settings.samples_per_class, settings.removed, experiment.budget.kind),
        "left_out": criteria["left_out"],
        "refused": experiment.structure.refused,
        "seconds": {"train": baseline["seconds"], **folder.read_json("records/seconds.json")},
        "versions": versions(),
        "data": {
            "name": data_name(experiment),
            "fingerprint": splits.fingerprint,
            "classes": len(splits.classes),
            **{part: len(getattr(splits, part)) for part in ("train", "calibration", "test")},
        },
    }
