"""The Python interface: score, prune (at once or in steps) and search on your own network and data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.allocation import LADDERS, Allocation, Budget, rungs
from blendsearch.blending import Blend
from blendsearch.campaigns.export.run import export
from blendsearch.campaigns.given import Batches, Pruning, RatingsGiven, Terms, measurable, read_budget
from blendsearch.campaigns.scores import Scores
from blendsearch.campaigns.search.objects import refuse_beside_space, space_of_objects
from blendsearch.campaigns.search.run import Campaign, run_search
from blendsearch.compute import on_own_terms
from blendsearch.config import Space
from blendsearch.criteria import names, score_applicable
from blendsearch.data.loaders import Loaders, Metric
from blendsearch.errors import BudgetError, DataError, quoted, unknown_name
from blendsearch.experiment.given import Given, TrainFunction
from blendsearch.experiment.saved import save_pruned
from blendsearch.progress import Reporting
from blendsearch.progress.shown import AUTO, reporting
from blendsearch.results.records.shipping import ExportRecord, Figures
from blendsearch.results.words import percent
from blendsearch.statistics.relevance import PER_CLASS
from blendsearch.statistics.task import Loss
from blendsearch.structure import Plan, Structure
from blendsearch.structure.example import Forward
from blendsearch.validation.space import read_space

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

    @property
    def report(self) -> str:
        """What is left, in lines: the ratios, and the filters of each group."""
        kept, widths = self.plan.counts, self.plan.widths
        ratios = f"{percent(self.flops_ratio, 1)} of the FLOPs, {percent(self.params_ratio, 1)} of the parameters"
        groups = [f"{name}: {count} of {widths[name]} filters" for name, count in kept.items()]
        return "\n".join([ratios, *([self.rule] if self.rule else []), *groups])

    def save(self, path: str | Path) -> Path:
        """Write network and plan into one .safetensors file, which `blendsearch.load(path, model)` reads."""
        figures = Figures(flops_ratio=self.flops_ratio, params_ratio=self.params_ratio)
        return save_pruned(self.network, self.plan, path, figures=figures)

    def export(self, path: str | Path, to: str = "onnx", **options: Any) -> ExportRecord:
        """Write the network as `blendsearch.export` does; it needs example=, a batch of images."""
        return export(self, path, to=to, **options)


def score(
    model: nn.Module,
    batches: Batches,
    criteria: Sequence[str] | None = None,
    *,
    scope: str = "all",
    device: str | torch.device = "auto",
    seed: int = 0,
    ratings: RatingsGiven | None = None,
    group_rule: str = "mean_rank",
    relevance_per_class: int | None = PER_CLASS,
    ignore: Sequence[str] = (),
    ignore_inputs: Sequence[str] = (),
    structure: Structure | None = None,
    loss: Loss | None = None,
    forward: Forward | None = None,
    progress: Reporting = AUTO,
) -> Scores:
    """Score every filter of a network under many criteria, in one pass over the data.

    model: any convolutional classifier, left untouched. batches: any iterable of (images [N, C, H, W], integer
    labels [N]), such as a DataLoader; with classes mixed, as shuffled, since the costlier measures look at some first
    images alone (at most 512; a warning tells where these show too few classes).
    criteria: names (default: all that apply to this network).
    scope: "all" groups of filters, or "inner" for those that no residual stream couples. device: "auto" (a GPU where
    there is one), "cpu" or "cuda". seed: of what is drawn, such as the scores of `random`.
    ratings: for the criterion `subjective`: the path of a ratings file, or group -> filter index -> a number from 0
    to 1, "keep", "unsure" or "drop"; filters without one get 0.5, or, with a `Ratings` that names a fallback, their
    place under that criterion. group_rule: how the scores of coupled convolutions (of a residual stream) become one:
    "mean_rank", "mean", "sum" or "max". relevance_per_class: how many images of each class LRP relevance takes, the
    first that come; None takes all.
    ignore: paths of modules (or of modules around them) whose filters are left alone, and with them all that are
    coupled to these. ignore_inputs: the same for the filters that a module reads, so that its inputs stay as well.
    structure: the network's, from `blendsearch.Structure.of(model, images)`, where it is known already; scope and
    what to ignore are then those it was read with.
    loss, forward: for networks that do not tell classes of images apart. forward(network, batch) runs the network on a
    batch of any form (default: batches are pairs, and the network gets the first of them); all tensors that it returns
    are taken for outputs, whose channels stay. loss(outputs, targets) is a mean over the batch; targets are the second
    of a pair or, with `forward`, the whole batch. Without a loss nothing that needs gradients is measured; what is
    about classes never is.
    progress: "auto" shows on standard error (a bar in a terminal or a notebook, lines elsewhere) how far the work is
    once it has taken two seconds; None shows nothing; a function of yours is called with (task, done, total, detail).
    Returns `Scores`: criterion -> group -> float32 [C], higher = more important, which scale each group's numbers have,
    what they were made of, tables and figures; a group is named by the module path of its first convolution. Raises
    BlendsearchError subclasses for unknown names, empty data, or networks without prunable filters.
    """
    terms = Terms(
        scope=scope, device=device, seed=seed, ratings=ratings, group_rule=group_rule,
        relevance_per_class=relevance_per_class, ignore=ignore, ignore_inputs=ignore_inputs, structure=structure,
        loss=loss, forward=forward,
    )  # fmt: skip
    setup = terms.setup()
    with reporting(progress) as report, on_own_terms():
        measured = measurable(model)
        given, found = terms.trace(measured, batches, report)
        scored = score_applicable(measured, found, given, names() if criteria is None else criteria, setup, report)
        if criteria is not None:
            scored.complete()
        return Scores.of(scored)


def prune(
    model: nn.Module,
    batches: Batches,
    *,
    by: str | Path | Blend | Mapping[str, Tensor],
    budget: Mapping[str, Any] | Budget = HALF,
    allocation: str | Allocation = "uniform",
    scope: str = "all",
    device: str | torch.device = "auto",
    seed: int = 0,
    ratings: RatingsGiven | None = None,
    group_rule: str = "mean_rank",
    relevance_per_class: int | None = PER_CLASS,
    keep: Mapping[str, Any] | None = None,
    round_to: int | None = None,
    ignore: Sequence[str] = (),
    ignore_inputs: Sequence[str] = (),
    structure: Structure | None = None,
    loss: Loss | None = None,
    forward: Forward | None = None,
    progress: Reporting = AUTO,
) -> Pruned:
    """Prune a network to a budget; the model is left untouched and the result is not retrained.

    A model in another number format than float32 is measured as a float32 copy; the result is in its own format.
    by: a criterion's name, a Blend or the path of its file (ending in .json), or scores of your own (group -> [C],
    higher = more important). A blend that was found on another network is adapted to this one by stage and depth, see
    `blendsearch.blending.adapt_blend`.
    budget: {"flops": 0.5}, {"params": 0.4}, {"filters": 0.6} or {"latency": 0.7} (of one image on the device, by
    a table that is measured first): the share that stays; of several kinds, all hold. Optionally with "min_keep", the
    share of each group that always stays. allocation: how many filters each group loses; what it has to measure, it
    measures on the batches; "evolved" takes the shares of the layers from the blend.
    keep: shares of single layers, {"layer1.*": 0.8, "conv1": (0.3, 0.9)}: names or patterns of groups, convolutions or
    modules around them, each with the share of filters that stays, or the least and the most (also {"max": 0.9}
    alone). They come before min_keep, and upper ones before the budget, which may then not be used up. Coupled layers
    are one group: what is said of one holds for all. round_to: groups keep a multiple of so many filters, or all.
    scope, device, seed, ratings, group_rule, relevance_per_class, ignore, ignore_inputs, structure, loss, forward and
    progress: as in `score`.
    Raises BudgetError when the budget is impossible, and other BlendsearchError subclasses for wrong input.
    """
    limits = read_budget(budget, keep, round_to)
    terms = Terms(
        scope=scope, device=device, seed=seed, ratings=ratings, group_rule=group_rule,
        relevance_per_class=relevance_per_class, ignore=ignore, ignore_inputs=ignore_inputs, structure=structure,
        loss=loss, forward=forward,
    )  # fmt: skip
    with reporting(progress) as report:
        with on_own_terms():
            given = Pruning.of(model, batches, by, limits, allocation=allocation, terms=terms, progress=report)
        return next(_step_by_step(model, given, [limits], report))


def steps(
    model: nn.Module,
    batches: Batches,
    *,
    by: str | Path | Blend | Mapping[str, Tensor],
    budget: Mapping[str, Any] | Budget = HALF,
    steps: int = 10,
    ladder: str = "geometric",
    allocation: str | Allocation = "uniform",
    scope: str = "all",
    device: str | torch.device = "auto",
    seed: int = 0,
    ratings: RatingsGiven | None = None,
    group_rule: str = "mean_rank",
    relevance_per_class: int | None = PER_CLASS,
    keep: Mapping[str, Any] | None = None,
    round_to: int | None = None,
    ignore: Sequence[str] = (),
    ignore_inputs: Sequence[str] = (),
    structure: Structure | None = None,
    loss: Loss | None = None,
    forward: Forward | None = None,
    progress: Reporting = AUTO,
) -> Iterator[Pruned]:
    """Prune a network step by step, with a training loop of your own in between; the model is left untouched.

        for step in blendsearch.steps(model, loader, by="taylor", budget={"flops": 0.3}, steps=10):
            train(step.network)  # in place

    Yields a `Pruned` after each step. The next one scores `step.network` as it is by then, and prunes it further; a
    step's plan and ratios are against the original. The last step meets the budget.
    steps: how many. ladder: what they leave: "geometric" takes the same share of the cost that is left in each step
    (0.5 in two: 0.71, 0.5), "linear" the same amount (0.75, 0.5). Scores of your own stay as they are given. The rest
    is as in `prune`; wrong input is told by this call, before the first step.
    """
    if ladder not in LADDERS:
        raise unknown_name("ladder", ladder, LADDERS, "ladder")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise BudgetError(f"steps: {quoted(steps)} given, allowed: a whole number of at least 1")
    limits = read_budget(budget, keep, round_to)
    terms = Terms(
        scope=scope, device=device, seed=seed, ratings=ratings, group_rule=group_rule,
        relevance_per_class=relevance_per_class, ignore=ignore, ignore_inputs=ignore_inputs, structure=structure,
        loss=loss, forward=forward,
    )  # fmt: skip
    with reporting(progress) as report, on_own_terms():
        given = Pruning.of(model, batches, by, limits, allocation=allocation, terms=terms, progress=report)
    return _step_by_step(model, given, rungs(limits, steps, ladder), progress)


def _step_by_step(
    network: nn.Module, given: Pruning, targets: Sequence[Budget], progress: Reporting
) -> Iterator[Pruned]:
    structure, plan = given.structure, Plan.full(given.structure.widths)
    for number, target in enumerate(targets):
        if max(plan.counts.values()) > 1:  # else nothing can go any more
            with reporting(progress) as report, on_own_terms():
                if number:
                    structure = given.structure.again(network, plan, report)
                cut = given.plan(network, structure, plan, target, progress=report)
                network, plan = structure.slice(network, cut), plan.then(cut)
        yield _pruned(given, network, plan)


def _pruned(given: Pruning, network: nn.Module, plan: Plan) -> Pruned:
    cost = given.structure.cost
    return Pruned(
        network=network,
        plan=plan,
        flops_ratio=cost.ratio("flops", plan.counts),
        params_ratio=cost.ratio("params", plan.counts),
        rule=given.rule,
    )


def search(
    space: Space | Mapping[str, Any] | str | Path | nn.Module,
    *,
    train: Batches | None = None,
    validation: Batches | None = None,
    test: Batches | None = None,
    budget: Mapping[str, Any] | Budget | None = None,
    loss: Loss | None = None,
    metric: Metric | None = None,
    train_fn: TrainFunction | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    progress: Reporting = AUTO,
    **settings: Any,
) -> Campaign:
    """Run a search campaign: train, score, cluster, evolve a blend, retrain it beside every criterion, report.

        campaign = blendsearch.search(model, train=train_loader, validation=val_loader, test=test_loader,
                                      budget={"flops": 0.5}, train_fn=fine_tune)
        campaign.network  # the one to ship

    space: your trained network, with loaders beside it; or a Space, the same as a dict, or the path of a space file,
    with nothing beside it. The network is left untouched.
    train, validation, test: loaders of (images [N, C, H, W], labels [N]). Calibration images are set apart from train
    (`data={"calibration": 512}`), search images come out of validation (at most `data.search` of them) or, where there
    is none, of train; test images are read once, at the end, and held out of train where none are given
    (`data={"test": 500}`). Of a DataLoader over a map-style dataset the dataset is read by number, in an order of the
    campaign's own, those of its items that the sampler yields; other iterables are kept in memory. What is held out of
    a train dataset with random transforms is measured with them: give such a one validation and test, too.
    budget: what stays, as in `prune`; default half of the FLOPs. train_fn: your own retraining, train_fn(network), of
    each pruned network, in place or returning the trained one, on terms that are equal for all; torch, numpy and random
    are seeded before it. Without it nothing is retrained, but refitted without labels, unless settings say how long:
    retraining={"epochs": 10, "lr": 0.01}.
    loss, metric: for networks that do not tell classes of images apart. loss(outputs, targets) is a mean over the
    batch, metric(outputs, targets) one number for the batch, or one for each image, from 0 to 1, higher is better: it
    stands wherever accuracy is spoken of. Batches are then (images [N, C, H, W], targets [N, ...]); criteria that are
    about classes are left out, and without a loss those that need gradients. Proxies that train lower the loss, too.
    settings: any other key of a space file: name="mine", seed=1, criteria=["l1", "taylor"], search={"population": 12},
    retraining={"seeds": 3} (with train_fn, too), ...
    run_dir: the campaign's folder; None makes a new one below runs/. resume: go on with the campaign of that folder (or
    the latest of its name), to the same result as if it had not been stopped; another model or other images are
    refused. progress: as in `score`.
    Returns the finished campaign: .network and .plan (what to ship), .blend, .summary (what summary.json holds),
    .run_dir and .report (its page).
    Raises ConfigError with every mistake of the settings at once, RunError for a folder that holds other things, and
    other BlendsearchError subclasses for data, networks and budgets that do not go together, before any work is done.
    """
    folder = Path(run_dir) if run_dir is not None else None
    loaders = {"train": train, "validation": validation, "test": test}
    if not isinstance(space, nn.Module):
        beside = {**loaders, "budget": budget, "loss": loss, "metric": metric, "train_fn": train_fn, **settings}
        refuse_beside_space([name for name, value in beside.items() if value is not None])
        with reporting(progress) as report:
            return run_search(read_space(space, resumed=resume), folder, resume, report)
    if train is None:
        raise DataError("train: not given; a model is searched with loaders beside it: search(model, train=..., ...)")
    with on_own_terms(), reporting(progress) as report:
        given = Given.of(space, Loaders(train, validation, test, metric), train_fn, loss)
        return run_search(space_of_objects(given, budget, settings, resumed=resume), folder, resume, report, given)
