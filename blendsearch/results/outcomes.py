"""From the records of single retrainings to the numbers that are compared: means, spreads, paired differences."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass

from scipy import stats

from blendsearch.results.records.search import Outcome, Retrained, Run

BLEND = "blend"
CONTROL = "random search"


@dataclass(frozen=True)
class Result:
    """A pruned and retrained network: accuracies in [0, 1] as means over retraining seeds.

    std: sample standard deviation of the test accuracy over seeds, None below two seeds. accuracies: seed ->
    test accuracy. losses: training loss by epoch, mean over seeds. steps: optimiser steps, mean over seeds.
    is_criterion: whether this is a base criterion, and neither the blend nor one of its parts nor the control.
    """

    name: str
    test_accuracy: float | None
    std: float | None
    accuracies: dict[int, float]
    seeds: int
    search_accuracy: float | None
    proxy: float | None
    flops_ratio: float | None
    params_ratio: float | None
    latency_ms: float | None
    losses: tuple[float, ...]
    steps: float | None
    allocation: str | None = None
    is_criterion: bool = True

    @property
    def is_blend(self) -> bool:
        """Whether this is the blend and not a base criterion."""
        return self.name == BLEND


@dataclass(frozen=True)
class Difference:
    """Blend minus criterion over the seeds that both were retrained with; low and high are None below two."""

    criterion: str
    mean: float
    low: float | None
    high: float | None
    single: tuple[float, ...]


def results(run: Run) -> list[Result]:
    """Return blend, parts, base criteria and control, best mean test accuracy first, unfinished ones last."""
    rows = defaultdict(list)
    for row in run.retrained:
        rows[BLEND if row.kind == "blend" else row.name].append(row)
    outcomes = {BLEND: run.summary.blend, **run.summary.criteria}
    if run.summary.control is not None:
        outcomes[CONTROL] = run.summary.control
    outcomes |= run.summary.ablation
    others = {BLEND, CONTROL, *run.summary.ablation}
    names = list(dict.fromkeys([*outcomes, *rows]))
    every = [
        _result(name, rows[name], outcomes.get(name, Outcome()), run.summary.seeds, name not in others)
        for name in names
    ]
    return sorted(every, key=lambda result: (-_or_minus_one(result.test_accuracy), result.name))


def best_criterion(run: Run) -> str | None:
    """Return the criterion that the campaign compared the blend with, else the one with the best mean."""
    if run.summary.comparison.best_criterion:
        return run.summary.comparison.best_criterion
    tested = [item for item in results(run) if item.is_criterion and item.test_accuracy is not None]
    return tested[0].name if tested else None


def differences(run: Run) -> list[Difference]:
    """Return blend - criterion by paired seeds with 95 % t intervals, smallest mean difference first."""
    by_name = {result.name: result for result in results(run)}
    blend = by_name[BLEND].accuracies
    found = []
    for name, result in by_name.items():
        shared = sorted(blend.keys() & result.accuracies.keys())
        if name != BLEND and shared:
            found.append(_difference(name, [blend[seed] - result.accuracies[seed] for seed in shared]))
    return sorted(found, key=lambda difference: difference.mean)


def _result(name: str, rows: list[Retrained], outcome: Outcome, seeds: int | None, is_criterion: bool) -> Result:
    accuracies = {row.seed: row.test_accuracy for row in rows if row.test_accuracy is not None}
    values = list(accuracies.values())
    measured = outcome.test_accuracy is not None
    return Result(
        name=name,
        test_accuracy=statistics.fmean(values) if values else outcome.test_accuracy,
        std=_std(values) if values else outcome.test_accuracy_std,
        accuracies=accuracies,
        seeds=len(values) or (seeds or 1 if measured else 0),
        search_accuracy=_mean([row.search_accuracy for row in rows], outcome.search_accuracy),
        proxy=outcome.proxy if outcome.proxy is not None else _mean([row.proxy for row in rows], None),
        flops_ratio=_mean([row.flops_ratio for row in rows], outcome.flops_ratio),
        params_ratio=_mean([row.params_ratio for row in rows], outcome.params_ratio),
        latency_ms=outcome.latency_ms,
        losses=_mean_curve([row.loss for row in rows]),
        steps=_mean([row.steps for row in rows], outcome.steps),
        allocation=outcome.allocation if is_criterion else None,
        is_criterion=is_criterion,
    )


def _difference(name: str, values: list[float]) -> Difference:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Difference(name, mean, None, None, tuple(values))
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return Difference(name, mean, mean - reach, mean + reach, tuple(values))


def _std(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _mean(values: list[float | None], otherwise: float | None) -> float | None:
    given = [value for value in values if value is not None]
    return statistics.fmean(given) if given else otherwise


def _mean_curve(curves: list[list[float | None]]) -> tuple[float, ...]:
    """Return the mean of the curves as far as all of them reach; a diverged epoch (no number) ends a curve."""
    finite = []
    for curve in curves:
        stop = curve.index(None) if None in curve else len(curve)
        finite.append([value for value in curve[:stop] if value is not None])
    return tuple(statistics.fmean(values) for values in zip(*finite, strict=False))


def _or_minus_one(value: float | None) -> float:
    return -1.0 if value is None else value
