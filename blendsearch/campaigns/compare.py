"""Campaigns side by side: what each found, on which terms, and where the terms differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blendsearch.config import Space
from blendsearch.errors import RunError
from blendsearch.evolution.algorithms import name_algorithm
from blendsearch.experiment.unpruned import WEIGHTS
from blendsearch.files import content_digest
from blendsearch.reports.pages.compare import build_compare_page
from blendsearch.results.paired import compare_pairs
from blendsearch.results.reading import not_a_run
from blendsearch.results.records.common import JobRecord
from blendsearch.results.records.compare import CampaignPair, CampaignRow, CampaignsRecord
from blendsearch.results.records.retraining import BLEND
from blendsearch.results.records.search import RetrainedEntry, SearchSummary
from blendsearch.results.run_folder import RunFolder

SUMMARY = "summary.json"
RETRAINED = "records/retrained.json"
REFITTED = ("compensation", "reconstruction")
EQUAL_TERMS = ("data", "model", "training", "structure", "budget", "schedule", *REFITTED, "retraining", "seed")
"""Sections of a space that must be equal for the accuracies after retraining of two campaigns to be comparable."""

FREE = ("data.workers", "data.in_memory", "data.cache", "data.root", "data.download", "retraining.seeds")
"""Keys of these that may differ: how images are come by (a fingerprint tells which they are), and how many seeds there
are, since those that both have are paired."""

PAGE_SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class SideBySide:
    """Campaigns compared: the record, and the page where one was asked for."""

    summary: CampaignsRecord
    report: Path | None


@dataclass(frozen=True)
class _Finished:
    """A finished campaign; blend: seed -> the blend's test accuracy.

    label: what it is called, no two alike. job: what its job.json says. weights: a digest of those of the unpruned
    network where the campaign did not train it: trained anew elsewhere they differ in last digits, on equal terms.
    """

    label: str
    folder: Path
    summary: SearchSummary
    space: Space
    blend: dict[int, float]
    job: JobRecord
    weights: str | None


def compare_runs(run_dirs: Sequence[Path], page: Path | None = None) -> SideBySide:
    """Compare finished campaigns, the first being the one that the others are held against; write a page if asked.

    Raises RunError for fewer than two folders, one given twice, folders of unfinished campaigns or other jobs, and a
    page that is a folder, in none, or no .html.
    """
    if page is not None:
        _check_place(page)
    if len(run_dirs) < 2:
        raise RunError(f"compare: {len(run_dirs)} run folder given, at least two expected")
    campaigns = _read_all([Path(run_dir) for run_dir in run_dirs])
    first, *others = campaigns
    unequal = {other.label: _find_unequal(first, other) for other in others}
    summary = CampaignsRecord(
        rows=[_describe(campaign) for campaign in campaigns],
        settings=_find_differing([campaign.space for campaign in campaigns]),
        pairs=[_pair(first, other) for other in others if not unequal[other.label]],
        unequal={label: keys for label, keys in unequal.items() if keys},
    )
    return SideBySide(summary, None if page is None else build_compare_page(summary, page))


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


def _read_all(folders: Sequence[Path]) -> list[_Finished]:
    """Read the folders; campaigns of one name are told apart by their folders, and where need be by their paths."""
    paths = [folder.resolve() for folder in folders]
    twice = sorted({str(folder) for folder, path in zip(folders, paths, strict=True) if paths.count(path) > 1})
    if twice:
        raise RunError(f"compare: {', '.join(twice)} given twice")
    campaigns = [_read(folder) for folder in folders]
    labels = [campaign.label for campaign in campaigns]
    for others in ([folder.name or str(folder) for folder in folders], [str(folder) for folder in folders]):
        labels = [other if labels.count(label) > 1 else label for label, other in zip(labels, others, strict=True)]
    if len(set(labels)) < len(labels):
        labels = [str(folder) for folder in folders]
    return [replace(one, label=label) for one, label in zip(campaigns, labels, strict=True)]


def _read(folder: Path) -> _Finished:
    """Read a campaign; RunError when it is none, or has not finished."""
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run folder")
    run = RunFolder(folder)
    if run.job != "search":
        raise RunError(f"{folder}: made by 'blendsearch {run.job}'; campaigns of 'blendsearch search' are compared")
    if not (run.has("job.json") or run.has("space.json")):
        raise not_a_run(folder, SUMMARY)
    for name in (SUMMARY, RETRAINED, "space.json"):
        if not run.has(name):
            raise RunError(f"{folder}: {name} is missing, so the campaign has not finished; continue it with --resume")
    summary = run.read_record(SUMMARY, SearchSummary)
    retrained = run.read_record(RETRAINED, list[RetrainedEntry])
    blend = {one.seed: one.test_accuracy for one in retrained if one.kind == BLEND}
    if not blend:
        raise RunError(f"{folder / RETRAINED}: no retraining of kind '{BLEND}', which campaigns are compared by")
    # As a space, so that keys which an older version did not have are there with their defaults.
    job = run.read_record("job.json", JobRecord) if run.has("job.json") else JobRecord(job="search")
    untrained = run.space.training.epochs == 0 and run.has(WEIGHTS)
    weights = content_digest(run / WEIGHTS) if untrained else None
    return _Finished(summary.name, folder, summary, run.space, blend, job, weights)


def _describe(campaign: _Finished) -> CampaignRow:
    summary, space = campaign.summary, campaign.space
    comparison = summary.comparison
    return CampaignRow(
        label=campaign.label,
        folder=campaign.folder.name,
        model=space.model.name,
        data=summary.data.name,
        budget=summary.budget,
        allocation=space.allocation.name,
        proxy=space.proxy.name,
        search=summary.algorithm or name_algorithm(space.search),
        trials=summary.trials,
        unpruned=summary.unpruned.test_accuracy,
        blend=summary.blend.test_accuracy,
        std=summary.blend.test_accuracy_std,
        by_seed=[campaign.blend[seed] for seed in sorted(campaign.blend)],
        best_criterion=comparison.best_criterion,
        best=summary.criteria[comparison.best_criterion].test_accuracy,
        difference=comparison.difference,
        interval=comparison.interval,
        verdict=comparison.verdict,
        random_search=summary.random_search and summary.random_search.test_accuracy,
        tau=summary.fidelity and summary.fidelity.tau,
        seconds=summary.seconds.get("total"),
        retrained=space.retraining.epochs > 0,
    )


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return key path -> value of everything that is not a mapping."""
    if not isinstance(value, Mapping):
        return {path: value}
    found: dict[str, Any] = {}
    for key, part in value.items():
        found |= _flat(part, f"{path}.{key}" if path else key)
    return found


def _find_differing(spaces: Sequence[Space]) -> dict[str, list[Any]]:
    """Return the keys whose values are not the same in all spaces; None stands for a key that is not there."""
    flat = [_flat(space.to_dict()) for space in spaces]
    keys = dict.fromkeys(key for one in flat for key in one)
    values = {key: [one.get(key) for one in flat] for key in keys if key != "name"}
    return {key: given for key, given in values.items() if any(value != given[0] for value in given)}


def _find_unequal(first: _Finished, other: _Finished) -> list[str]:
    """Return the keys of two spaces that make their accuracies incomparable, and what else does."""
    differing = [
        key
        for key in _find_differing([first.space, other.space])
        if key.split(".")[0] in EQUAL_TERMS and key not in FREE
    ]
    prints = [campaign.summary.data.fingerprint for campaign in (first, other)]
    if prints[0] != prints[1] and not any(key.startswith("data.") for key in differing):
        differing.append("data (other images under the same settings)")
    if _another_network(first, other) and not any(key.startswith(("model.", "training.")) for key in differing):
        differing.append("model (another network under the same settings)")
    if first.summary.metric != other.summary.metric:
        differing.append("metric")
    functions = [campaign.job.functions for campaign in (first, other)]
    shared = functions[0].keys() & functions[1].keys() - set(differing)
    return [
        *differing,
        *(f"{name} (other code)" for name in sorted(shared) if functions[0][name] != functions[1][name]),
    ]


def _another_network(first: _Finished, other: _Finished) -> bool:
    """Tell whether two campaigns began from different networks, as far as both say: an earlier version says little."""
    known = [
        (
            campaign.job.given and campaign.job.given.get("model"),
            campaign.job.code,
            campaign.job.weights,
            campaign.weights,
        )
        for campaign in (first, other)
    ]
    return any(one != another for one, another in zip(*known, strict=True) if None not in (one, another))


def _pair(first: _Finished, other: _Finished) -> CampaignPair:
    """Return the difference of two blends over the seeds that both were retrained with."""
    seeds = sorted(first.blend.keys() & other.blend.keys())
    found = compare_pairs([other.blend[seed] - first.blend[seed] for seed in seeds])
    return CampaignPair(**dict(found), first=first.label, other=other.label, seeds=len(seeds))
