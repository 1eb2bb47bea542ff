"""From the records of single retrainings to the numbers that are compared: means, spreads, paired differences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from blendsearch.results.paired import deviation, interval
from blendsearch.results.records.common import Bounds
from blendsearch.results.records.retraining import BLEND, RANDOM_SEARCH_NAME
from blendsearch.results.records.search import Outcome, RetrainedEntry
from blendsearch.results.runs import SearchRun


@dataclass(frozen=True, kw_only=True)
class Result:
    """A pruned and retrained network: accuracies in [0, 1] as means over retraining seeds.

    std: sample standard deviation of the test accuracy over seeds, None below two seeds. accuracies: seed ->
    test accuracy, empty without records/retrained.json. losses: training loss by epoch, mean over seeds. steps:
    optimiser steps, mean over seeds. pruned_test_accuracy: before retraining, see `Averages`. allocation: of criteria
    and rivals, which may have another than the blend. is_criterion: whether this is a base criterion, and neither the
    blend nor one of its parts, a rival or the random search.
    """

    name: str
    test_accuracy: float
    std: float | None
    accuracies: dict[int, float]
    seeds: int
    search_accuracy: float
    proxy: float | None
    flops_ratio: float
    params_ratio: float
    latency_ms: float | None
    losses: tuple[float, ...]
    steps: float | None
    pruned_test_accuracy: float | None
    allocation: str | None
    is_criterion: bool

    @property
    def is_blend(self) -> bool:
        """Whether this is the blend and not a base criterion."""
        return self.name == BLEND


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Blend minus another over the seeds that both were retrained with; no interval below two."""

    name: str
    mean: float
    interval: Bounds | None
    single: tuple[float, ...]


def results(run: SearchRun) -> list[Result]:
    """Return blend, parts, rivals, criteria and the best of the random search, best mean test accuracy first."""
    summary = run.summary
    rows = defaultdict(list)
    for row in run.retrained:
        rows[BLEND if row.kind == BLEND else row.name].append(row)
    others = {BLEND: summary.blend, **summary.rivals, **summary.ablation}
    if summary.random_search is not None:
        others[RANDOM_SEARCH_NAME] = summary.random_search
    every = [
        _result(name, rows[name], outcome, run, is_criterion=name not in others)
        for name, outcome in {**summary.criteria, **others}.items()
    ]
    return sorted(every, key=lambda result: (-result.test_accuracy, result.name))


def differences(run: SearchRun) -> list[PairedDifference]:
    """Return the blend minus each other by paired seeds with 95 % intervals, smallest mean difference first.

    The intervals are the campaign's own, each for itself; Student's t where its summary has none for a pair.
    """
    by_name = {result.name: result.accuracies for result in results(run)}
    blend = by_name.pop(BLEND)
    found = []
    for name, accuracies in by_name.items():
        single = [blend[seed] - accuracies[seed] for seed in sorted(blend.keys() & accuracies.keys())]
        if single:
            mean, bounds = fmean(single), _told(run, name) or interval(single)
            found.append(PairedDifference(name=name, mean=mean, interval=bounds, single=tuple(single)))
    return sorted(found, key=lambda difference: difference.mean)


def _told(run: SearchRun, name: str) -> Bounds | None:
    """Return the interval of the blend minus another as the campaign's summary has it."""
    comparison = run.summary.comparison
    if name in run.summary.ablation:
        return run.summary.ablation[name].interval
    differences = {**comparison.differences, **comparison.rivals, RANDOM_SEARCH_NAME: comparison.random_search}
    found = differences.get(name)
    return None if found is None else found.interval


def _result(
    name: str, rows: Sequence[RetrainedEntry], outcome: Outcome, run: SearchRun, *, is_criterion: bool
) -> Result:
    accuracies = {row.seed: row.test_accuracy for row in rows}
    values = list(accuracies.values())
    return Result(
        name=name,
        test_accuracy=fmean(values) if values else outcome.test_accuracy,
        std=deviation(values) if values else outcome.test_accuracy_std,
        accuracies=accuracies,
        seeds=len(values) or run.summary.seeds,
        search_accuracy=outcome.search_accuracy,
        proxy=outcome.proxy,
        flops_ratio=outcome.flops_ratio,
        params_ratio=outcome.params_ratio,
        latency_ms=outcome.latency_ms,
        losses=_mean_curve([row.loss for row in rows]),
        steps=_mean_steps(rows, outcome.steps),
        pruned_test_accuracy=outcome.pruned_test_accuracy,
        allocation=outcome.allocation if is_criterion or name in run.summary.rivals else None,
        is_criterion=is_criterion,
    )


def _mean_steps(rows: Sequence[RetrainedEntry], otherwise: float | None) -> float | None:
    given = [row.steps for row in rows if row.steps is not None]
    return fmean(given) if given else otherwise


def _mean_curve(curves: Sequence[Sequence[float | None]]) -> tuple[float, ...]:
    """Return the mean of the curves as far as all of them reach; a diverged epoch (no number) ends a curve."""
    finite = []
    for curve in curves:
        stop = curve.index(None) if None in curve else len(curve)
        finite.append([value for value in curve[:stop] if value is not None])
    return tuple(fmean(values) for values in zip(*finite, strict=False))
