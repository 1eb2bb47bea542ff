"""The parts of a campaign as jobs of their own: train the network, score it, prune it by one criterion or blend."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from blendsearch.allocation import Evolved, own_allocation
from blendsearch.blending import AdaptedBlend, Blend, Scores, adapt_blend, agreement, rank_all
from blendsearch.campaigns.raters import raters_record
from blendsearch.campaigns.search.run import cluster_criteria, test_unpruned
from blendsearch.compute import child_seed
from blendsearch.config import Space
from blendsearch.criteria import CRITERIA, score_groups
from blendsearch.errors import ConfigError, RunError, unknown_name
from blendsearch.experiment.experiment import (
    Experiment,
    calibration_statistics,
    check_before_work,
    latency_reached,
    prepare_allocation,
    score_criteria,
    train_unpruned,
)
from blendsearch.experiment.retraining import Candidate, Terms, retrain
from blendsearch.experiment.scoring import BlendScorer
from blendsearch.files import content_digest
from blendsearch.progress import Progress, silent
from blendsearch.results.run_folder import RunFolder, check_same_job, check_same_space, choose_folder
from blendsearch.results.versions import versions
from blendsearch.schedules import SCHEDULES, Schedule, TrainingSchedule
from blendsearch.structure import Plan
from blendsearch.validation.space import pruning_schedule

SHARES_UNUSED = "The blend also has shares of the layers, found in its search; allocation=evolved would use them."

CANDIDATE = "pruned"
"""The name of the one network that `prune` retrains; what it is pruned by may be a path."""


@contextlib.contextmanager
def opened(
    space: Space, run_dir: Path | None, job: str, progress: Progress, resume: bool, by: str | None = None
) -> Iterator[tuple[Experiment, RunFolder]]:
    """Open the folder of a job, new or, to resume, as it was left, and keep other processes out meanwhile.

    Raises RunError when the folder is of another job, another space, or another criterion than `by`.
    """
    experiment = Experiment(space, progress)
    check_before_work(experiment)
    folder = choose_folder(run_dir, f"{space.name}-{job}", resume)
    with folder.locked():
        check_same_job(folder, job)
        check_same_space(folder, space.to_dict())
        read = {"--by": _content(by), "ratings": _content(space.ratings.file if space.ratings else None)}
        files = {name: content for name, content in read.items() if content is not None}
        before: dict[str, Any] = folder.read_json("job.json") if folder.has("job.json") else {"by": by}
        if before.get("by") != by:
            earlier = before.get("by")
            raise RunError(f"{folder.path}: was made with --by {earlier}; continue with it or choose another --run-dir")
        changed = [name for name, content in before.get("files", {}).items() if files.get(name) != content]
        if changed:
            raise RunError(f"{folder.path}: the file of {changed[0]} has changed since; choose another --run-dir")
        folder.write_json("job.json", {"job": job, "by": by, **({"files": files} if files else {})})
        folder.write_text("space.yaml", space.to_yaml())
        folder.write_json("space.json", space.to_dict())
        yield experiment, folder


def _content(file: str | None) -> str | None:
    """Return a digest of a file's content; None where nothing is named, or a criterion and no file."""
    if file is None or not Path(file).is_file():
        return None
    return content_digest(Path(file))


def run_train(
    space: Space, run_dir: Path | None = None, progress: Progress = silent, resume: bool = False
) -> dict[str, Any]:
    """Train only the network of a space, by its training schedule where it names one.

    Its weights are left in baseline.safetensors, the record with the test accuracy in summary.json.
    """
    with opened(space, run_dir, "train", progress, resume) as (experiment, folder):
        return _trained(experiment, folder)


def _trained(experiment: Experiment, folder: RunFolder) -> dict[str, Any]:
    space = experiment.space
    record = {**train_unpruned(experiment, folder), "test_accuracy": test_unpruned(experiment, folder)}
    schedule = space.schedule.name if issubclass(SCHEDULES.get(space.schedule.name), TrainingSchedule) else None
    summary = {"name": space.name, **record, "schedule": schedule, "seed": space.seed, "versions": versions()}
    folder.write_json("summary.json", summary)
    return {**record, "run_dir": folder.path}


def run_score(
    space: Space, run_dir: Path | None = None, progress: Progress = silent, resume: bool = False
) -> dict[str, Any]:
    """Score the trained network under the criteria; return how they agree and cluster."""
    with opened(space, run_dir, "score", progress, resume) as (experiment, folder):
        return _scored(experiment, folder)


def _scored(experiment: Experiment, folder: RunFolder) -> dict[str, Any]:
    train_unpruned(experiment, folder)
    scores, _ = score_criteria(experiment, folder)
    clusters = cluster_criteria(experiment, folder, scores)
    names = list(scores)
    matrices = list(agreement(rank_all(scores)).values())
    mean = sum(matrices[1:], matrices[0]) / len(matrices)
    return {
        "run_dir": folder.path,
        "criteria": [_agreement_row(name, i, names, mean) for i, name in enumerate(names)],
        "agreement": {"criteria": names, "mean": mean.tolist()},
        **raters_record(experiment, names),
        "clusters": {unit: [list(members) for members in parts] for unit, parts in clusters.members.items()},
    }


def _agreement_row(name: str, i: int, names: list[str], mean: torch.Tensor) -> dict[str, Any]:
    others = {other: float(mean[i, j]) for j, other in enumerate(names) if j != i}
    return {
        "name": name,
        "family": CRITERIA.get(name)().family if name in CRITERIA else "blend",
        "mean_agreement": statistics.fmean(others.values()) if others else 1.0,
        "nearest": max(others, key=lambda other: others[other]) if others else name,
    }


def run_prune(
    space: Space, by: str, run_dir: Path | None = None, progress: Progress = silent, resume: bool = False
) -> dict[str, Any]:
    """Prune by one criterion or by the blend of a file, retrain, and leave network, plan and summary.

    Raises UnknownNameError when `by` is neither a criterion nor a file.
    """
    blend, schedule = _read(by), pruning_schedule(space, "prune")
    with opened(space, run_dir, "prune", progress, resume, by) as (experiment, folder):
        return _pruned(experiment, folder, by, blend, schedule)


def _pruned(experiment: Experiment, folder: RunFolder, by: str, blend: Blend, schedule: Schedule) -> dict[str, Any]:
    space, progress = experiment.space, experiment.progress
    fitted = adapt_to_network(experiment, blend)
    blend, rule_of_blend = fitted.blend, fitted.rule
    baseline = train_unpruned(experiment, folder)
    rule = space.structure.group_rule
    gathered = calibration_statistics(experiment, blend.criteria)
    scores: Scores = score_groups(experiment.structure, gathered, blend.criteria, group_rule=rule)
    scorer = BlendScorer(
        blend, scores, experiment.structure, experiment.splits.calibration, experiment.compute, child_seed(space.seed, "statistics"),
        experiment.ratings, rule, space.data.relevance_per_class,
    )  # fmt: skip
    allocation = own_allocation(prepare_allocation(experiment, folder), blend.keep, experiment.structure)
    terms = Terms(
        experiment.network, experiment.structure, {CANDIDATE: scorer}, {CANDIDATE: allocation}, experiment.budget,
        schedule, space.retraining, experiment.splits, experiment.compute, space.seed, folder / "checkpoints",
        experiment.compensation,
    )  # fmt: skip
    candidate = Candidate(CANDIDATE, "criterion" if by in CRITERIA else "blend", 0)
    result, state = retrain(terms, candidate, progress)
    folder.write_tensors("network.safetensors", state)
    folder.write_json("plan.json", result.plan)
    keys = ("test_accuracy", "search_accuracy", "flops_ratio", "params_ratio", "steps")
    summary = {
        "name": by,
        "baseline": {**baseline, "test_accuracy": test_unpruned(experiment, folder)},
        "pruned": {key: getattr(result, key) for key in keys},
        "kept": {group: [count, experiment.structure.widths[group]] for group, count in result.kept.items()},
        "seed": space.seed,
        "versions": versions(),
        "rule": "" if by in CRITERIA else rule_of_blend,
        **raters_record(experiment, blend.criteria),
        "note": SHARES_UNUSED if blend.keep and not isinstance(experiment.allocation, Evolved) else "",
    }
    if experiment.budget.kind == "latency":
        plan = Plan.from_dict(result.plan)
        pruned = experiment.structure.slice(experiment.network.cpu(), plan)
        summary["latency"] = latency_reached(experiment, pruned, plan.counts)
    folder.write_json("summary.json", summary)
    folder.checkpoint(candidate.key).remove()
    return {**summary, "run_dir": folder.path}


def adapt_to_network(experiment: Experiment, blend: Blend) -> AdaptedBlend:
    """Return the blend for this network and the rule that made it fit; ConfigError when it has no shares to use.

    Before any training.
    """
    fitted = adapt_blend(blend, experiment.structure)
    if isinstance(experiment.allocation, Evolved) and not blend.keep:
        raise ConfigError(
            "allocation: 'evolved' takes the layers' shares from a blend's file, and a criterion or a blend without "
            f"'keep' has none; choose another allocation (such as {', '.join(experiment.allocation.start)})"
        )
    return fitted


def _read(by: str) -> Blend:
    if by in CRITERIA:
        return Blend.single(by)
    if by.endswith(".json") or Path(by).is_file():
        return Blend.load(by)
    raise unknown_name("criterion (or path of a blend file)", by, CRITERIA.names(), "--by")
