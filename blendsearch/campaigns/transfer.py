"""A blend found here and applied there: in each space against its criteria and against a blend searched there."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendsearch.allocation import Evolved
from blendsearch.blending import Blend, Fitted, Scores
from blendsearch.campaigns.board_tables import csv_text
from blendsearch.campaigns.checking import checked_from_dict, load_checked, pruning_schedule
from blendsearch.campaigns.comparison import averages, interval, paired, same_filters, verdict_of
from blendsearch.campaigns.control import fitness_of
from blendsearch.campaigns.entrants import Entrant, entrant, rival
from blendsearch.campaigns.folder import RunFolder, check_same_job, check_same_space, choose_folder
from blendsearch.campaigns.members import self_contained
from blendsearch.campaigns.retraining import Candidate
from blendsearch.campaigns.search import retrained_entrants, run_search, tested_baseline
from blendsearch.campaigns.single import SHARES_UNUSED, fitted_to
from blendsearch.campaigns.transfer_tables import flat_row, markdown_text
from blendsearch.campaigns.versions import versions
from blendsearch.campaigns.workbench import (
    Workbench,
    before_training,
    calibration_statistics,
    criteria_scores,
    data_name,
    prepared_allocation,
    trained_baseline,
)
from blendsearch.config import Space
from blendsearch.criteria import CRITERIA, applicable, score_groups
from blendsearch.errors import BlendsearchError, RunError, unknown_name
from blendsearch.progress import Progress, silent
from blendsearch.search.fitness import Planner

JOB = "transfer"
TRANSFERRED = "transferred"
"""Name and kind of the blend from the file, beside the kinds of a campaign."""
SEARCH = "search"
"""The folder of the campaign that searches a blend in a space, below that of the space."""
RECORD = "result.json"

Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Transfer:
    """A finished transfer: its folder, and the record as in transfer.json."""

    run_dir: Path
    summary: dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A space that the blend is applied to; added: the blend's criteria that the space does not have itself."""

    bench: Workbench
    fitted: Fitted
    added: tuple[str, ...]

    @classmethod
    def opened(cls, space: Space, blend: Blend, progress: Progress) -> Target:
        """Fit the blend to the space's network; BlendsearchError, naming the space, before any work is done."""
        try:
            pruning_schedule(space, JOB)
            bench = Workbench(space, progress)
            fitted = fitted_to(bench, blend)
            for name, reason in applicable(blend.criteria, bench.structure, before_training(bench)).items():
                raise BlendsearchError(f"the blend's criterion '{name}': {reason}")
        except BlendsearchError as error:
            raise type(error)(f"{space.name}: {error}") from None
        own = CRITERIA.names() if space.criteria == "all" else space.criteria
        return cls(bench, fitted, tuple(name for name in blend.criteria if name not in own))


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
    return Transfer(folder.path, summary)


def transfer(
    blend: str | Path,
    spaces: Sequence[Space | Mapping[str, Any] | str | Path],
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
    searches: bool = True,
) -> Transfer:
    """Apply the blend of a file in spaces and compare it there; the result has .summary and .run_dir.

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
    space, folder = target.bench.space, RunFolder(run / target.bench.space.name)
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
    bench, place = target.bench, SEARCH if searches else ""
    source = RunFolder(folder / place)
    if searches:
        run_search(bench.space, source.path, resume=True, progress=bench.progress)
    baseline = trained_baseline(bench, source)
    own, _ = criteria_scores(bench, source)
    prepared_allocation(bench, source)
    scores = {**own, **_added_scores(target, folder, own)}
    entrants = self_contained(source, _entrants(target, scores, () if searches else list(own)))
    retrained = retrained_entrants(bench, folder, scores, entrants)
    proxies = {name: one.proxy for name, one in entrants.items()}
    records: Records = [*retrained, *(_of_campaign(source) if searches else ())]
    if searches:
        proxies = {**source.read_json("records/proxies.json"), **proxies}
    folder.write_json("records/proxies.json", proxies)
    baseline = {**baseline, "test_accuracy": tested_baseline(bench, source)}
    return _record(target, baseline, records, proxies, list(own))


def _added_scores(target: Target, folder: RunFolder, own: Scores) -> Scores:
    """Score by the criteria of the blend that the space does not have, or read what a stopped run scored."""
    bench, rule = target.bench, target.bench.space.structure.group_rule
    missing = [name for name in target.fitted.blend.criteria if name not in own]
    if not missing:
        return {}
    if not folder.has("added_scores.safetensors"):
        gathered = calibration_statistics(bench, missing)
        fresh = score_groups(bench.structure, gathered, missing, group_rule=rule)
        flat = {f"{name}/{group}": tensor for name, groups in fresh.items() for group, tensor in groups.items()}
        folder.write_tensors("added_scores.safetensors", flat)
    read = folder.read_tensors("added_scores.safetensors")
    return {name: {group: read[f"{name}/{group}"] for group in bench.structure.widths} for name in missing}


def _entrants(target: Target, scores: Scores, criteria: Sequence[str]) -> dict[str, Entrant]:
    """Return the blend, and the criteria named, each with its proxy."""
    bench, blend = target.bench, target.fitted.blend
    allocation = bench.space.allocation.name
    planner = Planner(bench.structure, scores, bench.allocation, bench.budget)
    fitness = fitness_of(bench)
    value = fitness.deciding([planner.plan(blend)])[0]
    found = {TRANSFERRED: entrant(allocation, planner, blend, value, TRANSFERRED)}
    return found | {name: rival(planner, fitness, name, allocation, "criterion") for name in criteria}


def _of_campaign(source: RunFolder) -> list[dict[str, Any]]:
    """Return the records of a campaign's blend and criteria, plans included."""
    kept = [record for record in source.read_json("records/retrained.json") if record["kind"] in ("blend", "criterion")]
    candidates = [Candidate(record["name"], record["kind"], record["seed"]) for record in kept]
    return [source.read_json(candidate.record) for candidate in candidates]


def _record(
    target: Target,
    baseline: Mapping[str, Any],
    records: Records,
    proxies: Mapping[str, float],
    names: Sequence[str],
) -> dict[str, Any]:
    """Return the row of a space; accuracies in [0, 1].

    Keys: space, network, network_arguments, data, budget, allocation, schedule, seeds, rule, matched (layer here ->
    layer there, where these differ), notes, baseline (test accuracy), transferred, searched (None without a search),
    criteria (each with proxy and averages over the seeds), best_criterion, against_criterion, against_searched
    (difference, interval, verdict), differences (against every criterion), same_filters.
    """
    bench, space = target.bench, target.bench.space
    searched = any(record["kind"] == "blend" for record in records)
    criteria = {name: {"proxy": proxies[name], **averages(records, name, "criterion")} for name in names}
    best = max(sorted(criteria), key=lambda name: criteria[name]["test_accuracy"])
    return {
        "space": space.name,
        "network": space.model.name,
        "network_arguments": dict(space.model.arguments),
        "data": data_name(bench),
        "budget": {"kind": bench.budget.kind, "ratio": bench.budget.ratio},
        "allocation": space.allocation.name,
        "schedule": space.schedule.name,
        "seeds": space.retraining.seeds,
        "rule": target.fitted.rule,
        "matched": target.fitted.matched,
        "notes": _notes(target),
        "baseline": baseline["test_accuracy"],
        TRANSFERRED: {"proxy": proxies[TRANSFERRED], **averages(records, TRANSFERRED, TRANSFERRED)},
        "searched": {"proxy": proxies["blend"], **averages(records, "blend", "blend")} if searched else None,
        "criteria": criteria,
        "best_criterion": best,
        "against_criterion": _against(records, best, "criterion"),
        "against_searched": _against(records, "blend", "blend") if searched else None,
        "differences": {name: _against(records, name, "criterion") for name in names},
        "same_filters": [
            *same_filters(records, "criterion", TRANSFERRED),
            *(["the blend searched there"] if same_filters(records, "blend", TRANSFERRED) else []),
        ],
    }


def _against(records: Records, name: str, kind: str) -> dict[str, Any]:
    """Return the transferred blend's test accuracy minus another's, paired over the seeds."""
    values = paired(records, name, kind, TRANSFERRED)
    bounds = interval(values)
    return {"difference": statistics.fmean(values), "interval": bounds, "verdict": verdict_of(bounds)}


def _notes(target: Target) -> list[str]:
    notes = []
    if target.added:
        names, are = ", ".join(target.added), "is" if len(target.added) == 1 else "are"
        notes.append(f"{names} of the blend {are} not among the space's criteria and scored for the blend alone.")
    if target.fitted.blend.keep and not isinstance(target.bench.allocation, Evolved):
        notes.append(SHARES_UNUSED)
    return notes
