"""The audit: does a proxy order pruned networks as retraining does, how surely, and at what cost?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from blendsearch.blending import Scores
from blendsearch.campaigns.audit.summary import Drawn, judged
from blendsearch.campaigns.search.evolve import starting_genomes
from blendsearch.campaigns.search.run import cluster_criteria, stopwatch
from blendsearch.compute import child_seed
from blendsearch.config import NamedSection, Space
from blendsearch.errors import ConfigError
from blendsearch.evolution.algorithms import backend_of
from blendsearch.evolution.fitness import FitnessFunction, Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.experiment.experiment import (
    Experiment,
    check_before_work,
    data_name,
    prepare_allocation,
    score_criteria,
    train_unpruned,
)
from blendsearch.experiment.given_plans import PlanCounts, PlanScorer
from blendsearch.experiment.retraining import Candidate, Terms, retrain_all
from blendsearch.progress import Progress, silent
from blendsearch.proxies import PROXIES
from blendsearch.proxies.passes import TRAINING_PASSES
from blendsearch.reports.report import write_report
from blendsearch.results.run_folder import RunFolder, check_same_job, check_same_space, choose_folder
from blendsearch.results.versions import versions
from blendsearch.schedules import SCHEDULES
from blendsearch.structure import Plan
from blendsearch.training.loop import steps_per_epoch
from blendsearch.validation.space import make

JOB = "audit"

TRIES = 50
"""Draws in vain, one after the other, after which there are taken to be no more different plans."""


@dataclass(frozen=True)
class Audit:
    """A finished audit: its folder, the summary as in summary.json, and the report's path."""

    run_dir: Path
    summary: dict[str, Any]
    report: Path


def run_audit(space: Space, run_dir: Path | None = None, resume: bool = False, progress: Progress = silent) -> Audit:
    """Draw different plans, estimate each by every proxy, retrain each on equal terms, and compare.

    The plans are pruned at once and retrained, whatever schedule the space names: a plan fixes what any schedule
    would decide. Truth is the test accuracy after retraining, mean over seeds; nothing is chosen by it. A finished
    audit is resumed with further proxies or seeds at their cost alone: the plans and retrainings are kept.
    """
    experiment = Experiment(space, progress)
    check_before_work(experiment)
    folder = choose_folder(run_dir, f"{space.name}-{JOB}", resume)
    with folder.locked():
        check_same_job(folder, JOB)
        check_same_space(folder, space.to_dict(), free=("audit.proxies", "audit.seeds"))
        folder.write_json("job.json", {"job": JOB})
        folder.write_text("space.yaml", space.to_yaml())
        folder.write_json("space.json", space.to_dict())
        with stopwatch(folder, "total"):
            baseline = train_unpruned(experiment, folder)
            scores, _ = score_criteria(experiment, folder)
            prepare_allocation(experiment, folder)
            with stopwatch(folder, "draw"):
                plans = drawn(experiment, folder, scores)
            with stopwatch(folder, "estimate"):
                estimates = estimated(experiment, folder, plans)
            with stopwatch(folder, "retrain"):
                records = retrained(experiment, folder, plans)
        summary = {
            "job": JOB,
            "name": space.name,
            "seed": space.seed,
            "budget": {"kind": experiment.budget.kind, "ratio": experiment.budget.ratio},
            "allocation": space.allocation.name,
            "model": space.model.name,
            "data": {"name": data_name(experiment), "fingerprint": experiment.splits.fingerprint},
            "baseline": baseline,
            **judged(plans, estimates, records, passes_of_training(experiment)),
            "seconds": folder.read_json("records/seconds.json"),
            "versions": versions(),
        }
        folder.write_json("summary.json", summary)
        return Audit(folder.path, summary, write_report(folder.path, progress))


def drawn(experiment: Experiment, folder: RunFolder, scores: Scores) -> list[Drawn]:
    """Return different plans, about a third each: of base criteria, of random blends, of an evolving search."""
    if not folder.has("records/plans.json"):
        plans = _draw(experiment, folder, scores)
        folder.write_json(
            "records/plans.json", [{"name": d.name, "kind": d.kind, "plan": d.plan.to_dict()} for d in plans]
        )
    read = folder.read_json("records/plans.json")
    return [Drawn(entry["name"], entry["kind"], Plan.from_dict(entry["plan"])) for entry in read]


def _draw(experiment: Experiment, folder: RunFolder, scores: Scores) -> list[Drawn]:
    count = experiment.space.audit.plans
    clusters = cluster_criteria(experiment, folder, scores)
    planner = Planner(experiment.structure, scores, experiment.allocation, experiment.budget)
    kept = list(experiment.structure.widths) if experiment.space.allocation.name == "evolved" else ()
    genomes = GenomeSpace(clusters, kept)
    seed = child_seed(experiment.space.seed, "audit")
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
    for plan in _evolved(experiment, planner, genomes, list(starts.values())):
        if len(found) < count:
            add(f"evolved {len(found)}", "evolved", plan)
    if len(found) < 6:
        raise ConfigError(f"audit.plans: only {len(found)} different plans can be drawn, at least 6 are needed")
    return list(found.values())


def _evolved(
    experiment: Experiment, planner: Planner, genomes: GenomeSpace, starts: Sequence[np.ndarray]
) -> list[Plan]:
    """Return the plans that a search by the space's proxy came upon: the best of each generation first.

    So they range from where a search begins to where it ends; its last few alone would hardly differ.
    """
    settings = experiment.space.search.model_copy(update={"objectives": []})
    seed = child_seed(experiment.space.seed, "audit", "search")
    backend = backend_of(settings, genomes, seed=seed, initial=starts)
    fitness = _fitness(experiment, experiment.space.proxy)
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
        experiment.progress("search", generation + 1, settings.generations + 1, "")
    return [plans[digest] for digest in sorted(plans, key=places.__getitem__)]


def _fitness(experiment: Experiment, proxy: NamedSection) -> FitnessFunction:
    return FitnessFunction(
        make(PROXIES, proxy),
        experiment.proxy_context(experiment.network),
        workers=experiment.workers,
        threads=experiment.space.compute.threads,
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


def estimated(experiment: Experiment, folder: RunFolder, plans: list[Drawn]) -> dict[str, dict[str, list[float]]]:
    """Return proxy -> plan name -> [value, seconds, passes]; an older version's records have no passes."""
    result = {}
    for proxy in experiment.space.audit.proxies:
        title = label(proxy)
        name = f"records/estimates/{title.replace(' ', '_').replace('/', '_')}.json"
        if not folder.has(name):
            fitness, size = _fitness(experiment, proxy), len(plans)

            def done(count: int, value: float, title: str = title, size: int = size) -> None:
                experiment.progress(title, count, size, f"{value:.4f}")

            found = fitness([one.plan for one in plans], done)
            pairs = zip(plans, found, strict=True)
            folder.write_json(name, {one.name: [value.value, value.seconds, value.passes] for one, value in pairs})
        result[title] = folder.read_json(name)
    return result


def retrained(experiment: Experiment, folder: RunFolder, plans: list[Drawn]) -> list[dict[str, Any]]:
    """Retrain every plan with every seed on equal terms."""
    space = experiment.space
    training = space.retraining.model_copy(update={"seeds": space.audit.seeds})
    terms = Terms(
        experiment.network, experiment.structure, {one.name: PlanScorer(one.plan) for one in plans},
        {one.name: PlanCounts(one.plan) for one in plans}, replace(experiment.budget, ratio=1.0),
        SCHEDULES.get("one_shot")(), training, experiment.splits, experiment.compute, space.seed, folder / "checkpoints",
    )  # fmt: skip
    candidates = [Candidate(one.name, one.kind, seed) for seed in range(space.audit.seeds) for one in plans]
    return retrain_all(
        terms,
        candidates,
        folder,
        workers=experiment.workers,
        threads=space.compute.threads,
        progress=experiment.progress,
    )


def passes_of_training(experiment: Experiment) -> Callable[[float], float]:
    """Return a function from optimiser steps of a retraining to passes; the last batch of an epoch may be smaller."""
    images, batch_size = len(experiment.splits.train), experiment.space.retraining.batch_size
    whole = steps_per_epoch(images, batch_size)

    def passes(steps: float) -> float:
        epochs, rest = divmod(steps, whole)
        return TRAINING_PASSES * (epochs * images + rest * batch_size)

    return passes
