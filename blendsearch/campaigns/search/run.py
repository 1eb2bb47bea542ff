"""The search campaign, end to end: train, score, cluster, evolve, retrain, report; stopped and resumed anywhere."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blendsearch.blending import Blend, Clusters, Scores, agreement, rank_all
from blendsearch.campaigns.search.ablation import part_results
from blendsearch.campaigns.search.evolve import CONTROL, cost_of, searched
from blendsearch.campaigns.search.pareto import BESIDE, POINT, summarised
from blendsearch.campaigns.search.phases import clusters_of
from blendsearch.compute import child_seed
from blendsearch.config import Space
from blendsearch.experiment.contenders import Contender
from blendsearch.experiment.experiment import (
    Experiment,
    check_before_work,
    data_name,
    latencies_ms,
    latency_reached,
    prepare_allocation,
    score_criteria,
    train_unpruned,
)
from blendsearch.experiment.provenance import note_results
from blendsearch.experiment.retraining import Candidate, Terms, retrain_all
from blendsearch.experiment.scoring import BlendScorer
from blendsearch.progress import Progress, silent
from blendsearch.reports.report import write_report
from blendsearch.results.paired import averages, compare, fidelity, same_filters
from blendsearch.results.run_folder import RunFolder, check_same_job, check_same_space, choose_folder
from blendsearch.results.versions import versions
from blendsearch.structure import Plan
from blendsearch.training.evaluation import evaluate
from blendsearch.validation.space import check_files, pruning_schedule


@dataclass(frozen=True)
class Campaign:
    """A finished campaign: its folder, the summary as in summary.json, the best blend, and the report's path."""

    run_dir: Path
    summary: dict[str, Any]
    blend: Blend
    report: Path


ADDED_LATER = ("search.control", "search.ablation", "retraining.seeds")
"""What a finished campaign may get more of, or less: none of them touches the search or a retraining that is there."""


def run_search(
    space: Space, run_dir: Path | None = None, resume: bool = False, progress: Progress = silent
) -> Campaign:
    """Run a search campaign, or go on with a stopped one; same space, same result, however often it was stopped.

    On resuming, `retraining.seeds`, `search.control` and `search.ablation` may differ: what is missing is added.
    """
    pruning_schedule(space, "search")  # one that does not prune is refused before any work
    experiment = Experiment(space, progress)
    if not resume:
        check_files(space)
    check_before_work(experiment)
    folder = choose_folder(run_dir, space.name, resume)
    with folder.locked():
        return _run(experiment, folder)


def _run(experiment: Experiment, folder: RunFolder) -> Campaign:
    space = experiment.space
    check_same_job(folder, "search")
    check_same_space(folder, space.to_dict(), ADDED_LATER)
    event = "resumed" if folder.has("space.json") else "started"
    folder.write_text("space.yaml", space.to_yaml())
    folder.write_json("space.json", space.to_dict())
    folder.event(event, seed=space.seed)
    with stopwatch(folder, "total"):
        baseline = train_unpruned(experiment, folder)
        scores, scored = score_criteria(experiment, folder)
        prepare_allocation(experiment, folder)
        clusters = cluster_criteria(experiment, folder, scores)
        with stopwatch(folder, "search"):
            contenders = searched(experiment, folder, scores, clusters)
        with stopwatch(folder, "retrain"):
            records = retrained(experiment, folder, scores, contenders)
        test = test_unpruned(experiment, folder)
    seconds = {
        "train": baseline["seconds"],
        "statistics": scored["seconds"],
        **folder.read_json("records/seconds.json"),
    }
    summary = summarise(experiment, folder, {**baseline, "test_accuracy": test}, scored, contenders, records, seconds)
    folder.write_json("summary.json", summary)
    note_results(folder / "blend.json", summary)
    report = write_report(folder.path, experiment.progress)
    folder.event("finished", verdict=summary["comparison"]["verdict"])
    return Campaign(folder.path, summary, Blend.load(folder / "blend.json"), report)


@contextlib.contextmanager
def stopwatch(folder: RunFolder, stage: str) -> Any:
    """Add a stage's seconds to the record, over all the times that it was stopped and resumed."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds = folder.read_json("records/seconds.json") if folder.has("records/seconds.json") else {}
        seconds[stage] = round(seconds.get(stage, 0.0) + time.perf_counter() - start, 3)
        folder.write_json("records/seconds.json", seconds)


def cluster_criteria(experiment: Experiment, folder: RunFolder, scores: Scores) -> Clusters:
    """Cluster the criteria by rank in each (of several the finest) unit, and keep their agreement for the report."""
    ranked = rank_all(scores)
    by_group = agreement(ranked)
    matrices = list(by_group.values())
    folder.write_json(
        "records/agreement.json",
        {
            "criteria": list(ranked),
            "groups": {group: matrix.tolist() for group, matrix in by_group.items()},
            "mean": (sum(matrices[1:], matrices[0]) / len(matrices)).tolist(),
        },
    )
    clusters = clusters_of(experiment, scores, experiment.space.blend.units[-1])
    folder.write_json("records/clusters.json", clusters.to_dict())
    return clusters


def retrained(
    experiment: Experiment, folder: RunFolder, scores: Scores, contenders: dict[str, Contender]
) -> list[dict[str, Any]]:
    """Retrain the blend, every criterion, the control and the front on equal terms; keep the blend's first network."""
    records = retrain_contenders(experiment, folder, scores, contenders)
    best = folder.read_tensors(f"networks/{Candidate('blend', 'blend', 0).key}.safetensors")
    folder.write_tensors("network.safetensors", best)
    # An iterative schedule decides anew at every step, so the network's plan is the one it ended with.
    folder.write_json("plan.json", Plan.from_dict(records[0]["plan"]).to_dict())
    return records


def retrain_contenders(
    experiment: Experiment, folder: RunFolder, scores: Scores, contenders: dict[str, Contender]
) -> list[dict[str, Any]]:
    """Retrain contenders on the terms of the space with each of its seeds; return their records, whole seeds first."""
    space = experiment.space
    seed = child_seed(space.seed, "statistics")
    known = (scores, experiment.structure, experiment.splits.calibration, experiment.compute, seed)
    rules = (experiment.ratings, space.structure.group_rule, space.data.relevance_per_class)
    scorers = {name: BlendScorer(contender.blend, *known, *rules) for name, contender in contenders.items()}
    terms = Terms(
        experiment.network, experiment.structure, dict(scorers),
        {name: contender.allocation for name, contender in contenders.items()}, experiment.budget,
        pruning_schedule(space, "search"), space.retraining, experiment.splits, experiment.compute, space.seed,
        folder / "checkpoints", experiment.compensation,
        {name: contender.budget for name, contender in contenders.items()},
    )  # fmt: skip
    candidates = [
        Candidate(name, contenders[name].kind, repetition)
        for repetition in range(space.retraining.seeds)
        for name in contenders
    ]
    return retrain_all(
        terms,
        candidates,
        folder,
        workers=experiment.workers,
        threads=space.compute.threads,
        progress=experiment.progress,
    )


def test_unpruned(experiment: Experiment, folder: RunFolder) -> float:
    """Read the unpruned network's test accuracy, once."""
    if not folder.has("records/test.json"):
        network = experiment.compute.place(experiment.network)
        accuracy = evaluate(network, experiment.splits.test.batches(500), experiment.compute).accuracy
        folder.write_json("records/test.json", {"baseline": accuracy})
    return float(folder.read_json("records/test.json")["baseline"])


def summarise(
    experiment: Experiment,
    folder: RunFolder,
    baseline: dict[str, Any],
    scored: dict[str, Any],
    contenders: dict[str, Contender],
    records: list[dict[str, Any]],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Put the campaign into one record, and the retrainings and groups into theirs."""
    space, splits = experiment.space, experiment.splits
    front = summarised(experiment, folder, contenders, records) if space.search.objectives else []
    records = [record for record in records if record["kind"] not in (POINT, BESIDE)]
    proxies = {name: contender.proxy for name, contender in contenders.items()}
    folder.write_json("records/retrained.json", [_short(record, proxies) for record in records])
    folder.write_json("records/groups.json", _groups(experiment, records))
    generations = folder.read_json("records/evolution.json")
    names = scored["criteria"]
    blend = {"proxy": proxies["blend"], **averages(records, "blend", "blend")}
    plan = Plan.from_dict(folder.read_json("plan.json"))
    pruned = experiment.structure.slice(experiment.network.cpu(), plan)
    latency = latencies_ms({"baseline": experiment.network, "blend": pruned}, experiment.example)
    measured = (
        {"latency": latency_reached(experiment, pruned, plan.counts)} if experiment.budget.kind == "latency" else {}
    )
    blend["latency_ms"], baseline["latency_ms"] = latency["blend"], latency["baseline"]
    criteria = {
        name: {
            "proxy": proxies[name], "allocation": contenders[name].allocation_name,
            **averages(records, name, "criterion"),
        }
        for name in names
    }  # fmt: skip
    truths = {name: entry["test_accuracy"] for name, entry in criteria.items()}
    if not same_filters(records):  # else it would count twice
        truths["blend"] = blend["test_accuracy"]
    return {
        "name": space.name,
        "seed": space.seed,
        "seeds": space.retraining.seeds,
        "budget": {"kind": experiment.budget.kind, "ratio": experiment.budget.ratio},
        "allocation": space.allocation.name,
        "schedule": space.schedule.name,
        "proxy": space.proxy.name,
        "baseline": {
            key: baseline[key] for key in ("test_accuracy", "search_accuracy", "flops", "params", "latency_ms")
        },
        "blend": blend,
        **measured,
        "criteria": criteria,
        "control": {"proxy": proxies[CONTROL], **averages(records, CONTROL, "control")} if CONTROL in proxies else None,
        "ablation": part_results(contenders, records),
        "left_out": scored["left_out"],
        "refused": experiment.structure.refused,
        "comparison": compare(records),
        "fidelity": fidelity(proxies, truths),
        "seconds": seconds,
        "trials": generations[-1]["evaluations"],
        "search": cost_of(space.search, generations),
        "finals": _finals(folder) if space.search.finals else None,
        "front": front,
        "versions": versions(),
        "data": {
            "name": data_name(experiment),
            "fingerprint": splits.fingerprint,
            "classes": len(splits.classes),
            **{part: len(getattr(splits, part)) for part in ("train", "calibration", "search", "test")},
        },
    }


def _finals(folder: RunFolder) -> dict[str, Any]:
    """Return how many candidates were in the finals, what these cost, and whether the proxy's first one won."""
    record = folder.read_json("records/finals.json")
    candidates = record["candidates"]
    return {
        "candidates": len(candidates),
        "trainings": record["seeds"] * sum(len(candidate["accuracies"]) for candidate in candidates),
        "seconds": record["seconds"],
        "proxy_was_right": candidates[0]["stopped"] == "won",
    }


def _short(record: dict[str, Any], proxies: dict[str, float]) -> dict[str, Any]:
    rest = {key: value for key, value in record.items() if key not in ("plan", "kept")}
    return {**rest, "proxy": proxies[record["name"]]}


def _groups(experiment: Experiment, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    first = [record for record in records if record["seed"] == 0]
    return [
        {
            **{key: value for key, value in asdict(group).items() if key in ("name", "stage", "width")},
            "convolutions": list(group.convolutions),
            "kept": {record["name"]: record["kept"][group.name] for record in first},
        }
        for group in experiment.structure.groups
    ]
