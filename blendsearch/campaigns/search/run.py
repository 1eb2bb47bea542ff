"""The search campaign, end to end: train, score, cluster, evolve, retrain, report; stopped and resumed anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from blendsearch.blending import Blend
from blendsearch.campaigns.export.run import export
from blendsearch.campaigns.foresight.notes import tell_before_search
from blendsearch.campaigns.search.evolve import BLEND_FILE, evolve_contenders
from blendsearch.campaigns.search.shipping import ship_winner
from blendsearch.campaigns.search.summary import summarise
from blendsearch.campaigns.search.trials import check_ledger, held_study
from blendsearch.config import Space
from blendsearch.experiment import Experiment, open_run
from blendsearch.experiment.description import MODEL
from blendsearch.experiment.given import Given
from blendsearch.experiment.provenance import add_results
from blendsearch.experiment.retraining import retrain_contenders
from blendsearch.experiment.saved import save_pruned
from blendsearch.experiment.scoring import cluster_criteria, score_criteria
from blendsearch.experiment.source import code_digest
from blendsearch.experiment.unpruned import prepare_allocation, read_test_accuracy, train_unpruned
from blendsearch.progress import Progress, silent
from blendsearch.reports.report import write_report
from blendsearch.results.records.search import SearchSummary
from blendsearch.results.records.shipping import ExportRecord, Figures, NetworkRecord
from blendsearch.results.run_folder import RunFolder
from blendsearch.schedules import Schedule
from blendsearch.structure import Plan
from blendsearch.validation.space import check_files, pruning_schedule

JOB = "search"
SUMMARY = "summary.json"
ADDED_LATER = (
    "search.random_search",
    "search.ablation",
    "search.rivals",
    "search.retrained_criteria",
    "retraining.seeds",
)
"""What a finished campaign may get more of, or less: none of them touches the search or a retraining that is there."""


@dataclass(frozen=True)
class Campaign:
    """A finished campaign: its folder, the summary as in summary.json, the best blend, and the report's path.

    network: the one to ship, see `summary.shipped`, on the CPU in evaluation mode. plan: which filters it kept.
    unpruned: the network before pruning, trained.
    """

    run_dir: Path
    summary: SearchSummary
    blend: Blend
    report: Path
    network: nn.Module
    plan: Plan
    unpruned: nn.Module

    def save(self, path: str | Path) -> Path:
        """Write the network to ship into one .safetensors file, which `blendsearch.load` reads; return its path."""
        folder = RunFolder(self.run_dir)
        shipped = self.summary.shipped
        assert shipped is not None  # of older versions alone
        return save_pruned(
            self.network,
            self.plan,
            path,
            original=self.unpruned,
            about=folder.read_record(MODEL, NetworkRecord),
            figures=Figures(
                test_accuracy=shipped.test_accuracy,
                unpruned_test_accuracy=self.summary.unpruned.test_accuracy,
                flops_ratio=shipped.flops_ratio,
                params_ratio=shipped.params_ratio,
            ),
        )

    def export(self, path: str | Path | None = None, to: str = "onnx", **options: Any) -> ExportRecord:
        """Write the network to ship as `blendsearch.export` does, into the run folder where no path is given."""
        return export(self, path, to=to, **options)


def run_search(
    space: Space,
    run_dir: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
    given: Given | None = None,
) -> Campaign:
    """Run a search campaign, or go on with a stopped one; same space, same result, however often it was stopped.

    On resuming, what ADDED_LATER names may differ: what is missing is added. given: network, loaders and retraining
    in place of those that the space names; a folder that was begun with others is refused.
    """
    schedule = pruning_schedule(space, JOB)  # one that does not prune is refused before any work
    experiment = Experiment(space, progress, given=given).connect()
    if not resume:
        check_files(space)
    check_ledger(space)
    facts = None if given is None else _facts(given, experiment)

    def check(folder: RunFolder) -> None:
        if given is not None:
            given.check_same(folder, experiment.splits)

    with (
        open_run(
            experiment,
            JOB,
            name=space.name,
            run_dir=run_dir,
            resume=resume,
            may_differ=ADDED_LATER,
            facts=facts,
            check=check,
        ) as experiment,
        held_study(experiment) as experiment,
    ):
        return _run(experiment, schedule)


def _facts(given: Given, experiment: Experiment) -> dict[str, Any]:
    """Return what job.json says of a search in Python; of its functions their code, which may change in between."""
    functions = {name: code_digest(function) for name, function in given.functions.items()}
    return {**given.facts(experiment.splits), **({"functions": functions} if functions else {})}


def _run(experiment: Experiment, schedule: Schedule) -> Campaign:
    folder = experiment.folder
    with folder.stopwatch("total"):
        unpruned = train_unpruned(experiment)
        if experiment.given is None or experiment.given.metric_name is None:
            tell_before_search(experiment)
        scores, scored = score_criteria(experiment)
        prepare_allocation(experiment)
        clusters = cluster_criteria(experiment, scores)
        with folder.stopwatch("search"):
            contenders = evolve_contenders(experiment, scores, clusters)
        with folder.stopwatch("retrain"):
            outcomes = retrain_contenders(experiment, scores, contenders, schedule)
            winner = ship_winner(experiment, scores, contenders, outcomes, schedule)
        unpruned = unpruned.model_copy(update={"test_accuracy": read_test_accuracy(experiment)})
    summary = summarise(experiment, unpruned, scored, contenders, outcomes, winner)
    folder.write_record(SUMMARY, summary)
    add_results(folder / BLEND_FILE, summary)
    report = write_report(folder.path, experiment.progress)
    folder.event("finished", verdict=summary.comparison.verdict)
    blend = Blend.load(folder / BLEND_FILE)
    return Campaign(
        run_dir=folder.path,
        summary=summary,
        blend=blend,
        report=report,
        network=winner.network,
        plan=winner.plan,
        unpruned=experiment.network.cpu().eval(),
    )
