"""The honest comparison: paired differences between the blend and the criteria, and whether the proxy told true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import numpy as np
from scipy import stats

from blendsearch.results.records.common import Averages, Bounds, Difference, FidelityRecord
from blendsearch.results.records.retraining import BLEND, CRITERION, RANDOM_SEARCH, RetrainingOutcome
from blendsearch.results.records.search import Comparison
from blendsearch.results.words import verdict_sentence

Outcomes = Sequence[RetrainingOutcome]


def average(outcomes: Outcomes, name: str, kind: str) -> Averages:
    """Average one contender over its seeds."""
    own = [one for one in outcomes if (one.name, one.kind) == (name, kind)]
    steps = [one.steps for one in own if one.steps is not None]
    return Averages(
        search_accuracy=fmean(one.search_accuracy for one in own),
        test_accuracy=fmean(one.test_accuracy for one in own),
        flops_ratio=fmean(one.flops_ratio for one in own),
        params_ratio=fmean(one.params_ratio for one in own),
        test_accuracy_std=deviation([one.test_accuracy for one in own]),
        steps=fmean(steps) if steps else None,
    )


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation, or None for fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def interval(differences: Sequence[float]) -> Bounds | None:
    """Return the 95 % interval of the mean of paired differences (Student's t), or None for fewer than two."""
    if len(differences) < 2:
        return None
    mean, error = fmean(differences), stats.sem(differences)
    if error == 0:
        return (mean, mean)
    low, high = stats.t.interval(0.95, len(differences) - 1, loc=mean, scale=error)
    return (float(low), float(high))


def verdict_of(bounds: Bounds | None) -> str:
    """Return what an interval of a difference says: "beats", "worse" or "no difference shown"."""
    if bounds is None:
        return "not tested (one seed)"
    if bounds[0] > 0:
        return "beats"
    return "worse" if bounds[1] < 0 else "no difference shown"


def pair_by_seed(outcomes: Outcomes, name: str, kind: str = CRITERION, of: str = BLEND) -> list[float]:
    """Return the blend's (of: name and kind of what stands in its place) test accuracy minus another's, by seed."""
    tests = {(one.kind, one.name, one.seed): one.test_accuracy for one in outcomes}
    seeds = sorted({one.seed for one in outcomes if one.kind == of})
    return [tests[of, of, seed] - tests[kind, name, seed] for seed in seeds]


def compare_pairs(differences: Sequence[float], baseline: str | None = None) -> Difference:
    """Return mean, interval and verdict of paired differences; of the blend minus a baseline a sentence, too."""
    bounds, mean = interval(differences), fmean(differences)
    verdict = verdict_of(bounds)
    sentence = baseline and verdict_sentence("the blend", baseline, mean, bounds, verdict, len(differences))
    return Difference(difference=mean, interval=bounds, verdict=verdict, sentence=sentence)


def compare(outcomes: Outcomes) -> Comparison:
    """Compare the blend with the criterion that has the highest mean test accuracy, and with all others.

    Choosing the baseline by the very numbers compared favours the baseline, so a "beats" is on the safe side.
    """
    names = sorted({one.name for one in outcomes if one.kind == CRITERION})
    best = max(names, key=lambda name: average(outcomes, name, CRITERION).test_accuracy)
    pairs = {name: pair_by_seed(outcomes, name) for name in names}
    found = compare_pairs(pairs[best], f"the best criterion ({best})")
    sentence, twins = str(found.sentence), same_filters(outcomes)
    if twins:
        sentence += f" The blend keeps the same filters as {' and '.join(twins)}: the search found nothing better."
    return Comparison(
        best_criterion=best,
        difference=found.difference,
        interval=found.interval,
        verdict=found.verdict,
        sentence=sentence,
        same_filters=twins,
        differences={name: compare_pairs(values) for name, values in pairs.items()},
        random_search=_against_random_search(outcomes),
    )


def _against_random_search(outcomes: Outcomes) -> Difference | None:
    """Compare the blend with the best of a random search, where one was retrained."""
    name = next((one.name for one in outcomes if one.kind == RANDOM_SEARCH), None)
    if name is None:
        return None
    baseline = "the best of a random search of equal cost, which starts from the criteria too"
    found = compare_pairs(pair_by_seed(outcomes, name, RANDOM_SEARCH), baseline)
    if name not in same_filters(outcomes, RANDOM_SEARCH):
        return found
    twin = f"{baseline[0].upper()}{baseline[1:]}, keeps the same filters as the blend."
    return found.model_copy(update={"sentence": twin})


def same_filters(outcomes: Outcomes, kind: str = CRITERION, of: str = BLEND) -> list[str]:
    """Return the names of contenders that keep exactly the filters of the blend (see `pair_by_seed`), in every seed."""

    def plans(name: str, kind: str) -> list[object]:
        return [one.plan for one in outcomes if (one.name, one.kind) == (name, kind)]

    own = plans(of, of)
    names = dict.fromkeys(one.name for one in outcomes if one.kind == kind)
    return [name for name in names if own and None not in own and plans(name, kind) == own]


def measure_fidelity(
    proxies: Mapping[str, float], truths: Mapping[str, float], *, draws: int = 2000
) -> FidelityRecord | None:
    """Return Kendall's tau between proxy and retrained accuracy, with a 95 % bootstrap interval over contenders.

    proxies, truths: contender -> value; those of `truths` are looked at. None when fewer than three of them differ.
    """
    names = sorted(truths)
    x, y = np.array([proxies[n] for n in names]), np.array([truths[n] for n in names])
    if len(names) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    pick = np.random.default_rng(0).integers(0, len(names), (draws, len(names)))
    low, high = np.nanpercentile(_tau_b(x[pick], y[pick]), [2.5, 97.5])
    tau = float(stats.kendalltau(x, y).statistic)
    return FidelityRecord(tau=tau, interval=(float(low), float(high)), candidates=len(names))


def _tau_b(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of each row [draws, n]; nan where a row does not vary."""
    order_x = np.sign(x[:, :, None] - x[:, None, :])
    order_y = np.sign(y[:, :, None] - y[:, None, :])
    pairs = np.sqrt((order_x**2).sum((1, 2)) * (order_y**2).sum((1, 2)))
    with np.errstate(invalid="ignore"):
        return (order_x * order_y).sum((1, 2)) / pairs
