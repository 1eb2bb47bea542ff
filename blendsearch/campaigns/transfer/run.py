"""A blend found here and applied there: in each space against its criteria and against a blend searched there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blendsearch.blending import Blend, Scores
from blendsearch.campaigns.search.run import run_search
from blendsearch.campaigns.transfer.summary import Planned, Retrained, summarise_space
from blendsearch.campaigns.transfer.target import JOB, Target
from blendsearch.compute import threads
from blendsearch.config import Space
from blendsearch.criteria import CRITERIA
from blendsearch.errors import RunError, unknown_name
from blendsearch.experiment import Experiment
from blendsearch.experiment.contenders import Contenders, enter_criterion, make_contender, with_members
from blendsearch.experiment.members import read_members
from blendsearch.experiment.problem import make_problem
from blendsearch.experiment.retraining import Repetition, retrain_contenders
from blendsearch.experiment.scoring import read_scores, score_calibration, score_criteria, write_scores
from blendsearch.experiment.unpruned import prepare_allocation, read_test_accuracy, train_unpruned
from blendsearch.progress import Progress, Reporting, silent
from blendsearch.progress.shown import AUTO, reporting
from blendsearch.reports.markdown.tables import format_csv
from blendsearch.reports.markdown.transfer import flatten_space, format_transfer
from blendsearch.reports.report import write_report
from blendsearch.results.records.common import JobRecord, Number
from blendsearch.results.records.provenance import Provenance, read_provenance
from blendsearch.results.records.retraining import BLEND, CRITERION, TRANSFERRED, RetrainingOutcome
from blendsearch.results.records.search import RetrainedEntry, SearchSummary
from blendsearch.results.records.transfer import SUMMARY, BlendRecord, SpaceRecord, TransferSummary
from blendsearch.results.run_folder import (
    RunFolder,
    check_same_job,
    choose_folder,
    note_job,
    note_skipped,
    note_space,
    versions,
)
from blendsearch.validation.space import read_space

SEARCH = "search"
"""The folder of the campaign that searches a blend in a space, below that of the space."""
RECORD = "result.json"
ADDED_SCORES = "added_scores.safetensors"
OWN_NAMES = frozenset(
    (
        "blend.json",
        "events.jsonl",
        "figures",
        "job.json",
        "transfer.csv",
        "transfer.html",
        "transfer.json",
        "transfer.md",
    )
)
"""What a transfer writes beside the folders of its spaces."""


@dataclass(frozen=True)
class Transfer:
    """A finished transfer: its folder, the record as in transfer.json, and the page."""

    run_dir: Path
    summary: TransferSummary
    report: Path


def run_transfer(
    given: Path | Blend,
    spaces: Sequence[Space],
    run_dir: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
    searches: bool = True,
) -> Transfer:
    """Apply a blend or that of a file in spaces, or go on with a stopped transfer, or one that got a further space.

    In each space the blend, adapted to the network, every criterion and, where `searches`, a blend searched there (a
    campaign of its own, in the folder SPACE/search) are retrained on the space's terms with its seeds. What is
    finished is read from the folder. Raises BlendsearchError before any work where something given cannot be used.
    """
    blend, found_on = _read_blend(given)
    _check_names(spaces)
    targets = [Target.load(space, blend, _prefix(space, spaces, progress)) for space in spaces]
    folder = choose_folder(run_dir, JOB, resume)
    with folder.locked():
        _note_blend(folder, blend, searches)
        rows = [_apply(target, folder, searches) for target in targets]
        file = str(folder / "blend.json" if isinstance(given, Blend) else given)
        summary = TransferSummary(
            blend=BlendRecord(file=file, criteria=blend.criteria, unit=blend.unit, found_on=found_on),
            searches=searches,
            spaces=rows,
            versions=versions(),
        )
        folder.write_record(SUMMARY, summary)
        folder.write_text("transfer.csv", format_csv([flatten_space(row) for row in rows]))
        folder.write_text("transfer.md", format_transfer(summary))
        folder.event("finished", spaces=len(rows))
        return Transfer(folder.path, summary, write_report(folder.path, progress))


def transfer(
    blend: str | Path | Blend,
    spaces: Sequence[Space | Mapping[str, object] | str | Path],
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    progress: Reporting = AUTO,
    searches: bool = True,
) -> Transfer:
    """Apply a blend in spaces and compare it there; the result has .summary, .run_dir and .report.

    blend: a Blend or the path of its file. spaces: each a Space, the same as a dict, or the path of a space file.
    searches: also search a blend in each. progress: as in `blendsearch.score`.
    """
    if not isinstance(blend, str | Path | Blend):
        raise RunError(f"blend: {type(blend).__name__} given, allowed: a Blend or the path of its file")
    with reporting(progress) as report:
        return run_transfer(
            Path(blend) if isinstance(blend, str) else blend,
            [read_space(space) for space in spaces],
            run_dir=Path(run_dir) if run_dir is not None else None,
            resume=resume,
            progress=report,
            searches=searches,
        )


def _read_blend(given: Path | Blend) -> tuple[Blend, Provenance]:
    blend, source = (given, "blend") if isinstance(given, Blend) else (Blend.load(given), str(given))
    found_on = read_provenance(source, blend.found_on)
    for name in blend.criteria:
        if name not in CRITERIA:
            raise unknown_name("criterion", name, CRITERIA.names(), source)
    return blend, found_on


def _check_names(spaces: Sequence[Space]) -> None:
    names = [space.name for space in spaces]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not spaces:
        raise RunError("transfer: no space given, at least one expected")
    if twice:
        raise RunError(
            f"transfer: {', '.join(twice)} given twice; each space needs a name of its own, which names its folder"
        )
    # A space's folder would be in the place of a file; some systems take A and a for one.
    taken = [name for name in names if name.lower() in OWN_NAMES]
    if taken:
        raise RunError(
            f"transfer: no space can be called '{taken[0]}': a space's name is that of its folder, and the transfer "
            f"writes {', '.join(sorted(OWN_NAMES))} beside it; give it another name"
        )


def _prefix(space: Space, spaces: Sequence[Space], progress: Progress) -> Progress:
    """Return the progress of one of several spaces: its tasks begin with the space's name."""
    if len(spaces) == 1:
        return progress
    return lambda task, done, total, detail="": progress(f"{space.name}: {task}", done, total, detail)


def _note_blend(folder: RunFolder, blend: Blend, searches: bool) -> None:
    """Note the job in its folder; RunError when it is another job's, another blend's, or with other contenders."""
    check_same_job(folder, JOB)
    if folder.has("job.json"):
        if Blend.load(folder / "blend.json") != blend:
            raise RunError(f"{folder.path}: was made with another blend; choose another --run-dir")
        if folder.read_record("job.json", JobRecord).searches != searches:
            how = "with --no-search" if searches else "without --no-search"
            raise RunError(f"{folder.path}: was made {how}; continue so or choose another --run-dir")
    blend.save(folder / "blend.json")
    note_job(folder, JOB, {"searches": searches})


def _apply(target: Target, transfer_folder: RunFolder, searches: bool) -> SpaceRecord:
    """Return what the transfer came to in a space, worked out now or read; RunError for a folder of another space."""
    experiment = target.experiment.at(RunFolder(transfer_folder / target.experiment.space.name))
    with threads(experiment.space.compute.threads):
        space = experiment.check_same(experiment.folder).space
        note_space(experiment.folder, JOB, space)
        note_skipped(experiment.folder, experiment.splits.skipped)
        target.adapted.blend.save(experiment.folder / "blend.json")
        return experiment.folder.cached(RECORD, SpaceRecord, lambda: _retrain(target, experiment, searches))


def _retrain(target: Target, experiment: Experiment, searches: bool) -> SpaceRecord:
    """Retrain the blend beside what stands against it; a campaign's network and criteria serve for the blend too."""
    folder = RunFolder(experiment.folder / SEARCH) if searches else experiment.folder
    campaign = _search_alone(experiment, folder) if searches else None
    source = experiment.at(folder)
    train_unpruned(source)
    own, _ = score_criteria(source)
    prepare_allocation(source)
    experiment = source.at(experiment.folder)
    scores = {**own, **_score_added(target, experiment, own)}
    contenders = _enter(target, experiment, scores, criteria=() if campaign else list(own))
    contenders = with_members(contenders, read_members(folder))
    outcomes = retrain_contenders(experiment, scores, contenders, target.schedule)
    planned = {name: Planned(one.proxy, one.allocation.name) for name, one in contenders.items()}
    if campaign:
        outcomes += _read_outcomes(folder)
        planned = {**_read_planned(campaign), **planned}
    proxies = {name: one.proxy for name, one in planned.items()}
    experiment.folder.write_record("records/proxies.json", proxies, dict[str, Number])
    return summarise_space(target, read_test_accuracy(source), Retrained(outcomes, planned), list(own))


def _search_alone(experiment: Experiment, folder: RunFolder) -> SearchSummary:
    """Search a blend beside all criteria, without what a transfer does not show: random search, ablation, rivals."""
    space = experiment.space
    changes = {"random_search": False, "ablation": False, "rivals": False, "retrained_criteria": "all"}
    search = space.search.model_copy(update=changes)
    alone = space.model_copy(update={"search": search})
    return run_search(alone, folder.path, resume=folder.begun, progress=experiment.progress).summary


def _score_added(target: Target, experiment: Experiment, own: Scores) -> Scores:
    """Score by the criteria of the blend that the space does not have, or read what a stopped run scored."""
    missing = [name for name in target.adapted.blend.criteria if name not in own]
    if not missing:
        return {}
    if not experiment.folder.has(ADDED_SCORES):
        write_scores(experiment.folder, ADDED_SCORES, score_calibration(experiment, missing).complete())
    return read_scores(experiment.folder, ADDED_SCORES, missing)


def _enter(target: Target, experiment: Experiment, scores: Scores, criteria: Sequence[str]) -> Contenders:
    """Return the blend, and the criteria named, each with its proxy."""
    blend = target.adapted.blend
    problem = make_problem(experiment, scores, [blend])
    proxy = problem.value(problem.planner.plan(blend), "the blend")
    transferred = make_contender(problem.planner, blend, proxy=proxy, kind=TRANSFERRED)
    return {TRANSFERRED: transferred, **{name: enter_criterion(problem, name, CRITERION) for name in criteria}}


def _read_planned(campaign: SearchSummary) -> dict[str, Planned]:
    """Return how a finished campaign's blend was to be pruned, and each of its criteria."""
    blend = Planned(campaign.blend.proxy, campaign.allocation)
    return {BLEND: blend, **{name: Planned(one.proxy, one.allocation) for name, one in campaign.criteria.items()}}


def _read_outcomes(folder: RunFolder) -> list[RetrainingOutcome]:
    """Return the records of a campaign's blend and criteria, plans included."""
    entries = folder.read_record("records/retrained.json", list[RetrainedEntry])
    wanted = [Repetition(one.name, one.kind, one.seed) for one in entries if one.kind in (BLEND, CRITERION)]
    return [folder.read_record(repetition.record, RetrainingOutcome) for repetition in wanted]
