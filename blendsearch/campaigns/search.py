"""The search campaign, end to end: train, score, cluster, evolve, retrain, report; stopped and resumed anywhere."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blendsearch.blending import Blend, Clusters, Scores, agreement, rank_all
from blendsearch.campaigns.ablation import part_results
from blendsearch.campaigns.checking import check_files, pruning_schedule
from blendsearch.campaigns.comparison import averages, compare, fidelity, same_filters
from blendsearch.campaigns.entrants import Entrant
from blendsearch.campaigns.folder import RunFolder, check_same_job, check_same_space, choose_folder
from blendsearch.campaigns.front import BESIDE, POINT, summarised
from blendsearch.campaigns.origin import note_results
from blendsearch.campaigns.phases import clusters_of
from blendsearch.campaigns.report import write_report
from blendsearch.campaigns.retraining import Candidate, Terms, retrain_all
from blendsearch.campaigns.scorers import BlendScorer
from blendsearch.campaigns.searching import CONTROL, cost_of, searched
from blendsearch.campaigns.versions import versions
from blendsearch.campaigns.workbench import (
    Workbench,
    check_before_work,
    criteria_scores,
    data_name,
    latencies_ms,
    latency_reached,
    prepared_allocation,
    trained_baseline,
)
from blendsearch.compute import child_seed
from blendsearch.config import Space
from blendsearch.progress import Progress, silent
from blendsearch.structure import Plan
from blendsearch.training.evaluation import evaluate


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
    bench = Workbench(space, progress)
    if not resume:
        check_files(space)
    check_before_work(bench)
    folder = choose_folder(run_dir, space.name, resume)
    with folder.locked():
        return _run(bench, folder)


def _run(bench: Workbench, folder: RunFolder) -> Campaign:
    space = bench.space
    check_same_job(folder, "search")
    check_same_space(folder, space.to_dict(), ADDED_LATER)
    event = "resumed" if folder.has("space.json") else "started"
    folder.write_text("space.yaml", space.to_yaml())
    folder.write_json("space.json", space.to_dict())
    folder.event(event, seed=space.seed)
    with stopwatch(folder, "total"):
        baseline = trained_baseline(bench, folder)
        scores, scored = criteria_scores(bench, folder)
        prepared_allocation(bench, folder)
        clusters = clustered(bench, folder, scores)
        with stopwatch(folder, "search"):
            entrants = searched(bench, folder, scores, clusters)
        with stopwatch(folder, "retrain"):
            records = retrained(bench, folder, scores, entrants)
        test = tested_baseline(bench, folder)
    seconds = {
        "train": baseline["seconds"],
        "statistics": scored["seconds"],
        **folder.read_json("records/seconds.json"),
    }
    summary = summarise(bench, folder, {**baseline, "test_accuracy": test}, scored, entrants, records, seconds)
    folder.write_json("summary.json", summary)
    note_results(folder / "blend.json", summary)
    report = write_report(folder.path, bench.progress)
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


def clustered(bench: Workbench, folder: RunFolder, scores: Scores) -> Clusters:
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
    clusters = clusters_of(bench, scores, bench.space.blend.units[-1])
    folder.write_json("records/clusters.json", clusters.to_dict())
    return clusters


def retrained(
    bench: Workbench, folder: RunFolder, scores: Scores, entrants: dict[str, Entrant]
) -> list[dict[str, Any]]:
    """Retrain the blend, every criterion, the control and the front on equal terms; keep the blend's first network."""
    records = retrained_entrants(bench, folder, scores, entrants)
    best = folder.read_tensors(f"networks/{Candidate('blend', 'blend', 0).key}.safetensors")
    folder.write_tensors("network.safetensors", best)
    # An iterative schedule decides anew at every step, so the network's plan is the one it ended with.
    folder.write_json("plan.json", Plan.from_dict(records[0]["plan"]).to_dict())
    return records


def retrained_entrants(
    bench: Workbench, folder: RunFolder, scores: Scores, entrants: dict[str, Entrant]
) -> list[dict[str, Any]]:
    """Retrain entrants on the terms of the space with each of its seeds; return their records, whole seeds first."""
    space = bench.space
    seed = child_seed(space.seed, "statistics")
    known = (scores, bench.structure, bench.splits.calibration, bench.compute, seed)
    rules = (bench.ratings, space.structure.group_rule, space.data.relevance_per_class)
    scorers = {name: BlendScorer(entrant.blend, *known, *rules) for name, entrant in entrants.items()}
    terms = Terms(
        bench.network, bench.structure, dict(scorers),
        {name: entrant.allocation for name, entrant in entrants.items()}, bench.budget,
        pruning_schedule(space, "search"), space.retraining, bench.splits, bench.compute, space.seed,
        folder / "checkpoints", bench.compensation,
        {name: entrant.budget for name, entrant in entrants.items()},
    )  # fmt: skip
    candidates = [
        Candidate(name, entrants[name].kind, repetition)
        for repetition in range(space.retraining.seeds)
        for name in entrants
    ]
    return retrain_all(
        terms, candidates, folder, workers=bench.workers, threads=space.compute.threads, progress=bench.progress
    )


def tested_baseline(bench: Workbench, folder: RunFolder) -> float:
    """Read the unpruned network's test accuracy, once."""
    if not folder.has("records/test.json"):
        network = bench.compute.place(bench.network)
        accuracy = evaluate(network, bench.splits.test.batches(500), bench.compute).accuracy
        folder.write_json("records/test.json", {"baseline": accuracy})
    return float(folder.read_json("records/test.json")["baseline"])


def summarise(
    bench: Workbench,
    folder: RunFolder,
    baseline: dict[str, Any],
    scored: dict[str, Any],
    entrants: dict[str, Entrant],
    records: list[dict[str, Any]],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Put the campaign into one record, and the retrainings and groups into theirs."""
    space, splits = bench.space, bench.splits
    front = summarised(bench, folder, entrants, records) if space.search.objectives else []
    records = [record for record in records if record["kind"] not in (POINT, BESIDE)]
    proxies = {name: entrant.proxy for name, entrant in entrants.items()}
    folder.write_json("records/retrained.json", [_short(record, proxies) for record in records])
    folder.write_json("records/groups.json", _groups(bench, records))
    generations = folder.read_json("records/evolution.json")
    names = scored["criteria"]
    blend = {"proxy": proxies["blend"], **averages(records, "blend", "blend")}
    plan = Plan.from_dict(folder.read_json("plan.json"))
    pruned = bench.structure.slice(bench.network.cpu(), plan)
    latency = latencies_ms({"baseline": bench.network, "blend": pruned}, bench.example)
    measured = {"latency": latency_reached(bench, pruned, plan.counts)} if bench.budget.kind == "latency" else {}
    blend["latency_ms"], baseline["latency_ms"] = latency["blend"], latency["baseline"]
    criteria = {
        name: {
            "proxy": proxies[name], "allocation": entrants[name].allocation_name,
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
        "budget": {"kind": bench.budget.kind, "ratio": bench.budget.ratio},
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
        "ablation": part_results(entrants, records),
        "left_out": scored["left_out"],
        "refused": bench.structure.refused,
        "comparison": compare(records),
        "fidelity": fidelity(proxies, truths),
        "seconds": seconds,
        "trials": generations[-1]["evaluations"],
        "search": cost_of(space.search, generations),
        "finals": _finals(folder) if space.search.finals else None,
        "front": front,
        "versions": versions(),
        "data": {
            "name": data_name(bench),
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


def _groups(bench: Workbench, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    first = [record for record in records if record["seed"] == 0]
    return [
        {
            **{key: value for key, value in asdict(group).items() if key in ("name", "stage", "width")},
            "convolutions": list(group.convolutions),
            "kept": {record["name"]: record["kept"][group.name] for record in first},
        }
        for group in bench.structure.groups
    ]
