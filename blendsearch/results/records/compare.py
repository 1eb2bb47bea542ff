"""What a comparison of campaigns holds; it is written as a page alone."""

from __future__ import annotations

from typing import Any

from blendsearch.results.records.common import BudgetRecord, Difference, Number, Record


class CampaignRow(Difference):
    """One campaign: what it pruned and how it searched, its blend and its best criterion; accuracies in [0, 1].

    blend, best, random_search: mean test accuracies of the blend, of best_criterion, and of a random search's best,
    None without one. std: the blend's over the seeds, by_seed: its values. difference, interval and verdict: the blend
    against best_criterion, paired. seconds: of the whole campaign. retrained: whether its networks were, and not pruned
    alone.
    """

    label: str
    folder: str
    model: str
    data: str
    budget: BudgetRecord
    allocation: str
    proxy: str
    search: str
    trials: int | None = None
    unpruned: Number
    blend: float
    std: Number
    by_seed: list[float]
    best_criterion: str
    best: float
    random_search: Number
    tau: Number
    seconds: Number
    retrained: bool = True


class CampaignPair(Difference):
    """The blend of one campaign minus that of the first, over the seeds that both were retrained with."""

    first: str
    other: str
    seeds: int


class CampaignsRecord(Record):
    """Campaigns side by side: a row each, the keys in which their spaces differ, and pairwise differences.

    settings: key -> one value a campaign. pairs: of the campaigns that are on equal terms with the first; unequal: of
    the others, the keys why not.
    """

    rows: list[CampaignRow]
    settings: dict[str, list[Any]]
    pairs: list[CampaignPair]
    unequal: dict[str, list[str]]
