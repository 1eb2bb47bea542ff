"""What an audit's estimates and retrainings say of each proxy: tau, its interval, what noise allows, cost, regret."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy import stats

from blendsearch.proxies.passes import TRAINING_PASSES
from blendsearch.results.paired import measure_fidelity
from blendsearch.results.records.audit import (
    COMBINED,
    AuditFindings,
    CeilingRecord,
    DrawnPlan,
    Estimates,
    PlanEstimate,
    PlanRecord,
    ProxyRecord,
)
from blendsearch.results.records.retraining import RetrainingOutcome
from blendsearch.training.loop import steps_per_epoch


@dataclass(frozen=True)
class _Truth:
    """What retraining came to: plan -> mean test accuracy, tau between two seeds, and what one retraining cost."""

    accuracies: Mapping[str, float]
    ceiling: CeilingRecord | None
    seconds: float
    passes: float


def judge_proxies(
    plans: Sequence[DrawnPlan],
    estimates: Mapping[str, Estimates],
    outcomes: Sequence[RetrainingOutcome],
    passes: Callable[[float], float],
) -> AuditFindings:
    """Return what retrainings of plans say of each proxy's estimates; passes: of a retraining, from its steps."""
    by_seed: dict[int, dict[str, float]] = {}
    for one in outcomes:
        by_seed.setdefault(one.seed, {})[one.name] = one.test_accuracy
    truth = _Truth(
        accuracies={one.name: fmean(tests[one.name] for tests in by_seed.values()) for one in plans},
        ceiling=_measure_ceiling(list(by_seed.values())),
        seconds=fmean(one.seconds or 0.0 for one in outcomes),
        passes=fmean(passes(one.steps or 0) for one in outcomes),
    )
    if len(estimates) > 1:
        estimates = {**estimates, COMBINED: _combine(list(estimates.values()), list(truth.accuracies))}
    return AuditFindings(
        ceiling=truth.ceiling,
        retraining_seconds=truth.seconds,
        proxies={proxy: _judge(own, truth) for proxy, own in estimates.items()},
        plans=[
            PlanRecord(
                name=one.name,
                kind=one.kind,
                test_accuracy=truth.accuracies[one.name],
                seeds=[tests[one.name] for tests in by_seed.values()],
                estimates={proxy: own[one.name].value for proxy, own in estimates.items()},
            )
            for one in plans
        ],
    )


def count_passes(steps: float, *, images: int, batch_size: int) -> float:
    """Return the image passes of so many optimiser steps; the last batch of an epoch may be smaller."""
    epochs, rest = divmod(steps, steps_per_epoch(images, batch_size))
    return TRAINING_PASSES * (epochs * images + rest * batch_size)


def _judge(estimates: Estimates, truth: _Truth) -> ProxyRecord:
    values = {name: estimates[name].value for name in truth.accuracies}
    seconds = fmean(estimates[name].seconds for name in truth.accuracies)
    passes = [estimates[name].passes for name in truth.accuracies]
    known = [count for count in passes if count is not None]
    found, ceiling = measure_fidelity(values, truth.accuracies), truth.ceiling
    tau = found.tau if found else None
    allowed = ceiling.tau if ceiling else None
    return ProxyRecord(
        tau=tau,
        interval=found.interval if found else None,
        of_ceiling=tau / allowed if tau is not None and allowed is not None and allowed > 0 else None,
        seconds=seconds,
        cost=_share(seconds, truth.seconds),
        passes_cost=_share(fmean(known), truth.passes) if len(known) == len(passes) else None,
        regret=max(truth.accuracies.values()) - _accuracy_of_first(values, truth.accuracies),
    )


def _accuracy_of_first(values: Mapping[str, float], accuracies: Mapping[str, float]) -> float:
    """Return the accuracy of the plan with the highest value; the mean of those where a proxy does not tell which."""
    highest = max(values.values())
    return fmean(accuracies[name] for name, value in values.items() if value == highest)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _measure_ceiling(by_seed: Sequence[Mapping[str, float]]) -> CeilingRecord | None:
    pairs = [measure_fidelity(first, second) for first, second in itertools.combinations(by_seed, 2)]
    taus = [pair.tau for pair in pairs if pair and pair.tau is not None]
    bounds = [pair.interval for pair in pairs if pair and pair.interval]
    if not taus:
        return None
    low, high = (fmean(bound[end] for bound in bounds) for end in (0, 1))
    return CeilingRecord(tau=fmean(taus), interval=(low, high), pairs=len(taus))


def _combine(estimates: Sequence[Estimates], names: Sequence[str]) -> Estimates:
    """Return each plan's rank in [0, 1], averaged over proxies, at the cost of all of them."""
    ranks = [stats.rankdata([own[name].value for name in names]) for own in estimates]
    mean = (np.mean(ranks, axis=0) - 1) / max(1, len(names) - 1)
    combined = {}
    for name, value in zip(names, mean.tolist(), strict=True):
        passes = [own[name].passes for own in estimates]
        known = [count for count in passes if count is not None]
        all_passes = sum(known) if len(known) == len(passes) else None
        combined[name] = PlanEstimate(value, sum(own[name].seconds for own in estimates), all_passes)
    return combined
