"""The search campaign, end to end: train, score, cluster, evolve, retrain, report; stopped and resumed anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blendsearch.blending import Blend
from blendsearch.campaigns.search.evolve import BLEND_FILE, PLAN_FILE, evolve_contenders
from blendsearch.campaigns.search.summary import summarise
from blendsearch.config import Space
from blendsearch.experiment import Experiment, open_run
from blendsearch.experiment.provenance import add_results
from blendsearch.experiment.retraining import Repetition, retrain_contenders
from blendsearch.experiment.scoring import cluster_criteria, score_criteria
from blendsearch.experiment.unpruned import prepare_allocation, read_test_accuracy, train_unpruned
from blendsearch.progress import Progress, silent
from blendsearch.reports.report import write_report
from blendsearch.results.records.retraining import BLEND, RetrainingOutcome
from blendsearch.results.records.search import SearchSummary
from blendsearch.results.run_folder import RunFolder
from blendsearch.schedules import Schedule
from blendsearch.structure import Plan
from blendsearch.validation.space import check_files, pruning_schedule

JOB = "search"
SUMMARY = "summary.json"
ADDED_LATER = ("search.random_search", "search.ablation", "search.rivals", "retraining.seeds")
"""What a finished campaign may get more of, or less: none of them touches the search or a retraining that is there."""


@dataclass(frozen=True)
class Campaign:
    """A finished campaign: its folder, the summary as in summary.json, the best blend, and the report's path."""

    run_dir: Path
    summary: SearchSummary
    blend: Blend
    report: Path


def run_search(
    space: Space, run_dir: Path | None = None, resume: bool = False, progress: Progress = silent
) -> Campaign:
    """Run a search campaign, or go on with a stopped one; same space, same result, however often it was stopped.

    On resuming, what ADDED_LATER names may differ: what is missing is added.
    """
    schedule = pruning_schedule(space, JOB)  # one that does not prune is refused before any work
    experiment = Experiment(space, progress)
    if not resume:
        check_files(space)
    with open_run(
        experiment, JOB, name=space.name, run_dir=run_dir, resume=resume, may_differ=ADDED_LATER
    ) as experiment:
        return _run(experiment, schedule)


def _run(experiment: Experiment, schedule: Schedule) -> Campaign:
    folder = experiment.folder
    with folder.stopwatch("total"):
        unpruned = train_unpruned(experiment)
        scores, scored = score_criteria(experiment)
        prepare_allocation(experiment)
        clusters = cluster_criteria(experiment, scores)
        with folder.stopwatch("search"):
            contenders = evolve_contenders(experiment, scores, clusters)
        with folder.stopwatch("retrain"):
            outcomes = retrain_contenders(experiment, scores, contenders, schedule)
            _keep_first_network(folder, outcomes)
        unpruned = unpruned.model_copy(update={"test_accuracy": read_test_accuracy(experiment)})
    summary = summarise(experiment, unpruned, scored, contenders, outcomes)
    folder.write_record(SUMMARY, summary)
    add_results(folder / BLEND_FILE, summary)
    report = write_report(folder.path, experiment.progress)
    folder.event("finished", verdict=summary.comparison.verdict)
    return Campaign(folder.path, summary, Blend.load(folder / BLEND_FILE), report)


def _keep_first_network(folder: RunFolder, outcomes: Sequence[RetrainingOutcome]) -> None:
    """Put network and plan of the blend's first retraining where users look for them."""
    first = next(one for one in outcomes if (one.kind, one.seed) == (BLEND, 0))
    weights = folder.read_tensors(Repetition(first.name, first.kind, first.seed).network)
    folder.write_tensors("network.safetensors", weights)
    # An iterative schedule decides anew at every step, so the network's plan is the one it ended with.
    assert first.plan is not None
    folder.write_json(PLAN_FILE, Plan.from_dict(first.plan).to_dict())
