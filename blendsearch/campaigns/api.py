"""The Python interface: score, prune and search on your own network and data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.allocation import ALLOCATIONS, Allocation, Budget, check_shares, own_allocation
from blendsearch.blending import AdaptedBlend, Blend, adapt_blend
from blendsearch.campaigns.search.run import Campaign, run_search
from blendsearch.compute import Compute, child_seed, in_float32
from blendsearch.config import Space
from blendsearch.criteria import Scores, ScoringSetup, names, score_applicable, score_network
from blendsearch.criteria.base import check_group_rule
from blendsearch.data.batches import GivenBatches
from blendsearch.errors import BlendsearchError, DataError, StructureError
from blendsearch.experiment.members import score_by_blend
from blendsearch.progress import Progress, silent
from blendsearch.statistics.ratings import Ratings, ratings_from
from blendsearch.statistics.relevance import PER_CLASS
from blendsearch.structure import Plan, Structure
from blendsearch.validation.space import read_space

Batches = Iterable[tuple[Tensor, Tensor]]
RatingsGiven = str | Path | Mapping[str, Mapping[int, Any]] | Ratings
HALF = Budget("flops", 0.5)


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
    scope: "all" groups of filters, or "inner" for those that no residual stream couples. device: "auto" (a GPU where
    there is one), "cpu" or "cuda". seed: of what is drawn, such as the scores of `random`.
    ratings: for the criterion `subjective`: the path of a ratings file, or group -> filter index -> a number from 0
    to 1, "keep", "unsure" or "drop"; filters without one get 0.5, or, with a `Ratings` that names a fallback, their
    place under that criterion. group_rule: how the scores of coupled convolutions (of a residual stream) become one:
    "mean_rank", "mean", "sum" or "max". relevance_per_class: how many images of each class LRP relevance takes, the
    first that come; None takes all.
    Returns criterion -> group -> float32 [C], higher = more important; a group is named by the module path of
    its first convolution. Raises BlendsearchError subclasses for unknown names, empty data, or networks without
    prunable filters.
    """
    setup = _setup(device, seed, ratings, group_rule, relevance_per_class)
    measured = in_float32(model)
    given, structure = _trace(measured, batches, scope)
    if criteria is None:
        return score_applicable(measured, structure, given, names(), setup).scores
    return score_network(measured, structure, given, criteria, setup)


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

    A model in another number format than float32 is measured as a float32 copy; the result is in its own format.
    by: a criterion's name, a Blend or the path of its file (ending in .json), or scores of your own (group -> [C],
    higher = more important). A blend that was found on another network is adapted to this one by stage and depth, see
    `blendsearch.blending.adapt_blend`.
    budget: {"flops": 0.5}, {"params": 0.4}, {"filters": 0.6} or {"latency": 0.7} (of one image on the device, by
    a table that is measured first): the share that stays; optionally with "min_keep", the share of each group that
    always stays. allocation: how many filters each group loses; what it has to measure, it measures on the batches;
    "evolved" takes the shares of the layers from the blend. scope, device, seed, ratings, group_rule and
    relevance_per_class: as in `score`.
    Raises BudgetError when the budget is impossible, and other BlendsearchError subclasses for wrong input.
    """
    limits = Budget.parse(budget)
    setup = _setup(device, seed, ratings, group_rule, relevance_per_class)
    measured = in_float32(model)
    given, structure = _trace(measured, batches, scope)
    adapted = _read_blend(by, structure)
    rule = ALLOCATIONS.get(allocation, "allocation")() if isinstance(allocation, str) else allocation
    check_shares(rule, adapted.blend.keep if adapted is not None else {})
    if limits.kind == "latency":
        structure.measure_latencies(measured, compute=setup.compute, images=1)
    if rule.unmeasured(structure):
        rule.prepare(
            measured, structure, GivenBatches(given), compute=setup.compute, seed=child_seed(seed, "allocation")
        )
    if adapted is None:
        scores = _own_scores(structure, by)
    else:
        rule = own_allocation(rule, adapted.blend.keep, structure)
        scores = score_by_blend(adapted.blend, measured, structure, given, setup)
    plan, cost = rule.plan(structure, scores, limits), structure.cost
    return Pruned(
        network=structure.slice(model, plan),
        plan=plan,
        flops_ratio=cost.ratio("flops", plan.counts),
        params_ratio=cost.ratio("params", plan.counts),
        rule=adapted.rule if adapted is not None else "",
    )


def search(
    space: Space | Mapping[str, Any] | str | Path,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> Campaign:
    """Run a search campaign: train, score, cluster, evolve a blend, retrain it beside every criterion, report.

    space: a Space, the same as a dict, or the path of a space file. run_dir: the campaign's folder; None makes a new
    one below runs/. resume: go on with the campaign of that folder (or the latest of the space's name), to the same
    result as if it had not been stopped. progress: called with (task, done, total, detail) as the work goes on.
    Returns the finished campaign: .blend, .summary (what summary.json holds), .run_dir and .report (its page).
    Raises ConfigError with every mistake of the space at once, RunError for a folder that holds other things, and
    other BlendsearchError subclasses for data, networks and budgets that do not go together, before any work is done.
    """
    return run_search(
        read_space(space, resumed=resume), Path(run_dir) if run_dir is not None else None, resume, progress
    )


def _setup(
    device: str, seed: int, ratings: RatingsGiven | None, group_rule: str, relevance_per_class: int | None
) -> ScoringSetup:
    """Return the terms of scoring; raise DataError or UnknownNameError for wrong ones before any data are read."""
    check_group_rule(group_rule)
    return ScoringSetup(
        compute=Compute.resolve(device),
        seed=seed,
        ratings=None if ratings is None else ratings_from(ratings),
        group_rule=group_rule,
        relevance_per_class=relevance_per_class,
    )


def _trace(model: nn.Module, batches: Batches, scope: str) -> tuple[Batches, Structure]:
    """Return the batches, readable again from the first, and the model's structure."""
    if iter(batches) is batches:  # a generator can be read only once
        batches = list(batches)
    for images, _ in batches:
        return batches, Structure.of(model, images, scope=scope)
    raise DataError("batches: no batch given; at least one of (images, labels) is needed")


def _read_blend(by: Any, structure: Structure) -> AdaptedBlend | None:
    """Return what `by` names as a blend for this network, a criterion as a blend of one; None for scores."""
    if isinstance(by, Path) or (isinstance(by, str) and by.endswith(".json")):
        by = Blend.load(by)
    if isinstance(by, str):
        return AdaptedBlend(Blend.single(by), rule="")
    if isinstance(by, Blend):
        return adapt_blend(by, structure)
    if isinstance(by, Mapping):
        return None
    raise BlendsearchError(
        f"by: {type(by).__name__} given, allowed: a criterion's name, a Blend, or scores as group -> tensor"
    )


def _own_scores(structure: Structure, scores: Any) -> dict[str, Tensor]:
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
