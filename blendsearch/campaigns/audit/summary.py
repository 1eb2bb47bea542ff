"""What an audit's estimates and retrainings say of each proxy: tau, its interval, what noise allows, cost, regret."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from blendsearch.results.paired import fidelity
from blendsearch.structure import Plan

COMBINED = "mean rank of all"
"""The name of a proxy that stands beside those given: each plan's rank averaged over them."""


@dataclass(frozen=True)
class Drawn:
    """A plan to be audited; kind: "criterion", "random" or "evolved"."""

    name: str
    kind: str
    plan: Plan


def judged(
    plans: list[Drawn],
    estimates: Mapping[str, Mapping[str, list[float]]],
    records: list[dict[str, Any]],
    training_passes: Callable[[float], float],
) -> dict[str, Any]:
    """Return proxies (tau, interval, of the ceiling, cost, regret), the noise ceiling, and every plan's numbers.

    cost: mean seconds of an estimate over those of a retraining. passes_cost: the same of images run through the
    network, one trained on counting three, which does not depend on what else the machine did; without closed-form
    solutions, which run no image. regret: how much accuracy is lost by taking the
    plan that the proxy puts first instead of the best of all, in [0, 1].
    """
    names = [one.name for one in plans]
    by_seed: dict[int, dict[str, float]] = {}
    for record in records:
        by_seed.setdefault(record["seed"], {})[record["name"]] = record["test_accuracy"]
    truth = {name: statistics.fmean(tests[name] for tests in by_seed.values()) for name in names}
    seconds = statistics.fmean(record["seconds"] for record in records)
    ceiling = _ceiling(list(by_seed.values()))
    values = {proxy: {name: found[name][0] for name in names} for proxy, found in estimates.items()}
    costs = {proxy: statistics.fmean(found[name][1] for name in names) for proxy, found in estimates.items()}
    passes = {proxy: _mean_passes([found[name] for name in names]) for proxy, found in estimates.items()}
    trained = statistics.fmean(training_passes(record["steps"]) for record in records)
    if len(values) > 1:
        values[COMBINED], costs[COMBINED] = _mean_ranks(values, names), sum(costs.values())
        known = [count for count in passes.values() if count is not None]
        passes[COMBINED] = sum(known) if len(known) == len(passes) else None
    best = max(truth.values())
    proxies = {}
    for proxy, own in values.items():
        found = fidelity(own, truth)
        proxies[proxy] = {
            "tau": found["tau"] if found else None,
            "interval": found["interval"] if found else None,
            "of_ceiling": found["tau"] / ceiling["tau"] if found and ceiling and ceiling["tau"] > 0 else None,
            "seconds": costs[proxy],
            "cost": costs[proxy] / seconds if seconds else None,
            "passes_cost": _share(passes[proxy], trained),
            "regret": best - truth[max(names, key=lambda name: own[name])],
        }
    rows = [
        {
            "name": one.name,
            "kind": one.kind,
            "test_accuracy": truth[one.name],
            "seeds": [tests[one.name] for tests in by_seed.values()],
            "estimates": {proxy: own[one.name] for proxy, own in values.items()},
        }
        for one in plans
    ]
    return {"ceiling": ceiling, "retraining_seconds": seconds, "proxies": proxies, "plans": rows}


def _mean_passes(found: Sequence[Sequence[float]]) -> float | None:
    """Return the mean passes of estimates, None where an older version did not record them."""
    return statistics.fmean(one[2] for one in found) if all(len(one) > 2 for one in found) else None


def _share(part: float | None, whole: float) -> float | None:
    return None if part is None or not whole else part / whole


def _ceiling(by_seed: list[dict[str, float]]) -> dict[str, Any] | None:
    """Return Kendall's tau between two retrainings that differ in the seed alone, the mean over pairs of seeds."""
    pairs = [fidelity(first, second) for first, second in itertools.combinations(by_seed, 2)]
    found = [pair for pair in pairs if pair]
    if not found:
        return None
    bounds = [statistics.fmean(pair["interval"][end] for pair in found) for end in (0, 1)]
    return {"tau": statistics.fmean(pair["tau"] for pair in found), "interval": bounds, "pairs": len(found)}


def _mean_ranks(values: Mapping[str, Mapping[str, float]], names: list[str]) -> dict[str, float]:
    """Return each plan's rank in [0, 1], averaged over the proxies."""
    ranks = [stats.rankdata([own[name] for name in names]) for own in values.values()]
    mean = (np.mean(ranks, axis=0) - 1) / max(1, len(names) - 1)
    return dict(zip(names, mean.tolist(), strict=True))
