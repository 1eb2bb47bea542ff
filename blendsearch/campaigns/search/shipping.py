"""The network that a campaign ends with: chosen on the search images, whoever's it is, and what shipping it means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from blendsearch.blending import Scores
from blendsearch.experiment.contenders import Contender
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.latency import compare_batches
from blendsearch.experiment.retraining import Repetition, better, retrain_again
from blendsearch.experiment.unpruned import read_test
from blendsearch.results.paired import average
from blendsearch.results.records.common import Bounds
from blendsearch.results.records.retraining import ABLATION, BLEND, FRONT, FRONT_CRITERION, RetrainingOutcome
from blendsearch.results.records.search import Shipped
from blendsearch.results.redrawn import redraw
from blendsearch.results.words import percent, plain_points, plain_range
from blendsearch.schedules import Schedule
from blendsearch.structure import Plan

NETWORK_FILE = "network.safetensors"
PLAN_FILE = "plan.json"
MEGABYTE = 1e6
BEYOND_CHOICE = (FRONT, FRONT_CRITERION)
"""Kinds of contenders that have other budgets than the campaign's."""

Outcomes = Sequence[RetrainingOutcome]


@dataclass(frozen=True)
class Winner:
    """The retraining whose network is shipped, and that network."""

    outcome: RetrainingOutcome
    plan: Plan
    network: nn.Module


def ship_winner(
    experiment: Experiment,
    scores: Scores,
    contenders: Mapping[str, Contender],
    outcomes: Outcomes,
    schedule: Schedule,
) -> Winner:
    """Choose the network to ship and put its weights and plan where users look for them.

    Of the contenders whose mean accuracy on the search images is within one standard error of the highest, the one with
    the highest proxy wins: which of nearly equal ones is ahead there by an image or two says less than the proxy. At a
    tie the blend does, then who is ahead. Of the winner's networks it is the one that is best there. Where a folder of
    an earlier version did not keep it, it is retrained once more, to the same weights.
    Source: the one-standard-error rule (Breiman et al., Classification and Regression Trees, 1984, section 3.4.3).
    """
    folder = experiment.folder
    own = [one for one in outcomes if one.kind not in BEYOND_CHOICE]
    first = choose_winner(own, {name: one.proxy for name, one in contenders.items()}, len(experiment.splits.search))
    won = max((one for one in own if (one.name, one.kind) == (first.name, first.kind)), key=better)
    repetition = Repetition(won.name, won.kind, won.seed)
    if not folder.has(repetition.network):
        retrain_again(experiment, scores, contenders, schedule, repetition)
    weights = folder.read_tensors(repetition.network)
    folder.write_tensors(NETWORK_FILE, weights)
    # An iterative schedule decides anew at every step, so the network's plan is the one it ended with.
    assert won.plan is not None
    plan = Plan.from_dict(won.plan)
    folder.write_json(PLAN_FILE, plan.to_dict())
    return Winner(won, plan, _network(experiment, plan, weights))


def choose_winner(own: Outcomes, proxies: Mapping[str, float], images: int) -> RetrainingOutcome:
    """Return the first retraining of the contender that wins; images: how many the search accuracies were read on."""
    of = {(one.kind, one.name): average(own, one.name, one.kind).search_accuracy for one in own if one.seed == 0}
    best = max(of.values())
    enough = best - math.sqrt(best * (1 - best) / images)
    near = [one for one in own if one.seed == 0 and of[one.kind, one.name] >= enough]
    return max(near, key=lambda one: (proxies[one.name], one.kind == BLEND, of[one.kind, one.name]))


def _network(experiment: Experiment, plan: Plan, weights: Mapping[str, Tensor]) -> nn.Module:
    network = experiment.structure.slice(experiment.network.cpu(), plan)
    network.load_state_dict(dict(weights))
    return network.eval()


def summarise_shipped(experiment: Experiment, winner: Winner, outcomes: Outcomes) -> Shipped:
    """Return what shipping the winner means: accuracy lost, cost, size and latency."""
    won, structure, folder = winner.outcome, experiment.structure, experiment.folder
    own = [one for one in outcomes if one.kind not in BEYOND_CHOICE and one.seed == 0]
    means = {one.name: average(outcomes, one.name, one.kind).test_accuracy for one in own if one.kind != ABLATION}
    best = max(means, key=means.__getitem__)
    unpruned = read_test(experiment)
    lost = unpruned.accuracy - won.test_accuracy
    bounds = None
    if unpruned.correct is not None and won.correct is not None:
        differences = unpruned.correct.mask - won.correct.mask
        bounds = redraw({BLEND: differences[np.newaxis]}).alone(BLEND)
    bytes_of = {name: (folder / name).stat().st_size / MEGABYTE for name in (NETWORK_FILE, "baseline.safetensors")}
    return Shipped(
        name=won.name,
        kind=won.kind,
        seed=won.seed,
        candidates=len(own),
        search_accuracy=won.search_accuracy,
        test_accuracy=won.test_accuracy,
        lost=lost,
        interval=bounds,
        test_images=None if won.correct is None else won.correct.images,
        flops=structure.cost.flops(winner.plan.counts),
        params=sum(parameter.numel() for parameter in winner.network.parameters()),
        flops_ratio=won.flops_ratio,
        params_ratio=won.params_ratio,
        megabytes=round(bytes_of[NETWORK_FILE], 6),
        unpruned_megabytes=round(bytes_of["baseline.safetensors"], 6),
        latency=compare_batches(experiment, winner.network),
        best_on_test=best,
        best_on_test_accuracy=means[best],
        sentence=_tell(experiment, won, lost, bounds, len(own)),
    )


def _tell(experiment: Experiment, won: RetrainingOutcome, lost: float, bounds: Bounds | None, candidates: int) -> str:
    metric = None if experiment.given is None else experiment.given.metric_name
    accuracy = percent(won.test_accuracy)
    right = f"{accuracy} of the test images right" if metric is None else f"{metric} {accuracy} on the test images"
    whose = "the blend" if won.kind == BLEND else won.name
    range_ = "" if bounds is None else f" (95 % interval {plain_range((-bounds[1], -bounds[0]))})"
    return (
        f"Ship the network pruned by {whose}: {right}, "
        f"{plain_points(-lost)} points from the unpruned network{range_}, with {percent(won.flops_ratio, 1)} of its "
        f"FLOPs and {percent(won.params_ratio, 1)} of its parameters. It was chosen among {candidates} on the search "
        "images, by the proxy among those that are nearly equal there; no test image had a part in that."
    )
