"""The best set-aware blends chosen once more, layer by layer, each on what the already pruned network gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from blendsearch.blending import Blend
from blendsearch.campaigns.search.finals import Candidate
from blendsearch.evolution.failure import succeeded
from blendsearch.evolution.fitness import Planner
from blendsearch.evolution.problem import SearchProblem
from blendsearch.evolution.sequential import choose_sequentially
from blendsearch.experiment.contenders import Contender, enter_without_shares
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.problem import TILTS
from blendsearch.results.records.retraining import RIVAL, TILTED
from blendsearch.results.records.search import LayerByLayerRecord
from blendsearch.schedules import Refit
from blendsearch.structure import Plan
from blendsearch.training.compensation import Compensation

IMAGES = 512
"""Calibration images of the pass where the space does not say how many its compensation takes."""


def add_layer_by_layer(
    experiment: Experiment, name: str, judged: SearchProblem, candidates: Sequence[tuple[Candidate, Blend]]
) -> list[Candidate]:
    """Return the candidates, and those with a set-aware blend once more with sets chosen layer by layer, best first.

    The proxy is that of `judged`. Writes records/NAME.json, from which a stopped run's plans are read.
    """
    aware = [(one, blend) for one, blend in candidates if blend.set_aware]
    aware = aware[: experiment.space.search.layer_by_layer or 0]
    plans = _plans(experiment, name, [(judged.planner, blend) for _, blend in aware])
    values = judged.values(plans)
    again = [
        replace(one, plan=plan, proxy=value)
        for (one, _), plan, value in zip(aware, plans, values, strict=True)
        if plan.digest != one.plan.digest and succeeded(value)
    ]
    plain = [one for one, _ in candidates]
    return sorted([*plain, *again], key=lambda one: -one.proxy)


def enter_elimination(experiment: Experiment, judged: SearchProblem) -> Contender:
    """Return the rival that has no criteria: drop losses alone, layer by layer, the better of both ways."""
    plain = enter_without_shares(judged, Blend.elimination(), RIVAL)
    (plan,) = _plans(experiment, "elimination", [(judged.planner.under(plain.allocation), plain.blend)])
    (value,) = judged.values([plan])
    return replace(plain, plan=plan, proxy=value) if value > plain.proxy else plain


def enter_tilted(experiment: Experiment, seen: SearchProblem, judged: SearchProblem) -> Contender:
    """Return the rival that takes a handful of evaluations: drop losses tilted by the mean of all criteria's ranks.

    How far they are tilted, and whether at once or layer by layer, is what the proxy of `seen` puts first.
    """
    names = list(judged.planner.scores)
    entered = [enter_without_shares(seen, Blend.mean_of_ranks(names, tilt=tilt), RIVAL) for tilt in TILTS]
    tried = [(replace(one, plan=None), one.proxy) for one in entered]
    if experiment.space.search.layer_by_layer is not None:
        plans = _plans(experiment, "tilted", [(seen.planner.under(one.allocation), one.blend) for one in entered])
        again = seen.values(plans)
        tried += [(replace(one, plan=plan), value) for one, plan, value in zip(entered, plans, again, strict=True)]
    best = max(tried, key=lambda pair: pair[1])[0]
    plan = best.plan or judged.planner.under(best.allocation).plan(best.blend)
    return replace(best, proxy=judged.value(plan, TILTED))


def _plans(experiment: Experiment, name: str, blends: Sequence[tuple[Planner, Blend]]) -> list[Plan]:
    """Return the plan of each blend, under the allocation of its planner, from one pass over the unpruned network."""
    if not blends:
        return []

    def choose() -> LayerByLayerRecord:
        compensation = _compensation(experiment)
        found = []
        for number, (planner, blend) in enumerate(blends):
            experiment.progress("layer by layer", number, len(blends), "")
            found.append(choose_sequentially(planner, blend, experiment.network, compensation).to_dict())
        experiment.progress("layer by layer", len(blends), len(blends), "")
        return LayerByLayerRecord(plans=found)

    record = experiment.folder.cached(f"records/layer_by_layer-{name}.json", LayerByLayerRecord, choose)
    return [Plan.from_dict(one) for one in record.plans]


def _compensation(experiment: Experiment) -> Compensation:
    """Return the pass's least squares: on the images of the space's compensation, or on those of the calibration."""
    refit = experiment.compensation
    if refit is None:
        calibration = experiment.splits.calibration
        few = calibration.take(min(IMAGES, len(calibration)))
        refit = Refit(torch.cat([batch for batch, _ in few.batches(500)]))
    seed = experiment.seed("layer_by_layer")
    return refit.recorded(experiment.network, experiment.structure, experiment.compute, seed)
