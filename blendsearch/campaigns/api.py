"""The Python interface: score, prune and search on your own network and data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.allocation import ALLOCATIONS, Allocation, Budget
from blendsearch.blending import Blend, Scores, adapt_blend
from blendsearch.campaigns.search.run import Campaign, run_search
from blendsearch.compute import Compute, child_seed
from blendsearch.config import Space
from blendsearch.criteria import applicable, measures_of, names, score_groups
from blendsearch.criteria.base import check_group_rule
from blendsearch.data.batches import GivenBatches
from blendsearch.errors import BlendsearchError, DataError, StructureError
from blendsearch.experiment.scoring import blended
from blendsearch.progress import Progress, silent
from blendsearch.statistics import gather
from blendsearch.statistics.ratings import Ratings, ratings_from
from blendsearch.statistics.relevance import PER_CLASS
from blendsearch.structure import Plan, Structure
from blendsearch.validation.space import checked_from_dict, load_checked

Batches = Iterable[tuple[Tensor, Tensor]]
RatingsGiven = str | Path | Mapping[str, Mapping[int, Any]] | Ratings
HALF = Budget("flops", 0.5)


@dataclass(frozen=True)
class Terms:
    """On what terms filters are scored: where, from which seed, by whose ratings, coupled ones by which rule."""

    compute: Compute
    seed: int
    ratings: Ratings | None
    group_rule: str
    relevance_per_class: int | None


@dataclass(frozen=True)
class Pruned:
    """A pruned network, the plan it was sliced by, and its cost against the original (ratios in [0, 1]).

    rule: how a blend came to fit this network, "" where no blend was given.
    """

    network: nn.Module
    plan: Plan
    flops_ratio: float
    params_ratio: float
    rule: str = ""


def score(
    model: nn.Module,
    batches: Batches,
    criteria: Sequence[str] | None = None,
    *,
    scope: str = "all",
    device: str = "auto",
    seed: int = 0,
    ratings: RatingsGiven | None = None,
    group_rule: str = "mean_rank",
    relevance_per_class: int | None = PER_CLASS,
) -> Scores:
    """Score every filter of a network under many criteria, in one pass over the data.

    model: any convolutional classifier, left untouched. batches: any iterable of (images [N, C, H, W], integer
    labels [N]), such as a DataLoader. criteria: names (default: all that apply to this network).
    ratings: for the criterion `subjective`: the path of a ratings file, or group -> filter index -> a number from 0
    to 1, "keep", "unsure" or "drop"; filters without one get 0.5, or, with a `Ratings` that names a fallback, their
    place under that criterion. group_rule: how the scores of coupled convolutions (of a
    residual stream) become one: "mean_rank", "mean", "sum" or "max". relevance_per_class: how many images of each
    class LRP relevance takes, the first that come; None takes all.
    Returns criterion -> group -> float32 [C], higher = more important; a group is named by the module path of
    its first convolution. Raises BlendsearchError subclasses for unknown names, empty data, or networks without
    prunable filters.
    """
    terms = _terms(device, seed, ratings, group_rule, relevance_per_class)
    given, structure = _opened(model, batches, scope)
    return _scores(model, structure, given, criteria, terms)


def prune(
    model: nn.Module,
    batches: Batches,
    *,
    by: str | Path | Blend | Mapping[str, Tensor],
    budget: Mapping[str, float] | Budget = HALF,
    allocation: str | Allocation = "uniform",
    scope: str = "all",
    device: str = "auto",
    seed: int = 0,
    ratings: RatingsGiven | None = None,
    group_rule: str = "mean_rank",
    relevance_per_class: int | None = PER_CLASS,
) -> Pruned:
    """Prune a network to a budget; the model is left untouched and the result is not retrained.

    by: a criterion's name, a Blend or the path of its file (ending in .json), or scores of your own (group -> [C],
    higher = more important). A blend that was found on another network is fitted to this one by stage and depth, see
    `blendsearch.blending.adapt_blend`.
    budget: {"flops": 0.5}, {"params": 0.4}, {"filters": 0.6} or {"latency": 0.7} (of one image on the device, by
    a table that is measured first): the share that stays; optionally with "min_keep", the share of each group that
    always stays. allocation: how many filters each group loses; what it has to measure, it measures on the batches.
    ratings, group_rule and relevance_per_class: as in `score`.
    Raises BudgetError when the budget is impossible, and other BlendsearchError subclasses for wrong input.
    """
    limits = Budget.parse(budget)
    if isinstance(by, Path) or (isinstance(by, str) and by.endswith(".json")):
        by = Blend.load(by)
    terms = _terms(device, seed, ratings, group_rule, relevance_per_class)
    given, structure = _opened(model, batches, scope)
    compute = Compute.resolve(device)
    if limits.kind == "latency":
        structure.measure_latencies(model, compute=compute, images=1)
    rule = ALLOCATIONS.get(allocation, "allocation")() if isinstance(allocation, str) else allocation
    if rule.unmeasured(structure):
        rule.prepare(model, structure, GivenBatches(given), compute=compute, seed=child_seed(seed, "allocation"))
    rule_of_blend = ""
    if isinstance(by, Blend):
        fitted = adapt_blend(by, structure)
        by, rule_of_blend = fitted.blend, fitted.rule
    plan = rule.plan(structure, _group_scores(model, structure, given, by, terms), limits)
    cost = structure.cost
    return Pruned(
        structure.slice(model, plan), plan, cost.ratio("flops", plan.counts), cost.ratio("params", plan.counts),
        rule_of_blend,
    )  # fmt: skip


def search(
    space: Space | Mapping[str, Any] | str | Path,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> Campaign:
    """Run a search campaign; the result has .blend, .summary, .run_dir and .report.

    space: a Space, the same as a dict, or the path of a space file.
    """
    if isinstance(space, str | Path):
        space = load_checked(space, resumed=resume)
    elif not isinstance(space, Space):
        space = checked_from_dict(space, resumed=resume)
    return run_search(space, Path(run_dir) if run_dir is not None else None, resume, progress)


def _terms(
    device: str, seed: int, ratings: RatingsGiven | None, group_rule: str, relevance_per_class: int | None
) -> Terms:
    """Return the terms; raise DataError or UnknownNameError for wrong ones before any data are read."""
    check_group_rule(group_rule)
    rated = None if ratings is None else ratings_from(ratings)
    return Terms(Compute.resolve(device), seed, rated, group_rule, relevance_per_class)


def _opened(model: nn.Module, batches: Batches, scope: str) -> tuple[Batches, Structure]:
    """Return the batches, readable again from the first, and the model's structure."""
    if iter(batches) is batches:  # a generator can be read only once
        batches = list(batches)
    for images, _ in batches:
        return batches, Structure.of(model, images, scope=scope)
    raise DataError("batches: no batch given; at least one of (images, labels) is needed")


def _scores(
    model: nn.Module, structure: Structure, batches: Batches, criteria: Sequence[str] | None, terms: Terms
) -> Scores:
    wanted = list(criteria) if criteria is not None else names()
    statistics = gather(
        model, structure, batches, measures_of(wanted, terms.ratings),
        compute=terms.compute, seed=terms.seed, ratings=terms.ratings,
        relevance_per_class=terms.relevance_per_class,
    )  # fmt: skip
    if criteria is None:
        left_out = applicable(wanted, structure, statistics)
        wanted = [name for name in wanted if name not in left_out]
    return score_groups(structure, statistics, wanted, group_rule=terms.group_rule)


def _group_scores(
    model: nn.Module, structure: Structure, batches: Batches, by: Any, terms: Terms
) -> Mapping[str, Tensor]:
    if isinstance(by, str):
        by = Blend.single(by)
    if isinstance(by, Blend):
        return blended(by, _scores(model, structure, batches, by.criteria, terms))
    if isinstance(by, Mapping):
        return _own_scores(structure, by)
    raise BlendsearchError(
        f"by: {type(by).__name__} given, allowed: a criterion's name, a Blend, or scores as group -> tensor"
    )


def _own_scores(structure: Structure, scores: Mapping[str, Any]) -> dict[str, Tensor]:
    for name in scores:
        structure.group(name)  # names an unknown group together with the nearest one
    result = {}
    for name, width in structure.widths.items():
        if name not in scores:
            raise StructureError(f"by: no scores for group '{name}' (given: {', '.join(scores) or 'none'})")
        result[name] = torch.as_tensor(scores[name]).detach().float().cpu()
        if tuple(result[name].shape) != (width,) or not bool(torch.isfinite(result[name]).all()):
            raise StructureError(
                f"by: group '{name}' has scores of shape {tuple(result[name].shape)}, allowed: ({width},), finite"
            )
    return result
