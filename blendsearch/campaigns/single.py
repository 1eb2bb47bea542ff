"""The parts of a campaign as jobs of their own: train the network, score it, prune it by one criterion or blend."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from blendsearch.allocation import Evolved, own_allocation
from blendsearch.blending import Blend, Fitted, Scores, agreement, fit_blend, rank_all
from blendsearch.campaigns.checking import pruning_schedule
from blendsearch.campaigns.folder import RunFolder, check_same_job, check_same_space, choose_folder
from blendsearch.campaigns.raters import raters_record
from blendsearch.campaigns.retraining import Candidate, Terms, retrain
from blendsearch.campaigns.scorers import BlendScorer
from blendsearch.campaigns.search import clustered, tested_baseline
from blendsearch.campaigns.versions import versions
from blendsearch.campaigns.workbench import (
    Workbench,
    calibration_statistics,
    check_before_work,
    criteria_scores,
    latency_reached,
    prepared_allocation,
    trained_baseline,
)
from blendsearch.compute import child_seed
from blendsearch.config import Space
from blendsearch.criteria import CRITERIA, score_groups
from blendsearch.errors import ConfigError, RunError, unknown_name
from blendsearch.files import content_digest
from blendsearch.progress import Progress, silent
from blendsearch.schedules import SCHEDULES, Schedule, TrainingSchedule
from blendsearch.structure import Plan

SHARES_UNUSED = "The blend also has shares of the layers, found in its search; allocation=evolved would use them."

CANDIDATE = "pruned"
"""The name of the one network that `prune` retrains; what it is pruned by may be a path."""


@contextlib.contextmanager
def opened(
    space: Space, run_dir: Path | None, job: str, progress: Progress, resume: bool, by: str | None = None
) -> Iterator[tuple[Workbench, RunFolder]]:
    """Open the folder of a job, new or, to resume, as it was left, and keep other processes out meanwhile.

    Raises RunError when the folder is of another job, another space, or another criterion than `by`.
    """
    bench = Workbench(space, progress)
    check_before_work(bench)
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
        yield bench, folder


def _content(file: str | None) -> str | None:
    """Return a digest of a file's content; None where nothing is named, or a criterion and no file."""
    if file is None or not Path(file).is_file():
        return None
    return content_digest(Path(file))


def train_baseline(
    space: Space, run_dir: Path | None = None, progress: Progress = silent, resume: bool = False
) -> dict[str, Any]:
    """Train only the network of a space, by its training schedule where it names one.

    Its weights are left in baseline.safetensors, the record with the test accuracy in summary.json.
    """
    with opened(space, run_dir, "train", progress, resume) as (bench, folder):
        return _trained(bench, folder)


def _trained(bench: Workbench, folder: RunFolder) -> dict[str, Any]:
    space = bench.space
    record = {**trained_baseline(bench, folder), "test_accuracy": tested_baseline(bench, folder)}
    schedule = space.schedule.name if issubclass(SCHEDULES.get(space.schedule.name), TrainingSchedule) else None
    summary = {"name": space.name, **record, "schedule": schedule, "seed": space.seed, "versions": versions()}
    folder.write_json("summary.json", summary)
    return {**record, "run_dir": folder.path}


def score_criteria(
    space: Space, run_dir: Path | None = None, progress: Progress = silent, resume: bool = False
) -> dict[str, Any]:
    """Score the trained network under the criteria; return how they agree and cluster."""
    with opened(space, run_dir, "score", progress, resume) as (bench, folder):
        return _scored(bench, folder)


def _scored(bench: Workbench, folder: RunFolder) -> dict[str, Any]:
    trained_baseline(bench, folder)
    scores, _ = criteria_scores(bench, folder)
    clusters = clustered(bench, folder, scores)
    names = list(scores)
    matrices = list(agreement(rank_all(scores)).values())
    mean = sum(matrices[1:], matrices[0]) / len(matrices)
    return {
        "run_dir": folder.path,
        "criteria": [_agreement_row(name, i, names, mean) for i, name in enumerate(names)],
        "agreement": {"criteria": names, "mean": mean.tolist()},
        **raters_record(bench, names),
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


def prune_once(
    space: Space, by: str, run_dir: Path | None = None, progress: Progress = silent, resume: bool = False
) -> dict[str, Any]:
    """Prune by one criterion or by the blend of a file, retrain, and leave network, plan and summary.

    Raises UnknownNameError when `by` is neither a criterion nor a file.
    """
    blend, schedule = _read(by), pruning_schedule(space, "prune")
    with opened(space, run_dir, "prune", progress, resume, by) as (bench, folder):
        return _pruned(bench, folder, by, blend, schedule)


def _pruned(bench: Workbench, folder: RunFolder, by: str, blend: Blend, schedule: Schedule) -> dict[str, Any]:
    space, progress = bench.space, bench.progress
    fitted = fitted_to(bench, blend)
    blend, rule_of_blend = fitted.blend, fitted.rule
    baseline = trained_baseline(bench, folder)
    rule = space.structure.group_rule
    gathered = calibration_statistics(bench, blend.criteria)
    scores: Scores = score_groups(bench.structure, gathered, blend.criteria, group_rule=rule)
    scorer = BlendScorer(
        blend, scores, bench.structure, bench.splits.calibration, bench.compute, child_seed(space.seed, "statistics"),
        bench.ratings, rule, space.data.relevance_per_class,
    )  # fmt: skip
    allocation = own_allocation(prepared_allocation(bench, folder), blend.keep, bench.structure)
    terms = Terms(
        bench.network, bench.structure, {CANDIDATE: scorer}, {CANDIDATE: allocation}, bench.budget,
        schedule, space.retraining, bench.splits, bench.compute, space.seed, folder / "checkpoints",
        bench.compensation,
    )  # fmt: skip
    candidate = Candidate(CANDIDATE, "criterion" if by in CRITERIA else "blend", 0)
    result, state = retrain(terms, candidate, progress)
    folder.write_tensors("network.safetensors", state)
    folder.write_json("plan.json", result.plan)
    keys = ("test_accuracy", "search_accuracy", "flops_ratio", "params_ratio", "steps")
    summary = {
        "name": by,
        "baseline": {**baseline, "test_accuracy": tested_baseline(bench, folder)},
        "pruned": {key: getattr(result, key) for key in keys},
        "kept": {group: [count, bench.structure.widths[group]] for group, count in result.kept.items()},
        "seed": space.seed,
        "versions": versions(),
        "rule": "" if by in CRITERIA else rule_of_blend,
        **raters_record(bench, blend.criteria),
        "note": SHARES_UNUSED if blend.keep and not isinstance(bench.allocation, Evolved) else "",
    }
    if bench.budget.kind == "latency":
        plan = Plan.from_dict(result.plan)
        pruned = bench.structure.slice(bench.network.cpu(), plan)
        summary["latency"] = latency_reached(bench, pruned, plan.counts)
    folder.write_json("summary.json", summary)
    folder.checkpoint(candidate.key).remove()
    return {**summary, "run_dir": folder.path}


def fitted_to(bench: Workbench, blend: Blend) -> Fitted:
    """Return the blend for this network and the rule that made it fit; ConfigError when it has no shares to use.

    Before any training.
    """
    fitted = fit_blend(blend, bench.structure)
    if isinstance(bench.allocation, Evolved) and not blend.keep:
        raise ConfigError(
            "allocation: 'evolved' takes the layers' shares from a blend's file, and a criterion or a blend without "
            f"'keep' has none; choose another allocation (such as {', '.join(bench.allocation.start)})"
        )
    return fitted


def _read(by: str) -> Blend:
    if by in CRITERIA:
        return Blend.single(by)
    if by.endswith(".json") or Path(by).is_file():
        return Blend.load(by)
    raise unknown_name("criterion (or path of a blend file)", by, CRITERIA.names(), "--by")
