"""Campaigns side by side: what each found, on which terms, and where the terms differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendsearch.config import space_from_dict
from blendsearch.errors import RunError
from blendsearch.reports import build_compare_page
from blendsearch.results.paired import interval, verdict_of
from blendsearch.results.run_folder import RunFolder

EQUAL_TERMS = ("data", "model", "training", "structure", "budget", "schedule", "compensation", "retraining", "seed")
"""Sections of a space that must be equal for the accuracies after retraining of two campaigns to be comparable."""

PAGE_SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class SideBySide:
    """Campaigns compared: a row a campaign, the keys in which their spaces differ, and pairwise differences.

    rows: see `compare_runs`. settings: key -> one value a campaign. pairs: for every campaign after the first that
    is on equal terms with it, its blend's test accuracy minus the first's; unequal: for the others, the keys why not.
    """

    rows: list[dict[str, Any]]
    settings: dict[str, list[Any]]
    pairs: list[dict[str, Any]]
    unequal: dict[str, list[str]]

    def to_dict(self) -> dict[str, Any]:
        """Return all as plain JSON."""
        return {"rows": self.rows, "settings": self.settings, "pairs": self.pairs, "unequal": self.unequal}


@dataclass(frozen=True)
class _Campaign:
    label: str
    folder: Path
    summary: dict[str, Any]
    space: dict[str, Any]
    blend: dict[int, float]


def compare_runs(run_dirs: Sequence[Path], page: Path | None = None) -> SideBySide:
    """Compare finished campaigns, the first being the one that the others are held against; write a page if asked.

    A row holds: label, folder, model, data, budget, allocation, proxy, search, trials, baseline, blend (mean), std,
    best_criterion, best (its mean), difference and interval (blend minus it, paired), verdict, control (mean of the
    random search's best, or None), tau, seconds. Accuracies in [0, 1]. Raises RunError for fewer than two folders,
    one given twice, folders of unfinished campaigns or other jobs, and a page that is a folder, in none, or no .html.
    """
    if page is not None:
        _check_place(page)
    if len(run_dirs) < 2:
        raise RunError(f"compare: {len(run_dirs)} run folder given, at least two expected")
    campaigns = _labelled([Path(run_dir) for run_dir in run_dirs])
    first, *others = campaigns
    unequal = {other.label: _unequal(first, other) for other in others}
    result = SideBySide(
        [_row(campaign) for campaign in campaigns],
        _settings([campaign.space for campaign in campaigns]),
        [_pair(first, other) for other in others if not unequal[other.label]],
        {label: keys for label, keys in unequal.items() if keys},
    )
    if page is not None:
        build_compare_page(result.to_dict(), page)
    return result


def _check_place(page: Path) -> None:
    """Raise RunError when a page cannot be there, or would take the place of what is no page, such as a summary.json.

    Folders are made for runs alone, elsewhere they may be misspelt.
    """
    if page.is_dir():
        raise RunError(f"{page}: is a folder; name a file for the page, such as {page / 'compared.html'}")
    if page.suffix.lower() not in PAGE_SUFFIXES:
        raise RunError(f"{page}: is no name for a page; it must end in {' or '.join(PAGE_SUFFIXES)}")
    if not page.parent.is_dir():
        raise RunError(f"{page}: there is no folder {page.parent} for the page; make it first or name another file")


def _labelled(folders: Sequence[Path]) -> list[_Campaign]:
    """Read the folders; campaigns of one name are told apart by their folders."""
    paths = [folder.resolve() for folder in folders]
    twice = sorted({str(folder) for folder, path in zip(folders, paths, strict=True) if paths.count(path) > 1})
    if twice:
        raise RunError(f"compare: {', '.join(twice)} given twice")
    read = [_read(folder) for folder in folders]
    names = [summary["name"] for summary, _, _ in read]
    return [
        _Campaign(
            summary["name"] if names.count(summary["name"]) == 1 else folder.name or str(folder), folder, summary,
            space, blend,
        )
        for folder, (summary, space, blend) in zip(folders, read, strict=True)
    ]  # fmt: skip


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any], dict[int, float]]:
    """Return summary, space and the blend's test accuracy by seed; RunError when it is no finished campaign."""
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run folder")
    run = RunFolder(folder)
    if run.job != "search":
        raise RunError(f"{folder}: made by 'blendsearch {run.job}'; campaigns of 'blendsearch search' are compared")
    for name in ("summary.json", "space.json", "records/retrained.json"):
        if not run.has(name):
            raise RunError(f"{folder}: {name} is missing, so the campaign has not finished; continue it with --resume")
    summary, space, records = (run.read_json(name) for name in ("summary.json", "space.json", "records/retrained.json"))
    blend = {record["seed"]: record["test_accuracy"] for record in records if record["kind"] == "blend"}
    # Read as a space, so that keys which an older version did not have are there with their defaults.
    return summary, space_from_dict(space).to_dict(), blend


def _row(campaign: _Campaign) -> dict[str, Any]:
    summary, space = campaign.summary, campaign.space
    comparison, best = summary["comparison"], summary["comparison"]["best_criterion"]
    control, fidelity = summary.get("control"), summary.get("fidelity")
    search = space["search"]
    kind = search["algorithm"] if search["backend"] == "deap" else search["sampler"]
    return {
        "label": campaign.label,
        "folder": campaign.folder.name,
        "model": space["model"]["name"],
        "data": summary["data"]["name"],
        "budget": summary["budget"],
        "allocation": summary["allocation"],
        "unit": space["blend"]["unit"],
        "proxy": summary["proxy"],
        "search": f"{search['backend']}, {kind}",
        "trials": summary["trials"],
        "seeds": summary["seeds"],
        "baseline": summary["baseline"]["test_accuracy"],
        "blend": summary["blend"]["test_accuracy"],
        "std": summary["blend"]["test_accuracy_std"],
        "by_seed": [campaign.blend[seed] for seed in sorted(campaign.blend)],
        "best_criterion": best,
        "best": summary["criteria"][best]["test_accuracy"],
        "difference": comparison["difference"],
        "interval": comparison["interval"],
        "verdict": comparison["verdict"],
        "control": control["test_accuracy"] if control else None,
        "tau": fidelity["tau"] if fidelity else None,
        "seconds": summary["seconds"].get("total"),
    }


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return key path -> value of everything that is not a mapping."""
    if not isinstance(value, Mapping):
        return {path: value}
    found: dict[str, Any] = {}
    for key, part in value.items():
        found |= _flat(part, f"{path}.{key}" if path else key)
    return found


def _settings(spaces: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the keys whose values are not the same in all spaces; None stands for a key that is not there."""
    flat = [_flat(space) for space in spaces]
    keys = dict.fromkeys(key for one in flat for key in one)
    values = {key: [one.get(key) for one in flat] for key in keys if key != "name"}
    return {key: given for key, given in values.items() if any(value != given[0] for value in given)}


def _unequal(first: _Campaign, other: _Campaign) -> list[str]:
    """Return the keys of two spaces that make their accuracies incomparable, and what else does."""
    differing = [
        key
        for key in _settings([first.space, other.space])
        if key.split(".")[0] in EQUAL_TERMS and key not in ("data.workers", "data.in_memory", "data.root")
    ]
    prints = [campaign.summary["data"]["fingerprint"] for campaign in (first, other)]
    if prints[0] != prints[1] and not any(key.startswith("data.") for key in differing):
        differing.append("data (other images under the same settings)")
    return differing


def _pair(first: _Campaign, other: _Campaign) -> dict[str, Any]:
    """Return the difference of two blends over the seeds that both were retrained with."""
    seeds = sorted(first.blend.keys() & other.blend.keys())
    differences = [other.blend[seed] - first.blend[seed] for seed in seeds]
    bounds = interval(differences)
    return {
        "first": first.label,
        "other": other.label,
        "seeds": len(seeds),
        "difference": sum(differences) / len(differences),
        "interval": bounds,
        "verdict": verdict_of(bounds),
    }
