"""The audit: does a proxy order pruned networks as retraining does, how surely, and at what cost?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from blendsearch.campaigns.audit.plans import draw_plans
from blendsearch.campaigns.audit.summary import count_passes, judge_proxies
from blendsearch.config import NamedSection, Space
from blendsearch.errors import RunError
from blendsearch.evolution.failure import value_words
from blendsearch.experiment import Experiment, open_run
from blendsearch.experiment.problem import make_fitness
from blendsearch.experiment.retraining import Pruning, Repetition, RetrainingSetup, retrain_all
from blendsearch.experiment.scoring import score_criteria
from blendsearch.experiment.unpruned import prepare_allocation, train_unpruned
from blendsearch.progress import Progress, silent
from blendsearch.reports.report import write_report
from blendsearch.results.records.audit import AuditSummary, DrawnPlan, Estimates, PlanEstimate
from blendsearch.results.records.retraining import RetrainingOutcome
from blendsearch.results.run_folder import versions
from blendsearch.schedules import SCHEDULES
from blendsearch.structure import Plan

JOB, PLANS = "audit", "records/plans.json"
ADDED_LATER = ("audit.proxies", "audit.seeds")
"""What a finished audit may get more of: the plans and retrainings that are there are kept."""


@dataclass(frozen=True)
class Audit:
    """A finished audit: its folder, the summary as in summary.json, and the report's path."""

    run_dir: Path
    summary: AuditSummary
    report: Path


def run_audit(space: Space, run_dir: Path | None = None, resume: bool = False, progress: Progress = silent) -> Audit:
    """Draw different plans, estimate each by every proxy, retrain each on equal terms, and compare.

    The plans are pruned at once and retrained, whatever schedule the space names: a plan fixes what any schedule
    would decide. Truth is the test accuracy after retraining (and compensation, where the space has it), mean over
    seeds; nothing is chosen by it. On resuming, what ADDED_LATER names may differ: what is missing is added.
    """
    experiment = Experiment(space, progress).connect()
    name = f"{space.name}-{JOB}"
    with open_run(experiment, JOB, name=name, run_dir=run_dir, resume=resume, may_differ=ADDED_LATER) as opened:
        summary = _run(opened)
        opened.folder.write_record("summary.json", summary)
        return Audit(opened.folder.path, summary, write_report(opened.folder.path, progress))


def _run(experiment: Experiment) -> AuditSummary:
    space, folder = experiment.space, experiment.folder
    with folder.stopwatch("total"):
        unpruned = train_unpruned(experiment)
        scores, _ = score_criteria(experiment)
        prepare_allocation(experiment)
        with folder.stopwatch("draw"):
            plans = folder.cached(PLANS, list[DrawnPlan], lambda: draw_plans(experiment, scores))
            if not plans:
                raise RunError(f"{folder / PLANS}: holds no plan")
        with folder.stopwatch("estimate"):
            estimates = {name_proxy(one): estimate_plans(experiment, one, plans) for one in space.audit.proxies}
        with folder.stopwatch("retrain"):
            outcomes = retrain_plans(experiment, plans)
    images, batch_size = len(experiment.splits.train), space.retraining.batch_size
    passes = partial(count_passes, images=images, batch_size=batch_size)
    return AuditSummary(
        **dict(judge_proxies(plans, estimates, outcomes, passes)),
        name=space.name,
        seed=space.seed,
        budget=experiment.budget_record,
        allocation=space.allocation.name,
        model=space.model.name,
        data=experiment.data_record,
        unpruned=unpruned,
        seconds=dict(folder.seconds),
        versions=versions(),
    )


def name_proxy(proxy: NamedSection) -> str:
    """Return a proxy's name with its options, such as "compensated images=128"; lists are joined by "+"."""
    return _in_words({"name": proxy.name, **proxy.options})


def _in_words(value: Any) -> str:
    """Return an option's value, or a name with its options, as one short text."""
    if isinstance(value, Mapping):
        rest = {key: one for key, one in value.items() if key != "name"}
        return " ".join([str(value.get("name", "")), *(f"{key}={_in_words(one)}" for key, one in sorted(rest.items()))])
    if isinstance(value, list):
        return "+".join(map(_in_words, value))
    return str(value)


def estimate_plans(experiment: Experiment, proxy: NamedSection, plans: Sequence[DrawnPlan]) -> Estimates:
    """Return what a proxy says of every plan; done once, kept in a file of its own."""
    name = name_proxy(proxy)

    def done(count: int, value: float) -> None:
        experiment.progress(name, count, len(plans), value_words(value))

    def estimate() -> Estimates:
        fitness = make_fitness(experiment, proxy)
        found = fitness([Plan.from_dict(one.plan) for one in plans], done, most_failed=0)
        pairs = zip(plans, found, strict=True)
        return {one.name: PlanEstimate(said.value, said.seconds, said.passes) for one, said in pairs}

    file = f"records/estimates/{name.replace(' ', '_').replace('/', '_')}.json"
    found = experiment.folder.cached(file, Estimates, estimate)
    missing = [one.name for one in plans if one.name not in found]
    if missing:
        raise RunError(f"{experiment.folder / file}: key '{missing[0]}' is missing, a plan of {PLANS}")
    return found


def retrain_plans(experiment: Experiment, plans: Sequence[DrawnPlan]) -> list[RetrainingOutcome]:
    """Retrain every plan with every seed on equal terms."""
    given = {one.name: Plan.from_dict(one.plan) for one in plans}
    prunings = {name: Pruning.by_plan(plan, experiment.budget) for name, plan in given.items()}
    setup = RetrainingSetup.of(experiment, prunings, SCHEDULES.get("one_shot")())
    repetitions = [
        Repetition(one.name, one.kind, seed) for seed in range(experiment.space.audit.seeds) for one in plans
    ]
    return retrain_all(experiment, setup, repetitions)
