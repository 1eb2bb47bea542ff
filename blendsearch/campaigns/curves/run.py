"""The scarce-data scenario: accuracy against the share removed, without retraining, from few images per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from blendsearch.allocation import Budget, Limits, check_shares
from blendsearch.blending import AdaptedBlend
from blendsearch.campaigns.curves.draws import (
    JOB,
    CurveDraw,
    CurvesSetup,
    draw_images,
    list_draws,
    measure_accuracy,
    measure_draw,
)
from blendsearch.campaigns.curves.summary import compare_families, join_draws
from blendsearch.compute import threads
from blendsearch.config import Space
from blendsearch.criteria import ScoringSetup, score_applicable
from blendsearch.errors import BudgetError, DataError
from blendsearch.experiment import Experiment, open_run
from blendsearch.experiment.members import keep_members, tell_shares_of_members
from blendsearch.experiment.scoring import needed_criteria, refuse_left_out, wanted_criteria
from blendsearch.experiment.unpruned import prepare_allocation, train_unpruned
from blendsearch.progress import Progress, silent
from blendsearch.reports.report import write_report
from blendsearch.results.records.common import UnprunedRecord
from blendsearch.results.records.curves import CurvesBudget, CurvesCriteria, CurvesSummary, DrawRecord, UnprunedAccuracy
from blendsearch.results.run_folder import versions
from blendsearch.structure import Plan


@dataclass(frozen=True)
class Curves:
    """A finished run: its folder, the summary as in summary.json, and the report's path."""

    run_dir: Path
    summary: CurvesSummary
    report: Path


def run_curves(space: Space, run_dir: Path | None = None, resume: bool = False, progress: Progress = silent) -> Curves:
    """Measure the curves of a space's criteria and blends, or go on with a stopped run.

    Same space, same result, however often it was stopped. The network is sliced and measured as it is: no retraining,
    no new batch-norm statistics. Accuracy is read on the test split; nothing is chosen by it. Raises DataError when a
    class has too few calibration images, BudgetError when a share cannot be removed, and ConfigError where the
    criteria's shares would have to evolve.
    """
    experiment = Experiment(space, progress).connect()
    check_shares(experiment.allocation, {})
    _check_images(experiment)
    if "latency" not in experiment.budget.ratios:  # whose table is measured into the folder
        _budgets(experiment)
    with open_run(experiment, JOB, name=f"{space.name}-{JOB}", run_dir=run_dir, resume=resume) as opened:
        folder = opened.folder
        summary = _run(opened)
        folder.write_record("summary.json", summary)
        report = write_report(folder.path, progress)
        folder.event("finished", sentence=summary.comparison.sentence)
        return Curves(folder.path, summary, report)


def _check_images(experiment: Experiment) -> None:
    """Raise DataError where there are too few images; of labels that are to be predicted nothing is known yet."""
    settings, splits = experiment.space.curves, experiment.splits
    if experiment.space.data.labels == "given":
        _check_classes(experiment)
    if settings.images is not None and settings.images > len(splits.test):
        raise DataError(f"curves.images: {settings.images} given, the test split has {len(splits.test)} images")


def _check_classes(experiment: Experiment) -> None:
    settings, splits = experiment.space.curves, experiment.splits
    whose = "" if experiment.space.data.labels == "given" else ", as the network labels them"
    counts = torch.bincount(splits.calibration.labels, minlength=len(splits.classes))
    fewest = int(counts.argmin())
    if int(counts[fewest]) < max(settings.samples_per_class):
        raise DataError(
            f"curves.samples_per_class: {max(settings.samples_per_class)} given, the calibration split has only "
            f"{int(counts[fewest])} images of class '{splits.classes[fewest]}'{whose}; ask for fewer or raise "
            "data.calibration"
        )


def _budgets(experiment: Experiment) -> list[Budget]:
    """Return a budget for each share removed, of the kind that the space's has first; BudgetError for one too large."""
    structure, given = experiment.structure, experiment.budget
    budgets = []
    for share in experiment.space.curves.removed:
        budget = given.under({given.kind: round(1 - share, 9)})
        try:
            Limits.check(budget, structure)
        except BudgetError as error:
            raise BudgetError(f"curves.removed: {share:g} given; {error}") from None
        budgets.append(budget)
    return budgets


def _run(experiment: Experiment) -> CurvesSummary:
    folder, settings = experiment.folder, experiment.space.curves
    with folder.stopwatch("total"):
        trained = train_unpruned(experiment)
        if experiment.space.data.labels == "predicted":
            _check_classes(experiment)
        members = keep_members(experiment)
        chosen = folder.cached("records/criteria.json", CurvesCriteria, lambda: _choose_criteria(experiment, members))
        setup = _set_up(experiment, members)
        draws = list_draws(setup, [*chosen.criteria, *members], settings.samples_per_class, settings.draws)
        with folder.stopwatch("curves"):
            unpruned = _measure_unpruned(experiment, setup)
            records = measure_draws(experiment, setup, draws)
    evidence = {name: setup.evidence_of(name) for name in [*chosen.criteria, *members]}
    curves = join_draws(records, evidence, settings.removed, unpruned)
    kind = experiment.budget.kind
    return CurvesSummary(
        name=experiment.space.name,
        seed=experiment.space.seed,
        budget=CurvesBudget(kind=kind, min_keep=experiment.budget.min_keep),
        allocation=experiment.space.allocation.name,
        removed=settings.removed,
        samples_per_class=settings.samples_per_class,
        draws=settings.draws,
        test_images=len(setup.test),
        unpruned=UnprunedRecord(test_accuracy=unpruned, flops=trained.flops, params=trained.params),
        curves=curves,
        comparison=compare_families(curves, settings.samples_per_class, settings.removed, kind),
        blends={name: adapted.rule for name, adapted in members.items()},
        notes=tell_shares_of_members({name: adapted.blend for name, adapted in members.items()}),
        left_out=chosen.left_out,
        refused=experiment.structure.refused,
        seconds={"train": trained.seconds, **folder.seconds},
        versions=versions(),
        data=experiment.data_record,
    )


def _choose_criteria(experiment: Experiment, members: Mapping[str, AdaptedBlend]) -> CurvesCriteria:
    """Return the criteria that score this network, and with "all" those left out and why, from the smallest draw."""
    space, wanted = experiment.space, wanted_criteria(experiment)
    few = draw_images(experiment.splits.calibration, space.curves.samples_per_class[0], 0, space.seed)
    needed, scoring = needed_criteria(experiment, members), _scoring(experiment)
    found = score_applicable(experiment.network, experiment.structure, few.batches(128), needed, scoring)
    refuse_left_out(experiment, members, found.left_out)
    return CurvesCriteria(
        criteria=[name for name in wanted if name not in found.left_out],
        left_out={name: reason for name, reason in found.left_out.items() if name in wanted},
    )


def _scoring(experiment: Experiment) -> ScoringSetup:
    """Return the space's terms of scoring, on which relevance looks at as many images as the others."""
    return replace(experiment.scoring, relevance_per_class=None)


def _set_up(experiment: Experiment, members: Mapping[str, AdaptedBlend]) -> CurvesSetup:
    splits, images = experiment.splits, experiment.space.curves.images
    return CurvesSetup(
        network=experiment.network,
        structure=experiment.structure,
        allocation=prepare_allocation(experiment),
        budgets=_budgets(experiment),
        calibration=splits.calibration,
        test=splits.test if images is None else splits.test.take(images),
        scoring=_scoring(experiment),
        members=members,
        seed=experiment.space.seed,
    )


def _measure_unpruned(experiment: Experiment, setup: CurvesSetup) -> float:
    """Return the unpruned network's accuracy on the test images of the curves."""

    def measure() -> UnprunedAccuracy:
        with threads(experiment.space.compute.threads):
            return UnprunedAccuracy(test_accuracy=measure_accuracy(setup, Plan.full(setup.structure.widths)))

    return experiment.folder.cached("records/unpruned.json", UnprunedAccuracy, measure).test_accuracy


def measure_draws(experiment: Experiment, setup: CurvesSetup, draws: Sequence[CurveDraw]) -> list[DrawRecord]:
    """Measure every draw not yet in the folder; return all records in the order of `draws`."""
    folder = experiment.folder
    waiting = [draw for draw in draws if not folder.has(draw.record)]
    finished = len(draws) - len(waiting)
    experiment.progress(JOB, finished, len(draws), "")
    for position, record in experiment.pool(measure_draw, setup).map(waiting):
        draw = waiting[position]
        folder.write_record(draw.record, record)
        finished += 1
        told = f"{draw.samples} a class, draw {draw.draw + 1}" if draw.samples else "criteria without images"
        experiment.progress(JOB, finished, len(draws), told)
    return [folder.read_record(draw.record, DrawRecord) for draw in draws]
