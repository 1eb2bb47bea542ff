"""What users of the Python interface give: networks, batches, what to prune by and how far, read and checked once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from blendsearch.allocation import (
    ALLOCATIONS,
    Allocation,
    Budget,
    Limits,
    check_shares,
    own_allocation,
    parse_bounds,
    plan_rest,
)
from blendsearch.blending import AdaptedBlend, Blend, adapt_blend
from blendsearch.compute import Compute, child_seed, in_float32
from blendsearch.criteria import ScoringSetup
from blendsearch.criteria.base import check_group_rule
from blendsearch.criteria.scoring import measures_of
from blendsearch.data.batches import GivenBatches
from blendsearch.errors import BlendsearchError, BudgetError, DataError, StructureError, quoted
from blendsearch.experiment.members import score_by_blend
from blendsearch.progress import Progress, silent
from blendsearch.statistics.ratings import Ratings, ratings_from
from blendsearch.statistics.task import Loss, Task
from blendsearch.structure import Plan, Structure, check_fits
from blendsearch.structure.copying import copy_with
from blendsearch.structure.example import Forward, call, map_tensors
from blendsearch.structure.given import check_network

Batches = Iterable[tuple[Tensor, Tensor]]
RatingsGiven = str | Path | Mapping[str, Mapping[int, Any]] | Ratings


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What scoring and pruning are given beside network and data; see `blendsearch.score`."""

    scope: str
    device: str | torch.device
    seed: int
    ratings: RatingsGiven | None
    group_rule: str
    relevance_per_class: int | None
    ignore: Sequence[str]
    ignore_inputs: Sequence[str]
    structure: Structure | None
    loss: Loss | None
    forward: Forward | None

    @property
    def task(self) -> Task | None:
        """What the network is for; None: to tell classes apart."""
        return None if self.loss is None and self.forward is None else Task(self.forward, self.loss)

    def setup(self) -> ScoringSetup:
        """Return the terms of scoring; raise a BlendsearchError for wrong ones before any data are read."""
        check_group_rule(self.group_rule)
        most = self.relevance_per_class
        if most is not None and (type(most) is not int or most < 1):
            allowed = "a whole number of at least 1, or None for all images"
            raise DataError(f"relevance_per_class: {quoted(most)} given, allowed: {allowed}")
        return ScoringSetup(
            compute=Compute.here(self.device),
            seed=self.seed,
            ratings=None if self.ratings is None else ratings_from(self.ratings),
            group_rule=self.group_rule,
            relevance_per_class=self.relevance_per_class,
            task=self.task,
        )

    def trace(self, model: nn.Module, batches: Batches, progress: Progress) -> tuple[Batches, Structure]:
        """Return the batches, readable again from the first, and the structure, read from the model or as given."""
        given = GivenPairs.of(batches, self.task, progress)
        for batch in given:
            example = batch[0] if self.task is None else self.task.inputs(batch)
            return given, self._structure(model, example, progress)
        raise DataError("batches: no batch given; at least one of (images, labels) is needed")

    def _structure(self, model: nn.Module, example: Any, progress: Progress) -> Structure:
        lists = {"ignore": self.ignore, "ignore_inputs": self.ignore_inputs}
        for name, given in lists.items():
            if isinstance(given, str):
                raise StructureError(f"{name}: '{given}' given, allowed: a list of module paths, such as ['{given}']")
        if self.structure is None:
            return Structure.of(
                model,
                example,
                scope=self.scope,
                ignore=self.ignore,
                ignore_inputs=self.ignore_inputs,
                forward=self.forward or call,
                progress=progress,
            )
        also = [name for name, given in {"scope": self.scope != "all", **lists}.items() if given]
        if also:
            raise StructureError(f"structure: it was read with a scope and what to ignore; give no {also[0]} beside it")
        check_fits(self.structure, model)
        return self.structure


def measurable(model: nn.Module) -> nn.Module:
    """Return the model, or a float32 copy of it; raise StructureError for one that cannot be read."""
    check_network(model)
    if any(tensor.is_inference() for tensor in (*model.parameters(), *model.buffers())):
        # Made in inference mode, in which nothing can have gradients.
        model = copy_with(model, lambda path, name, tensor, module: tensor.clone())
    return in_float32(model)


class GivenPairs:
    """A user's batches, each checked as it is read, those without images left out; can be read again from the first.

    task: of batches that are no images with labels; then it is for its functions to take them.
    """

    def __init__(self, batches: Iterable[Any], task: Task | None) -> None:
        self._batches, self._task = batches, task

    @classmethod
    def of(cls, batches: Any, task: Task | None = None, progress: Progress = silent) -> GivenPairs:
        """Take what is given; raise DataError when it holds no batches."""
        try:
            again = _has_more_than_one_pass(batches)
        except TypeError:
            kind = type(batches).__name__
            raise DataError(
                f"batches: {kind} given, allowed: an iterable of (images, labels), as a DataLoader"
            ) from None
        return cls(batches if again else _read_all(batches, progress), task)

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self._batches):
            reason = _objection(batch) if self._task is None else ""
            if reason:
                raise DataError(
                    f"batches: batch {number} is {reason}; allowed: (images [N, C, H, W] of floats, labels [N]); "
                    "networks with other batches take forward= and loss="
                )
            if self._task is None and len(batch[0]) == 0:
                continue  # as a filter of images leaves some: there is nothing to read, and no answer to be averaged
            # Tensors of inference mode cannot take part in a backward pass.
            yield map_tensors(batch, lambda one: one.clone() if one.is_inference() else one)

    def __len__(self) -> int:
        try:
            return len(self._batches) if isinstance(self._batches, Sized) else 0
        except TypeError:  # a DataLoader over a stream has a length by its class alone
            return 0


def _has_more_than_one_pass(batches: Iterable[Any]) -> bool:
    """Say whether each look at the batches begins anew; TypeError where they are none.

    What gives one iterator to all who ask is used up by the first. A DataLoader, which may do so with workers that
    stay, resets it.
    """
    if isinstance(batches, DataLoader):
        return True
    first = iter(batches)
    return first is not batches and iter(batches) is not first


def _read_all(batches: Iterable[Any], progress: Progress) -> list[Any]:
    """Return what a generator has, which can be read only once."""
    read = []
    for batch in batches:
        read.append(batch)
        progress("batches", len(read), 0)
    progress("batches", len(read), len(read))
    return read


def _objection(batch: Any) -> str:
    """Return what a batch is, where it is not images with labels; else nothing."""
    if not isinstance(batch, tuple | list):
        return f"a {type(batch).__name__}"
    if len(batch) != 2:
        return f"a {type(batch).__name__} of {len(batch)}"
    for one, what in zip(batch, ("images", "labels"), strict=True):
        if not isinstance(one, Tensor):
            return f"a {type(batch).__name__} with {type(one).__name__} for {what}"
    images = batch[0]
    if not images.is_floating_point():
        return f"with images of {str(images.dtype).removeprefix('torch.')}, not scaled to floats"
    return "" if bool(torch.isfinite(images).all()) else "with images that hold nan or infinity"


def read_budget(budget: Mapping[str, Any] | Budget, keep: Mapping[str, Any] | None, round_to: int | None) -> Budget:
    """Return the budget with what is given beside it; BudgetError for a wrong one."""
    limits = Budget.parse(budget)
    return replace(
        limits,
        keep=(*limits.keep, *parse_bounds(keep or {})),
        round_to=limits.round_to if round_to is None else round_to,
    )


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How a network of one's own is pruned: by a blend, or by scores (group -> [C]) of the unpruned network."""

    batches: Batches
    structure: Structure
    setup: ScoringSetup
    budget: Budget
    limits: Limits
    allocation: Allocation
    by: AdaptedBlend | Mapping[str, Tensor]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        batches: Batches,
        by: Any,
        budget: Budget,
        *,
        allocation: str | Allocation,
        terms: Terms,
        progress: Progress,
    ) -> Pruning:
        """Read structure, blend and limits, and measure what they need; BlendsearchError for what does not fit."""
        setup, model = terms.setup(), measurable(model)
        batches, structure = terms.trace(model, batches, progress)
        adapted = _read_blend(by, structure)
        keep = adapted.blend.keep if adapted is not None else {}
        measures_of(adapted.blend.criteria if adapted is not None else [])  # names an unknown one before any work
        rule = ALLOCATIONS.get(allocation, "allocation")() if isinstance(allocation, str) else allocation
        check_shares(rule, keep)
        if "latency" in budget.ratios and structure.cost.latency_table is None:
            structure.measure_latencies(model, compute=setup.compute, images=1, progress=progress)
        limits = Limits.of(budget, structure)
        budget.check_possible(limits.floors, structure.cost)
        if rule.unmeasured(structure):
            if terms.task is not None:
                raise BudgetError(
                    f"allocation: '{rule.name}' measures how many labels are right, the network has its own loss"
                )
            seed = child_seed(setup.seed, "allocation")
            given = GivenBatches(batches)
            rule.prepare(model, structure, given, compute=setup.compute, seed=seed, progress=progress)
        return cls(
            batches=batches,
            structure=structure,
            setup=setup,
            budget=budget,
            limits=limits,
            allocation=rule if adapted is None else own_allocation(rule, keep, structure),
            by=_own_scores(structure, by) if adapted is None else adapted,
        )

    @property
    def rule(self) -> str:
        """How a blend came to fit the network."""
        return self.by.rule if isinstance(self.by, AdaptedBlend) else ""

    def plan(self, network: nn.Module, structure: Structure, left: Plan, target: Budget, *, progress: Progress) -> Plan:
        """Return the plan for a network as it is now, of which `left` is left, under a budget of the unpruned one."""
        if isinstance(self.by, AdaptedBlend):
            blend, given = self.by.blend, measurable(network)
            scores = score_by_blend(blend, given, structure, self.batches, self.setup, progress)
        else:
            scores = {group: self.by[group][list(left.keep[group])] for group in structure.widths}
        return plan_rest(self.allocation, target, self.limits, self.structure, left, structure, scores)


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
        if name not in structure.refused:  # as the groups that are to be ignored
            structure.group(name)  # names an unknown group together with the nearest one
    result = {}
    for name, width in structure.widths.items():
        if name not in scores:
            raise StructureError(f"by: no scores for group '{name}' (given: {', '.join(scores) or 'none'})")
        # As exact as they were given: scores that round to one number would rank by their places.
        result[name] = torch.as_tensor(scores[name]).detach().cpu().double()
        if tuple(result[name].shape) != (width,) or not bool(torch.isfinite(result[name]).all()):
            raise StructureError(
                f"by: group '{name}' has scores of shape {tuple(result[name].shape)}, allowed: ({width},), finite"
            )
    return result
