"""The parts of a campaign as jobs of their own: train the network, score it, prune it by one criterion or blend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Generic, TypeVar

import torch
from torch import Tensor

from blendsearch.allocation import own_allocation
from blendsearch.blending import Blend, rank_all
from blendsearch.campaigns.scores import Scores
from blendsearch.config import Space
from blendsearch.criteria import CRITERIA, applicable
from blendsearch.errors import BlendsearchError, RunError, unknown_name
from blendsearch.experiment import Experiment, open_run
from blendsearch.experiment.kept_networks import NETWORK
from blendsearch.experiment.latency import compare_latency
from blendsearch.experiment.members import adapt_to_network, tell_unused_shares
from blendsearch.experiment.retraining import Pruning, Repetition, RetrainingSetup, retrain
from blendsearch.experiment.scoring import (
    AGREEMENT,
    BlendScorer,
    cluster_criteria,
    known_before_training,
    score_calibration,
    score_criteria,
)
from blendsearch.experiment.unpruned import prepare_allocation, read_test_accuracy, train_unpruned
from blendsearch.files import content_digest
from blendsearch.progress import Progress, silent
from blendsearch.results.records.common import AgreementRecord, Averages, JobRecord, Record
from blendsearch.results.records.retraining import BLEND, CRITERION, RetrainingOutcome
from blendsearch.results.records.scoring import RatersRecord, ScoresRecord
from blendsearch.results.records.single import (
    CriterionAgreement,
    ExtremeFilters,
    PruneSummary,
    ScoreSummary,
    TrainSummary,
)
from blendsearch.results.run_folder import RunFolder, versions
from blendsearch.schedules import SCHEDULES, TrainingSchedule
from blendsearch.structure import Plan
from blendsearch.validation.space import pruning_schedule

TABLE = "scores.csv"
EXTREMES = 3
"""Filters of a group that are shown from each end."""

PRUNED = "pruned"
"""The name of the one network that `prune` retrains; what it is pruned by may be a path."""
OUTCOME = f"records/{PRUNED}.json"

S = TypeVar("S", bound=Record)


@dataclass(frozen=True)
class JobResult(Generic[S]):
    """A finished job: its folder, and what it came to."""

    run_dir: Path
    summary: S


def open_job(
    experiment: Experiment, job: str, *, run_dir: Path | None, resume: bool, by: str | None = None
) -> AbstractContextManager[Experiment]:
    """Open the folder of a job as `open_run` does.

    Raises RunError, too, when the folder was made by another criterion than `by`, or a file that it read has changed.
    """
    space = experiment.space
    read = {"--by": by, "ratings": space.ratings.file if space.ratings else None}
    paths = {name: Path(file) for name, file in read.items() if file is not None}
    files = {name: content_digest(path) for name, path in paths.items() if path.is_file()}

    def check(folder: RunFolder) -> None:
        if not folder.has("job.json"):
            return
        before = folder.read_record("job.json", JobRecord)
        if before.by != by:
            raise RunError(
                f"{folder.path}: was made with --by {before.by}; continue with it or choose another --run-dir"
            )
        changed = [name for name, content in before.files.items() if files.get(name) != content]
        if changed:
            raise RunError(f"{folder.path}: the file of {changed[0]} has changed since; choose another --run-dir")

    facts = {"by": by, **({"files": files} if files else {})}
    name = f"{space.name}-{job}"
    return open_run(experiment, job, name=name, run_dir=run_dir, resume=resume, facts=facts, check=check)


def run_train(
    space: Space, run_dir: Path | None = None, resume: bool = False, progress: Progress = silent
) -> JobResult[TrainSummary]:
    """Train only the network of a space, by its training schedule where it names one.

    Its weights are left in baseline.safetensors, the record with the test accuracy in summary.json.
    """
    with open_job(Experiment(space, progress), "train", run_dir=run_dir, resume=resume) as experiment:
        unpruned = train_unpruned(experiment)
        trains = issubclass(SCHEDULES.get(space.schedule.name), TrainingSchedule)
        summary = TrainSummary(
            name=space.name,
            seconds=unpruned.seconds,
            steps=unpruned.steps,
            search_accuracy=unpruned.search_accuracy,
            flops=unpruned.flops,
            params=unpruned.params,
            test_accuracy=read_test_accuracy(experiment),
            schedule=space.schedule.name if trains else None,
            seed=space.seed,
            versions=versions(),
        )
        experiment.folder.write_record("summary.json", summary)
        return JobResult(experiment.folder.path, summary)


def run_score(
    space: Space, run_dir: Path | None = None, resume: bool = False, progress: Progress = silent
) -> JobResult[ScoreSummary]:
    """Score the trained network under the criteria; return how they agree and cluster, and leave scores.csv."""
    with open_job(Experiment(space, progress), "score", run_dir=run_dir, resume=resume) as experiment:
        train_unpruned(experiment)
        scores, record = score_criteria(experiment)
        write_table(experiment, scores, record)
        clusters = cluster_criteria(experiment, scores)
        agreement = experiment.folder.read_record(AGREEMENT, AgreementRecord)
        summary = ScoreSummary(
            criteria=[_place_among_others(name, agreement) for name in scores],
            agreement=agreement,
            ratings=describe_raters(experiment, list(scores)),
            clusters={unit: [list(names) for names in parts] for unit, parts in clusters.members.items()},
            filters=find_extremes(scores),
            left_out=record.left_out,
        )
        return JobResult(experiment.folder.path, summary)


def write_table(experiment: Experiment, scores: Mapping[str, Mapping[str, Tensor]], record: ScoresRecord) -> None:
    """Write the score, the rank and the scale of every filter as scores.csv."""
    blends = {
        name: dict.fromkeys(groups, "score of a blend") for name, groups in scores.items() if name not in CRITERIA
    }
    Scores(scores, scales={**record.scales, **blends}).save(experiment.folder.path / TABLE)


def find_extremes(scores: dict[str, dict[str, Tensor]]) -> list[ExtremeFilters]:
    """Return the filters that are ranked highest and lowest in each group: by all criteria together, then by each."""
    ranked = rank_all(scores)
    groups = next(iter(scores.values()), {})
    mean = {group: torch.stack([own[group] for own in ranked.values()]).mean(0) for group in groups}
    return [
        ExtremeFilters(criterion=name, group=group, width=len(values), **_extremes(values))
        for name, own in [(None, mean), *scores.items()]
        for group, values in own.items()
    ]


def _extremes(values: Tensor) -> dict[str, list[int]]:
    order = values.argsort(stable=True).tolist()
    count = min(EXTREMES, len(order) // 2)
    return {"top": order[::-1][:count], "bottom": order[:count]}


def _place_among_others(name: str, agreement: AgreementRecord) -> CriterionAgreement:
    row = dict(zip(agreement.criteria, agreement.mean[agreement.criteria.index(name)], strict=True))
    others = {other: rho for other, rho in row.items() if other != name and rho is not None}
    return CriterionAgreement(
        name=name,
        family=CRITERIA.get(name)().family if name in CRITERIA else BLEND,
        mean_agreement=fmean(others.values()) if others else 1.0,
        nearest=max(others, key=others.__getitem__) if others else name,
    )


def run_prune(
    space: Space, by: str, run_dir: Path | None = None, resume: bool = False, progress: Progress = silent
) -> JobResult[PruneSummary]:
    """Prune by one criterion or by the blend of a file, retrain, and leave network, plan and summary.

    Raises UnknownNameError when `by` is neither a criterion nor a file, ConfigError for a blend without the shares
    that the space's allocation asks for.
    """
    given, schedule = _read(by), pruning_schedule(space, "prune")
    experiment = Experiment(space, progress)
    adapted = adapt_to_network(experiment, given)
    blend, kind = adapted.blend, CRITERION if by in CRITERIA else BLEND
    for name, reason in applicable(blend.criteria, experiment.structure, known_before_training(experiment)).items():
        raise BlendsearchError(f"criterion '{name}': {reason}")
    with open_job(experiment, "prune", run_dir=run_dir, resume=resume, by=by) as experiment:
        folder, structure = experiment.folder, experiment.structure
        unpruned = train_unpruned(experiment)
        scores = score_calibration(experiment, blend.criteria).complete()
        allocation = own_allocation(prepare_allocation(experiment), blend.keep, structure)
        pruning = Pruning(BlendScorer.of(experiment, blend, scores), allocation, experiment.budget)
        repetition = Repetition(PRUNED, kind, 0)
        setup = RetrainingSetup.of(experiment, {PRUNED: pruning}, schedule)
        if folder.has(OUTCOME) and folder.has(NETWORK):
            outcome = folder.read_record(OUTCOME, RetrainingOutcome)  # the test images were read for it
        else:
            outcome, state = retrain(setup, repetition, progress)
            folder.write_tensors(NETWORK, state)
            folder.write_record(OUTCOME, outcome)
        assert outcome.plan is not None
        plan = Plan.from_dict(outcome.plan)
        folder.write_json("plan.json", outcome.plan)
        summary = PruneSummary(
            name=by,
            unpruned=unpruned.model_copy(update={"test_accuracy": read_test_accuracy(experiment)}),
            pruned=Averages.model_validate(outcome, from_attributes=True),
            kept={group: (count, structure.widths[group]) for group, count in outcome.kept.items()},
            seed=space.seed,
            versions=versions(),
            rule=adapted.rule if kind == BLEND else "",
            ratings=describe_raters(experiment, blend.criteria),
            note=tell_unused_shares(experiment, blend),
            latency=compare_latency(experiment, structure.slice(experiment.network.cpu(), plan), plan.counts),
        )
        folder.write_record("summary.json", summary)
        folder.checkpoint(repetition.key).remove()
        return JobResult(folder.path, summary)


def describe_raters(experiment: Experiment, criteria: Sequence[str]) -> RatersRecord | None:
    """Return what is to be said of the people whose ratings some of the criteria read; None where none does."""
    ratings = experiment.ratings
    if ratings is None or not any(name in CRITERIA and "ratings" in CRITERIA.get(name).needs for name in criteria):
        return None
    return RatersRecord(
        raters={name: sum(len(rated) for rated in marks.values()) for name, marks in ratings.raters.items()},
        shared=len(ratings.shared),
        kappa=ratings.kappa,
        fallback=ratings.fallback,
    )


def _read(by: str) -> Blend:
    if by in CRITERIA:
        return Blend.single(by)
    if by.endswith(".json") or Path(by).is_file():
        return Blend.load(by)
    raise unknown_name("criterion (or path of a blend file)", by, CRITERIA.names(), "--by")
