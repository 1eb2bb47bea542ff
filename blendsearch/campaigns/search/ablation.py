"""What a blend with evolved shares owes to each of its two parts: each is retrained beside it without the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from blendsearch.blending import Blend
from blendsearch.evolution.fitness import Planner
from blendsearch.evolution.rungs import Fitness
from blendsearch.experiment.contenders import Contender, best_allocated, contender
from blendsearch.results.paired import averages, paired, same_filters, told

ABLATION = "ablation"
"""The kind of these contenders."""


def parts(planner: Planner, fitness: Fitness, blend: Blend, allocation_name: str) -> dict[str, Contender]:
    """Return name -> contender: the blend's shares under a single criterion, and the blend under given shares.

    The criterion is the one that the proxy puts first under those shares, the allocation that of the evolved one's
    starts which the proxy prefers for the blend: the strongest rivals that cost no search.
    """
    singles = {name: replace(Blend.single(name), keep=blend.keep) for name in planner.scores}
    values = dict(zip(singles, fitness.deciding([planner.plan(single) for single in singles.values()]), strict=True))
    first = max(values, key=values.__getitem__)
    plain = best_allocated(planner, fitness, replace(blend, keep={}), allocation_name, ABLATION)
    return {
        f"{first} with blend shares": contender(allocation_name, planner, singles[first], values[first], ABLATION),
        f"blend with {plain.allocation_name} shares": plain,
    }


def part_results(contenders: Mapping[str, Contender], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return each part's proxy, allocation, averages over the seeds, and how the blend compares with it.

    Keys of the comparison: difference (blend minus part, in [0, 1]), interval, verdict, sentence.
    """
    found = {}
    for name, one in contenders.items():
        if one.kind == ABLATION:
            measured = {"proxy": one.proxy, "allocation": one.allocation_name, **averages(records, name, ABLATION)}
            found[name] = {**measured, **_against(records, name)}
    return found


def _against(records: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    rival = f"the {name}" if name.startswith("blend ") else name
    found = told(paired(records, name, ABLATION), rival)
    if name in same_filters(records, ABLATION):
        found["sentence"] = f"The blend keeps the same filters as {rival}."
    return found
