"""The honest comparison: paired differences between the blend and the criteria, and whether the proxy told true."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from blendsearch.results.words import verdict_sentence

Records = Sequence[Mapping[str, Any]]
MEASURED = ("search_accuracy", "test_accuracy", "flops_ratio", "params_ratio")


def averages(records: Records, name: str, kind: str) -> dict[str, Any]:
    """Average one candidate over its seeds: the measured keys, test_accuracy_std (None for one seed), and steps.

    steps: optimiser steps of a retraining; None where a run of an older version did not count them.
    """
    own = [record for record in records if record["name"] == name and record["kind"] == kind]
    result: dict[str, Any] = {key: statistics.fmean(record[key] for record in own) for key in MEASURED}
    tests = [record["test_accuracy"] for record in own]
    result["test_accuracy_std"] = statistics.stdev(tests) if len(tests) > 1 else None
    steps = [record["steps"] for record in own if "steps" in record]
    result["steps"] = statistics.fmean(steps) if steps else None
    return result


def interval(differences: Sequence[float]) -> list[float] | None:
    """Return the 95 % interval of the mean of paired differences (Student's t), or None for fewer than two."""
    if len(differences) < 2:
        return None
    mean, error = statistics.fmean(differences), stats.sem(differences)
    if error == 0:
        return [mean, mean]
    low, high = stats.t.interval(0.95, len(differences) - 1, loc=mean, scale=error)
    return [float(low), float(high)]


def paired(records: Records, name: str, kind: str = "criterion", of: str = "blend") -> list[float]:
    """Return the blend's (of: name and kind of what stands in its place) test accuracy minus another's, by seed."""
    tests = {(record["kind"], record["name"], record["seed"]): record["test_accuracy"] for record in records}
    seeds = sorted({record["seed"] for record in records if record["kind"] == of})
    return [tests[of, of, seed] - tests[kind, name, seed] for seed in seeds]


def compare(records: Records) -> dict[str, Any]:
    """Compare the blend with the criterion that has the highest mean test accuracy.

    Choosing the rival by the very numbers compared favours the rival, so a "beats" is on the safe side. Keys:
    best_criterion, difference, interval, verdict, sentence, differences (criterion -> mean and interval); control
    (difference, interval, verdict, sentence against a search at random with as many evaluations, or None).
    """
    names = sorted({record["name"] for record in records if record["kind"] == "criterion"})
    means = {name: averages(records, name, "criterion")["test_accuracy"] for name in names}
    best = max(names, key=lambda name: means[name])
    pairs = {name: paired(records, name) for name in names}
    found = told(pairs[best], f"the best criterion ({best})")
    twins = same_filters(records)
    if twins:
        same = f"The blend keeps the same filters as {' and '.join(twins)}: the search found nothing better."
        found["sentence"] += f" {same}"
    return {
        "best_criterion": best,
        **found,
        "same_filters": twins,
        "differences": {
            name: {"difference": statistics.fmean(values), "interval": interval(values)}
            for name, values in pairs.items()
        },
        "control": _control(records),
    }


def _control(records: Records) -> dict[str, Any] | None:
    """Compare the blend with the best of a random search, where one was retrained."""
    name = next((record["name"] for record in records if record["kind"] == "control"), None)
    if name is None:
        return None
    rival = "the best of a random search of equal cost, which starts from the criteria too"
    found = told(paired(records, name, "control"), rival)
    if name in same_filters(records, "control"):
        found["sentence"] = f"{rival[0].upper()}{rival[1:]}, keeps the same filters as the blend."
    return found


def tested(differences: Sequence[float]) -> dict[str, Any]:
    """Return difference (the mean of paired ones), interval and verdict."""
    bounds = interval(differences)
    return {"difference": statistics.fmean(differences), "interval": bounds, "verdict": verdict_of(bounds)}


def told(differences: Sequence[float], rival: str) -> dict[str, Any]:
    """Return what `tested` does for the blend minus a rival, and the sentence that follows from it."""
    found = tested(differences)
    difference, bounds, verdict = found["difference"], found["interval"], found["verdict"]
    sentence = verdict_sentence("the blend", rival, difference, bounds, verdict, len(differences))
    return {**found, "sentence": sentence}


def same_filters(records: Records, kind: str = "criterion", of: str = "blend") -> list[str]:
    """Return the names of the candidates that keep exactly the filters of the blend (see `paired`), in every seed."""

    def plans(name: str, kind: str) -> list[Any]:
        return [record.get("plan") for record in records if (record["name"], record["kind"]) == (name, kind)]

    own = plans(of, of)
    names = dict.fromkeys(record["name"] for record in records if record["kind"] == kind)
    return [name for name in names if own and None not in own and plans(name, kind) == own]


def verdict_of(bounds: Sequence[float] | None) -> str:
    """Return what an interval of a difference says: "beats", "worse" or "no difference shown"."""
    if bounds is None:
        return "not tested (one seed)"
    if bounds[0] > 0:
        return "beats"
    return "worse" if bounds[1] < 0 else "no difference shown"


def fidelity(proxies: Mapping[str, float], truths: Mapping[str, float], *, draws: int = 2000) -> dict[str, Any] | None:
    """Return Kendall's tau between proxy and retrained accuracy, with a 95 % bootstrap interval over candidates.

    proxies, truths: candidate -> value; those of `truths` are looked at. None when fewer than three candidates differ.
    """
    names = sorted(truths)
    x, y = np.array([proxies[n] for n in names]), np.array([truths[n] for n in names])
    if len(names) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    pick = np.random.default_rng(0).integers(0, len(names), (draws, len(names)))
    low, high = np.nanpercentile(_tau_b(x[pick], y[pick]), [2.5, 97.5])
    tau = float(stats.kendalltau(x, y).statistic)
    return {"tau": tau, "interval": [float(low), float(high)], "candidates": len(names)}


def _tau_b(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of each row [draws, n]; nan where a row does not vary."""
    order_x = np.sign(x[:, :, None] - x[:, None, :])
    order_y = np.sign(y[:, :, None] - y[:, None, :])
    pairs = np.sqrt((order_x**2).sum((1, 2)) * (order_y**2).sum((1, 2)))
    with np.errstate(invalid="ignore"):
        return (order_x * order_y).sum((1, 2)) / pairs
