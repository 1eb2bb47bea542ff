"""The audit: does a proxy order pruned networks as retraining does, how surely, and at what cost?"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from blendsearch.blending import Scores
from blendsearch.campaigns.checking import make
from blendsearch.campaigns.comparison import fidelity
from blendsearch.campaigns.folder import RunFolder, check_same_job, check_same_space, choose_folder
from blendsearch.campaigns.given_plans import PlanCounts, PlanScorer
from blendsearch.campaigns.report import write_report
from blendsearch.campaigns.retraining import Candidate, Terms, retrain_all
from blendsearch.campaigns.search import clustered, stopwatch
from blendsearch.campaigns.searching import starting_genomes
from blendsearch.campaigns.versions import versions
from blendsearch.campaigns.workbench import (
    Workbench,
    check_before_work,
    criteria_scores,
    data_name,
    prepared_allocation,
    trained_baseline,
)
from blendsearch.compute import child_seed
from blendsearch.config import Space
from blendsearch.config.models import NamedSection
from blendsearch.errors import ConfigError
from blendsearch.progress import Progress, silent
from blendsearch.proxies import PROXIES
from blendsearch.proxies.passes import TRAINING_PASSES
from blendsearch.schedules import SCHEDULES
from blendsearch.search.backends import backend_of
from blendsearch.search.fitness import FitnessFunction, Planner
from blendsearch.search.genome import GenomeSpace
from blendsearch.structure import Plan

JOB = "audit"

TRIES = 50
"""Draws in vain, one after the other, after which there are taken to be no more different plans."""

COMBINED = "mean rank of all"


@dataclass(frozen=True)
class Audit:
    """A finished audit: its folder, the summary as in summary.json, and the report's path."""

    run_dir: Path
    summary: dict[str, Any]
    report: Path


@dataclass(frozen=True)
class Drawn:
    """A plan to be audited; kind: "criterion", "random" or "evolved"."""

    name: str
    kind: str
    plan: Plan


def run_audit(space: Space, run_dir: Path | None = None, resume: bool = False, progress: Progress = silent) -> Audit:
    """Draw different plans, estimate each by every proxy, retrain each on equal terms, and compare.

    The plans are pruned at once and retrained, whatever schedule the space names: a plan fixes what any schedule
    would decide. Truth is the test accuracy after retraining, mean over seeds; nothing is chosen by it. A finished
    audit is resumed with further proxies at the cost of their estimates: the plans and retrainings are kept.
    """
    bench = Workbench(space, progress)
    check_before_work(bench)
    folder = choose_folder(run_dir, f"{space.name}-{JOB}", resume)
    with folder.locked():
        check_same_job(folder, JOB)
        check_same_space(folder, space.to_dict(), free=("audit.proxies",))
        folder.write_json("job.json", {"job": JOB})
        folder.write_text("space.yaml", space.to_yaml())
        folder.write_json("space.json", space.to_dict())
        with stopwatch(folder, "total"):
            baseline = trained_baseline(bench, folder)
            scores, _ = criteria_scores(bench, folder)
            prepared_allocation(bench, folder)
            with stopwatch(folder, "draw"):
                plans = drawn(bench, folder, scores)
            with stopwatch(folder, "estimate"):
                estimates = estimated(bench, folder, plans)
            with stopwatch(folder, "retrain"):
                records = retrained(bench, folder, plans)
        summary = {
            "job": JOB,
            "name": space.name,
            "seed": space.seed,
            "budget": {"kind": bench.budget.kind, "ratio": bench.budget.ratio},
            "allocation": space.allocation.name,
            "model": space.model.name,
            "data": {"name": data_name(bench), "fingerprint": bench.splits.fingerprint},
            "baseline": baseline,
            **judged(plans, estimates, records, space.retraining.batch_size),
            "seconds": folder.read_json("records/seconds.json"),
            "versions": versions(),
        }
        folder.write_json("summary.json", summary)
        return Audit(folder.path, summary, write_report(folder.path, progress))


def drawn(bench: Workbench, folder: RunFolder, scores: Scores) -> list[Drawn]:
    """Return different plans, about a third each: of base criteria, of random blends, of an evolving search."""
    if not folder.has("records/plans.json"):
        plans = _draw(bench, folder, scores)
        folder.write_json(
            "records/plans.json", [{"name": d.name, "kind": d.kind, "plan": d.plan.to_dict()} for d in plans]
        )
    read = folder.read_json("records/plans.json")
    return [Drawn(entry["name"], entry["kind"], Plan.from_dict(entry["plan"])) for entry in read]


def _draw(bench: Workbench, folder: RunFolder, scores: Scores) -> list[Drawn]:
    count = bench.space.audit.plans
    clusters = clustered(bench, folder, scores)
    planner = Planner(bench.structure, scores, bench.allocation, bench.budget)
    kept = list(bench.structure.widths) if bench.space.allocation.name == "evolved" else ()
    genomes = GenomeSpace(clusters, kept)
    seed = child_seed(bench.space.seed, "audit")
    found: dict[str, Drawn] = {}

    def add(name: str, kind: str, plan: Plan) -> bool:
        new = plan.digest not in found
        if new:
            found[plan.digest] = Drawn(name, kind, plan)
        return new

    starts = starting_genomes(planner, genomes)
    for number in np.random.default_rng(child_seed(seed, "criteria")).permutation(len(starts)):
        if len(found) < -(-count // 3):
            name = list(starts)[number]
            add(name, "criterion", planner.plan(genomes.decode(starts[name])))
    rng = np.random.default_rng(child_seed(seed, "random"))
    in_vain = 0
    while len(found) < -(-2 * count // 3) and in_vain < TRIES:
        new = add(f"random {len(found)}", "random", planner.plan(genomes.decode(genomes.random(rng))))
        in_vain = 0 if new else in_vain + 1
    for plan in _evolved(bench, planner, genomes, list(starts.values())):
        if len(found) < count:
            add(f"evolved {len(found)}", "evolved", plan)
    if len(found) < 6:
        raise ConfigError(f"audit.plans: only {len(found)} different plans can be drawn, at least 6 are needed")
    return list(found.values())


def _evolved(bench: Workbench, planner: Planner, genomes: GenomeSpace, starts: Sequence[np.ndarray]) -> list[Plan]:
    """Return the plans that a search by the space's proxy came upon: the best of each generation first.

    So they range from where a search begins to where it ends; its last few alone would hardly differ.
    """
    settings = bench.space.search.model_copy(update={"objectives": []})
    seed = child_seed(bench.space.seed, "audit", "search")
    backend = backend_of(settings, genomes, seed=seed, initial=starts)
    fitness = _fitness(bench, bench.space.proxy)
    places: dict[str, tuple[int, int]] = {}
    plans: dict[str, Plan] = {}
    for generation in range(settings.generations + 1):
        asked = backend.ask(settings.population)
        now = [planner.plan(genomes.decode(genome)) for genome in asked]
        values = [evaluation.value for evaluation in fitness(now)]
        backend.tell(asked, values)
        new = {plan.digest: plan for plan in now if plan.digest not in plans}
        ordered = sorted(new, key=lambda digest: (-fitness.known[digest][0], digest))
        places |= {digest: (place, -generation) for place, digest in enumerate(ordered)}
        plans |= new
        bench.progress("search", generation + 1, settings.generations + 1, "")
    return [plans[digest] for digest in sorted(plans, key=places.__getitem__)]


def _fitness(bench: Workbench, proxy: NamedSection) -> FitnessFunction:
    return FitnessFunction(
        make(PROXIES, proxy), bench.bench(bench.network), workers=bench.workers, threads=bench.space.compute.threads
    )


def label(proxy: NamedSection) -> str:
    """Return a proxy's name with its options, such as "compensated images=128"; lists are joined by "+"."""
    return _words({"name": proxy.name, **proxy.options})


def _words(value: Any) -> str:
    """Return an option's value, or a name with its options, as one short text."""
    if isinstance(value, Mapping):
        rest = {key: one for key, one in value.items() if key != "name"}
        return " ".join([str(value.get("name", "")), *(f"{key}={_words(one)}" for key, one in sorted(rest.items()))])
    if isinstance(value, list):
        return "+".join(map(_words, value))
    return str(value)


def estimated(bench: Workbench, folder: RunFolder, plans: list[Drawn]) -> dict[str, dict[str, list[float]]]:
    """Return proxy -> plan name -> [value, seconds, passes]; an older version's records have no passes."""
    result = {}
    for proxy in bench.space.audit.proxies:
        title = label(proxy)
        name = f"records/estimates/{title.replace(' ', '_').replace('/', '_')}.json"
        if not folder.has(name):
            fitness, size = _fitness(bench, proxy), len(plans)

            def done(count: int, value: float, title: str = title, size: int = size) -> None:
                bench.progress(title, count, size, f"{value:.4f}")

            found = fitness([one.plan for one in plans], done)
            pairs = zip(plans, found, strict=True)
            folder.write_json(name, {one.name: [value.value, value.seconds, value.passes] for one, value in pairs})
        result[title] = folder.read_json(name)
    return result


def retrained(bench: Workbench, folder: RunFolder, plans: list[Drawn]) -> list[dict[str, Any]]:
    """Retrain every plan with every seed on equal terms."""
    space = bench.space
    training = space.retraining.model_copy(update={"seeds": space.audit.seeds})
    terms = Terms(
        bench.network, bench.structure, {one.name: PlanScorer(one.plan) for one in plans},
        {one.name: PlanCounts(one.plan) for one in plans}, replace(bench.budget, ratio=1.0),
        SCHEDULES.get("one_shot")(), training, bench.splits, bench.compute, space.seed, folder / "checkpoints",
    )  # fmt: skip
    candidates = [Candidate(one.name, one.kind, seed) for seed in range(space.audit.seeds) for one in plans]
    return retrain_all(
        terms, candidates, folder, workers=bench.workers, threads=space.compute.threads, progress=bench.progress
    )


def judged(
    plans: list[Drawn],
    estimates: Mapping[str, Mapping[str, list[float]]],
    records: list[dict[str, Any]],
    batch_size: int,
) -> dict[str, Any]:
    """Return proxies (tau, interval, of the ceiling, cost, regret), the noise ceiling, and every plan's numbers.

    cost: mean seconds of an estimate over those of a retraining. passes_cost: the same of images run through the
    network, one trained on counting three, which does not depend on what else the machine did; without closed-form
    solutions, which run no image. regret: how much accuracy is lost by taking the
    plan that the proxy puts first instead of the best of all, in [0, 1].
    """
    names = [one.name for one in plans]
    by_seed: dict[int, dict[str, float]] = {}
    for record in records:
        by_seed.setdefault(record["seed"], {})[record["name"]] = record["test_accuracy"]
    truth = {name: statistics.fmean(tests[name] for tests in by_seed.values()) for name in names}
    seconds = statistics.fmean(record["seconds"] for record in records)
    ceiling = _ceiling(list(by_seed.values()))
    values = {proxy: {name: found[name][0] for name in names} for proxy, found in estimates.items()}
    costs = {proxy: statistics.fmean(found[name][1] for name in names) for proxy, found in estimates.items()}
    passes = {proxy: _mean_passes([found[name] for name in names]) for proxy, found in estimates.items()}
    trained = statistics.fmean(record["steps"] for record in records) * batch_size * TRAINING_PASSES
    if len(values) > 1:
        values[COMBINED], costs[COMBINED] = _mean_ranks(values, names), sum(costs.values())
        known = [count for count in passes.values() if count is not None]
        passes[COMBINED] = sum(known) if len(known) == len(passes) else None
    best = max(truth.values())
    proxies = {}
    for proxy, own in values.items():
        found = fidelity(own, truth)
        proxies[proxy] = {
            "tau": found["tau"] if found else None,
            "interval": found["interval"] if found else None,
            "of_ceiling": found["tau"] / ceiling["tau"] if found and ceiling and ceiling["tau"] > 0 else None,
            "seconds": costs[proxy],
            "cost": costs[proxy] / seconds if seconds else None,
            "passes_cost": _share(passes[proxy], trained),
            "regret": best - truth[max(names, key=lambda name: own[name])],
        }
    rows = [
        {
            "name": one.name,
            "kind": one.kind,
            "test_accuracy": truth[one.name],
            "seeds": [tests[one.name] for tests in by_seed.values()],
            "estimates": {proxy: own[one.name] for proxy, own in values.items()},
        }
        for one in plans
    ]
    return {"ceiling": ceiling, "retraining_seconds": seconds, "proxies": proxies, "plans": rows}


def _mean_passes(found: Sequence[Sequence[float]]) -> float | None:
    """Return the mean passes of estimates, None where an older version did not record them."""
    return statistics.fmean(one[2] for one in found) if all(len(one) > 2 for one in found) else None


def _share(part: float | None, whole: float) -> float | None:
    return None if part is None or not whole else part / whole


def _ceiling(by_seed: list[dict[str, float]]) -> dict[str, Any] | None:
    """Return Kendall's tau between two retrainings that differ in the seed alone, the mean over pairs of seeds."""
    pairs = [fidelity(first, second) for first, second in itertools.combinations(by_seed, 2)]
    found = [pair for pair in pairs if pair]
    if not found:
        return None
    bounds = [statistics.fmean(pair["interval"][end] for pair in found) for end in (0, 1)]
    return {"tau": statistics.fmean(pair["tau"] for pair in found), "interval": bounds, "pairs": len(found)}


def _mean_ranks(values: Mapping[str, Mapping[str, float]], names: list[str]) -> dict[str, float]:
    """Return each plan's rank in [0, 1], averaged over the proxies."""
    ranks = [stats.rankdata([own[name] for name in names]) for own in values.values()]
    mean = (np.mean(ranks, axis=0) - 1) / max(1, len(names) - 1)
    return dict(zip(names, mean.tolist(), strict=True))
