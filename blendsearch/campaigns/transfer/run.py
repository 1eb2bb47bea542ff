"""A blend found here and applied there: in each space against its criteria and against a blend searched there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendsearch.blending import Blend, Scores
from blendsearch.campaigns.search.random_search import fitness_of
from blendsearch.campaigns.search.run import retrain_contenders, run_search, test_unpruned
from blendsearch.campaigns.transfer.record import JOB, TRANSFERRED, Records, Target, record_of
from blendsearch.config import Space
from blendsearch.criteria import CRITERIA, score_groups
from blendsearch.errors import RunError, unknown_name
from blendsearch.evolution.fitness import Planner
from blendsearch.experiment.contenders import Contender, contender, rival
from blendsearch.experiment.experiment import (
    calibration_statistics,
    prepare_allocation,
    score_criteria,
    train_unpruned,
)
from blendsearch.experiment.members import self_contained
from blendsearch.experiment.retraining import Candidate
from blendsearch.progress import Progress, silent
from blendsearch.reports.markdown.leaderboard import csv_text
from blendsearch.reports.markdown.transfer import flat_row, markdown_text
from blendsearch.reports.report import write_report
from blendsearch.results.records.transfer import read_found_on
from blendsearch.results.run_folder import RunFolder, check_same_job, check_same_space, choose_folder
from blendsearch.results.versions import versions
from blendsearch.validation.space import checked_from_dict, load_checked

SEARCH = "search"
"""The folder of the campaign that searches a blend in a space, below that of the space."""
RECORD = "result.json"
OWN_NAMES = frozenset(
    ("blend.json", "events.jsonl", "figures", "job.json", "transfer.csv", "transfer.html", "transfer.json",
     "transfer.md")
)  # fmt: skip
"""What a transfer writes beside the folders of its spaces."""


@dataclass(frozen=True)
class Transfer:
    """A finished transfer: its folder, the record as in transfer.json, and the page."""

    run_dir: Path
    summary: dict[str, Any]
    report: Path


def run_transfer(
    file: Path,
    spaces: Sequence[Space],
    run_dir: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
    searches: bool = True,
) -> Transfer:
    """Apply the blend of a file in spaces, or go on with a stopped transfer, or with one that got a further space.

    In each space the blend, fitted to the network, every criterion and, where `searches`, a blend searched there (a
    campaign of its own, in the folder SPACE/search) are retrained on the space's terms with its seeds. What is
    finished is read from the folder. Raises BlendsearchError before any work where something given cannot be used.
    """
    blend = _read(file)
    _check_names(spaces)
    targets = [Target.opened(space, blend, _within(space, spaces, progress)) for space in spaces]
    folder = choose_folder(run_dir, JOB, resume)
    with folder.locked():
        _open(folder, blend, searches)
        rows = [_row(target, _opened(folder, target), searches) for target in targets]
        summary = {
            "job": JOB,
            "blend": {"file": str(file), "criteria": blend.criteria, "unit": blend.unit, "found_on": blend.found_on},
            "searches": searches,
            "spaces": rows,
            "versions": versions(),
        }
        folder.write_json("transfer.json", summary)
        folder.write_text("transfer.csv", csv_text([flat_row(row) for row in rows]))
        folder.write_text("transfer.md", markdown_text(summary))
        folder.event("finished", spaces=len(rows))
        return Transfer(folder.path, summary, write_report(folder.path, progress))


def transfer(
    blend: str | Path,
    spaces: Sequence[Space | Mapping[str, Any] | str | Path],
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
    searches: bool = True,
) -> Transfer:
    """Apply the blend of a file in spaces and compare it there; the result has .summary, .run_dir and .report.

    spaces: each a Space, the same as a dict, or the path of a space file. searches: also search a blend in each.
    """
    read = [_space(space) for space in spaces]
    return run_transfer(Path(blend), read, Path(run_dir) if run_dir is not None else None, resume, progress, searches)


def _space(given: Space | Mapping[str, Any] | str | Path) -> Space:
    if isinstance(given, str | Path):
        return load_checked(given)
    return given if isinstance(given, Space) else checked_from_dict(given)


def _read(file: Path) -> Blend:
    blend = Blend.load(file)
    read_found_on(str(file), blend.found_on)
    for name in blend.criteria:
        if name not in CRITERIA:
            raise unknown_name("criterion", name, CRITERIA.names(), str(file))
    return blend


def _check_names(spaces: Sequence[Space]) -> None:
    names = [space.name for space in spaces]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not spaces:
        raise RunError("transfer: no space given, at least one expected")
    if twice:
        raise RunError(
            f"transfer: {', '.join(twice)} given twice; each space needs a name of its own, which names its folder"
        )
    _check_folders(names)


def _check_folders(names: Sequence[str]) -> None:
    """Raise RunError for a space whose folder would be in the place of a file; some systems take A and a for one."""
    taken = [name for name in names if name.lower() in OWN_NAMES]
    if taken:
        raise RunError(
            f"transfer: no space can be called '{taken[0]}': a space's name is that of its folder, and the transfer "
            f"writes {', '.join(sorted(OWN_NAMES))} beside it; give it another name"
        )


def _within(space: Space, spaces: Sequence[Space], progress: Progress) -> Progress:
    """Return the progress of one of several spaces: its tasks begin with the space's name."""
    if len(spaces) == 1:
        return progress
    return lambda task, done, total, detail="": progress(f"{space.name}: {task}", done, total, detail)


def _open(folder: RunFolder, blend: Blend, searches: bool) -> None:
    """Note the job in its folder; RunError when it holds another job's files, another blend's, or other rivals."""
    check_same_job(folder, JOB)
    if folder.has("job.json"):
        if Blend.load(folder / "blend.json") != blend:
            raise RunError(f"{folder.path}: was made with another blend; choose another --run-dir")
        if folder.read_json("job.json")["searches"] != searches:
            how = "with --no-search" if searches else "without --no-search"
            raise RunError(f"{folder.path}: was made {how}; continue so or choose another --run-dir")
    blend.save(folder / "blend.json")
    folder.write_json("job.json", {"job": JOB, "searches": searches})


def _opened(run: RunFolder, target: Target) -> RunFolder:
    """Return the folder of a space; RunError when it was made from another one."""
    space, folder = target.experiment.space, RunFolder(run / target.experiment.space.name)
    check_same_space(folder, space.to_dict())
    folder.write_json("job.json", {"job": JOB})
    folder.write_text("space.yaml", space.to_yaml())
    folder.write_json("space.json", space.to_dict())
    target.fitted.blend.save(folder / "blend.json")
    return folder


def _row(target: Target, folder: RunFolder, searches: bool) -> dict[str, Any]:
    """Return what the transfer came to in a space, worked out now or read."""
    if not folder.has(RECORD):
        folder.write_json(RECORD, _applied(target, folder, searches))
    record: dict[str, Any] = folder.read_json(RECORD)
    return record


def _applied(target: Target, folder: RunFolder, searches: bool) -> dict[str, Any]:
    """Retrain the blend beside what stands against it; a campaign's network and criteria serve for the blend too."""
    experiment, place = target.experiment, SEARCH if searches else ""
    source = RunFolder(folder / place)
    if searches:
        run_search(_search_alone(experiment.space), source.path, resume=True, progress=experiment.progress)
    baseline = train_unpruned(experiment, source)
    own, _ = score_criteria(experiment, source)
    prepare_allocation(experiment, source)
    scores = {**own, **_added_scores(target, folder, own)}
    contenders = self_contained(source, _entrants(target, scores, () if searches else list(own)))
    retrained = retrain_contenders(experiment, folder, scores, contenders)
    planned = {name: {"proxy": one.proxy, "allocation": one.allocation_name} for name, one in contenders.items()}
    records: Records = [*retrained, *(_of_campaign(source) if searches else ())]
    if searches:
        planned = {**_planned_in_campaign(source), **planned}
    folder.write_json("records/proxies.json", {name: one["proxy"] for name, one in planned.items()})
    baseline = {**baseline, "test_accuracy": test_unpruned(experiment, source)}
    return record_of(target, baseline, records, planned, list(own))


def _search_alone(space: Space) -> Space:
    """Return a space without the random search and the ablation, which a transfer does not show."""
    search = space.search.model_copy(update={"control": False, "ablation": False})
    return space.model_copy(update={"search": search})


def _added_scores(target: Target, folder: RunFolder, own: Scores) -> Scores:
    """Score by the criteria of the blend that the space does not have, or read what a stopped run scored."""
    experiment, rule = target.experiment, target.experiment.space.structure.group_rule
    missing = [name for name in target.fitted.blend.criteria if name not in own]
    if not missing:
        return {}
    if not folder.has("added_scores.safetensors"):
        gathered = calibration_statistics(experiment, missing)
        fresh = score_groups(experiment.structure, gathered, missing, group_rule=rule)
        flat = {f"{name}/{group}": tensor for name, groups in fresh.items() for group, tensor in groups.items()}
        folder.write_tensors("added_scores.safetensors", flat)
    read = folder.read_tensors("added_scores.safetensors")
    return {name: {group: read[f"{name}/{group}"] for group in experiment.structure.widths} for name in missing}


def _entrants(target: Target, scores: Scores, criteria: Sequence[str]) -> dict[str, Contender]:
    """Return the blend, and the criteria named, each with its proxy."""
    experiment, blend = target.experiment, target.fitted.blend
    allocation = experiment.space.allocation.name
    planner = Planner(experiment.structure, scores, experiment.allocation, experiment.budget)
    fitness = fitness_of(experiment)
    value = fitness.deciding([planner.plan(blend)])[0]
    found = {TRANSFERRED: contender(allocation, planner, blend, value, TRANSFERRED)}
    return found | {name: rival(planner, fitness, name, allocation, "criterion") for name in criteria}


def _planned_in_campaign(source: RunFolder) -> dict[str, dict[str, Any]]:
    """Return proxy and allocation of a finished campaign's blend and of each of its criteria."""
    summary = source.read_json("summary.json")
    blend = {"proxy": summary["blend"]["proxy"], "allocation": summary["allocation"]}
    criteria = summary["criteria"].items()
    return {"blend": blend, **{name: {key: one[key] for key in ("proxy", "allocation")} for name, one in criteria}}


def _of_campaign(source: RunFolder) -> list[dict[str, Any]]:
    """Return the records of a campaign's blend and criteria, plans included."""
    kept = [record for record in source.read_json("records/retrained.json") if record["kind"] in ("blend", "criterion")]
    candidates = [Candidate(record["name"], record["kind"], record["seed"]) for record in kept]
    return [source.read_json(candidate.record) for candidate in candidates]
