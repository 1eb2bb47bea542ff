"""Which networks a run folder keeps: the one to ship, contenders' ones, the unpruned one; where their plans are."""

from __future__ import annotations

from dataclasses import dataclass

from blendsearch.errors import RunError, nearest
from blendsearch.results.reading import taken_from
from blendsearch.results.records.common import Averages, Record
from blendsearch.results.records.retraining import RetrainingOutcome, TestRecord
from blendsearch.results.records.review import LoopRecord
from blendsearch.results.records.search import Shipped
from blendsearch.results.records.shipping import Figures
from blendsearch.results.records.single import PruneSummary
from blendsearch.results.run_folder import RunFolder
from blendsearch.structure import Plan

NETWORK, PLAN = "network.safetensors", "plan.json"
UNPRUNED, UNPRUNED_FILE = "unpruned", "baseline.safetensors"
JOBS = ("search", "prune", "train", "review --progressive")
"""Those that leave a network to ship."""


class _Summary(Record):
    """Of any job's summary.json: whose network it ships, where it chose one."""

    name: str
    shipped: Shipped | None = None


@dataclass(frozen=True)
class Kept:
    """A network that a run folder keeps: its file below the folder, and its plan; None for the unpruned one."""

    name: str
    file: str
    plan: Plan | None
    figures: Figures


def find_kept(folder: RunFolder, contender: str | None = None) -> Kept:
    """Return where a network of a run is: of a contender, or the one to ship.

    Raises RunError for a folder of another job, a run that has not got there, and a contender whose network is not
    there, with those that are.
    """
    if not (folder.has("space.json") or folder.has("job.json")):
        raise RunError(f"{folder.path}: no run folder of blendsearch (no space.json), nor one that `export` made")
    job = folder.job
    if job not in JOBS and not (contender == UNPRUNED and folder.has(UNPRUNED_FILE)):
        here = f", or contender '{UNPRUNED}' of this one" if folder.has(UNPRUNED_FILE) else ""
        jobs = ", ".join(f"the folder of a '{name}'" for name in JOBS)
        raise RunError(
            f"{folder.path}: was made by 'blendsearch {job}', which keeps no network to ship; allowed: {jobs}{here}"
        )
    if contender == UNPRUNED or (contender is None and job == "train"):
        return _unpruned(folder)
    if contender is not None:
        return _contender(folder, contender)
    if not (folder.has(NETWORK) and folder.has(PLAN)):
        raise RunError(f"{folder.path}: has no {NETWORK} with {PLAN} yet; continue the run with --resume")
    with taken_from(folder / PLAN):
        plan = Plan.from_dict(folder.read_json(PLAN))
    own = [record for record in _retrained(folder).values() if record.plan == plan.to_dict()]
    shipped = folder.read_record("summary.json", _Summary).shipped if folder.has("summary.json") else None
    if shipped is not None:
        wanted = (shipped.kind, shipped.name, shipped.seed)
        own = [record for record in own if (record.kind, record.name, record.seed) == wanted]
    # The same plan may be that of several: of these the first is as good as any for what is told of it.
    return Kept(own[0].name if own else "network", NETWORK, plan, _figures(folder, own[0] if own else None))


def _unpruned(folder: RunFolder) -> Kept:
    if not folder.has(UNPRUNED_FILE):
        raise RunError(f"{folder.path}: has no {UNPRUNED_FILE} yet; continue the run with --resume")
    accuracy = _unpruned_accuracy(folder)
    return Kept(UNPRUNED, UNPRUNED_FILE, None, Figures(test_accuracy=accuracy, unpruned_test_accuracy=accuracy))


def _contender(folder: RunFolder, name: str) -> Kept:
    """Return the network of a contender, named alone or with its kind as in its file's name."""
    there = {key: one for key, one in _retrained(folder).items() if folder.has(f"networks/{key}.safetensors")}
    for key, record in there.items():
        if name in (record.name, key, key.removesuffix(f"-seed{record.seed}")) and record.plan is not None:
            plan = Plan.from_dict(record.plan)
            return Kept(record.name, f"networks/{key}.safetensors", plan, _figures(folder, record))
    names = [*dict.fromkeys(one.name for one in there.values())] + ([UNPRUNED] if folder.has(UNPRUNED_FILE) else [])
    close = nearest(name, names)
    hint = f"; did you mean '{close}'?" if close else ""
    raise RunError(f"{folder.path}: keeps no network of contender '{name}'{hint} (there: {', '.join(names) or 'none'})")


def _retrained(folder: RunFolder) -> dict[str, RetrainingOutcome]:
    """Return the records of all retrainings, by the names of their files; the first seeds before the others."""
    files = sorted((folder / "records/retrained").glob("*-seed*.json"), key=lambda file: _place(file.stem))
    return {file.stem: folder.read_record(f"records/retrained/{file.name}", RetrainingOutcome) for file in files}


def _place(key: str) -> tuple[int, str]:
    seed = key.rpartition("-seed")[2]
    return (int(seed) if seed.isdecimal() else 0, key)


def _figures(folder: RunFolder, record: RetrainingOutcome | None) -> Figures:
    unpruned = _unpruned_accuracy(folder)
    found: Averages | RetrainingOutcome | LoopRecord | None = record
    if record is None and folder.has("summary.json"):
        if folder.job == "prune":
            found = folder.read_record("summary.json", PruneSummary).pruned
        elif folder.job == "review --progressive":
            found = folder.read_record("summary.json", LoopRecord)
    known = {name: getattr(found, name, None) for name in ("test_accuracy", "flops_ratio", "params_ratio")}
    return Figures(**known, unpruned_test_accuracy=unpruned)


def _unpruned_accuracy(folder: RunFolder) -> float | None:
    file = "records/test.json"
    return folder.read_record(file, TestRecord).accuracy if folder.has(file) else None
