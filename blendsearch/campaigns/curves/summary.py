"""From the cells of a scarce-data run to its curves, their areas, and relevance against the rest."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from blendsearch.criteria import CRITERIA

RELEVANCE = "relevance"
CHANCE = "chance"
# What a criterion looks at, the richest first: one that needs weights and gradients is counted under gradients.
RICHEST_FIRST = (RELEVANCE, "gradients", "activations", "ratings", "batchnorm", "weights")
UNITS = {"flops": "FLOPs", "params": "parameters", "filters": "filters", "latency": "latency"}

Curve = dict[str, Any]


def evidence(criterion: str) -> str:
    """Return the richest that a criterion looks at, which may be more than the family it is listed under."""
    needs = {need.split(".")[0] for need in CRITERIA.get(criterion).needs}
    return next((family for family in RICHEST_FIRST if family in needs), CHANCE)


def curves_of(records: Sequence[Mapping[str, Any]], removed: Sequence[float], unpruned: float) -> list[Curve]:
    """Return one curve a criterion and number of images, in the order of the records.

    records: cells with samples, draw and accuracy (criterion -> one a share removed). Keys: criterion, evidence,
    samples (images per class; None where no image is looked at), mean, low and high (mean and range over the
    draws, one a share removed), areas (one a draw), and area, area_low, area_high over these.
    """
    draws: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    for record in records:
        for criterion, accuracies in record["accuracy"].items():
            draws[criterion, record["samples"]].append(accuracies)
    return [
        _curve(criterion, samples, rows, removed, unpruned)
        for (criterion, samples), rows in sorted(draws.items(), key=lambda item: item[0][1])
    ]


def _curve(criterion: str, samples: int, rows: list[list[float]], removed: Sequence[float], unpruned: float) -> Curve:
    columns = list(zip(*rows, strict=True))
    areas = [area(removed, row, unpruned) for row in rows]
    return {
        "criterion": criterion,
        "evidence": evidence(criterion),
        "samples": samples or None,
        "mean": [statistics.fmean(column) for column in columns],
        "low": [min(column) for column in columns],
        "high": [max(column) for column in columns],
        "areas": areas,
        "area": statistics.fmean(areas),
        "area_low": min(areas),
        "area_high": max(areas),
    }


def area(removed: Sequence[float], accuracies: Sequence[float], unpruned: float) -> float:
    """Return the mean accuracy from nothing to the last share removed, by the trapezoid rule; in [0, 1]."""
    shares, heights = [0.0, *removed], [unpruned, *accuracies]
    steps = zip(shares, shares[1:], heights, heights[1:], strict=False)
    return sum((right - left) * (a + b) / 2 for left, right, a, b in steps) / shares[-1]


def compare_families(
    curves: Sequence[Curve], samples_per_class: Sequence[int], removed: Sequence[float], kind: str
) -> dict[str, Any]:
    """Compare relevance with the rest by area, for every number of images; see `_compared` for the keys."""
    by_samples = {str(samples): _compared(curves, samples) for samples in samples_per_class}
    where = f"over 0 to {100 * removed[-1]:g} % of the {UNITS[kind]} removed, without retraining"
    return {"by_samples": by_samples, "sentence": f"{_headline(by_samples)}, {where}."}


def _compared(curves: Sequence[Curve], samples: int) -> dict[str, Any]:
    """Compare the best relevance criterion with the best of the others, draw by draw.

    Keys: families (what is looked at -> mean area of its criteria, and the best one with its area), best, rival,
    difference (mean of the areas' differences over the draws), range of these, ahead (draws in which relevance
    is), draws, verdict. Without relevance criteria, or with nothing else, best is None.
    """
    shown = [curve for curve in curves if curve["samples"] in (samples, None)]
    families: dict[str, list[Curve]] = defaultdict(list)
    for curve in shown:
        families[curve["evidence"]].append(curve)
    result: dict[str, Any] = {
        "families": {
            family: {
                "area": statistics.fmean(curve["area"] for curve in own),
                "best": _best(own)["criterion"],
                "best_area": _best(own)["area"],
            }
            for family, own in families.items()
        }
    }
    others = [curve for curve in shown if curve["evidence"] != RELEVANCE]
    if not others or RELEVANCE not in families:
        return {**result, "best": None, "rival": _best(shown)["criterion"]}
    best, rival = _best(families[RELEVANCE]), _best(others)
    differences = [mine - theirs for mine, theirs in _paired(best["areas"], rival["areas"])]
    ahead = sum(difference > 0 for difference in differences)
    behind = sum(difference < 0 for difference in differences)
    return {
        **result,
        "best": best["criterion"],
        "rival": rival["criterion"],
        "difference": statistics.fmean(differences),
        "range": [min(differences), max(differences)],
        "ahead": ahead,
        "draws": len(differences),
        "verdict": "ahead" if ahead == len(differences) else "behind" if behind == len(differences) else "open",
    }


def _best(curves: Sequence[Curve]) -> Curve:
    return max(curves, key=lambda curve: curve["area"])


def _paired(left: Sequence[float], right: Sequence[float]) -> list[tuple[float, float]]:
    """Pair areas by draw; a criterion that looks at no image has the same one in every draw."""
    count = max(len(left), len(right))
    return list(zip(*(list(side) * (count if len(side) == 1 else 1) for side in (left, right)), strict=True))


def _headline(by_samples: Mapping[str, Mapping[str, Any]]) -> str:
    if any(entry["best"] is None for entry in by_samples.values()):
        rivals: dict[str, list[str]] = defaultdict(list)
        for samples, entry in by_samples.items():
            rivals[entry["rival"]].append(samples)
        parts = [f"{name} keeps most accuracy with {_images(counts)}" for name, counts in rivals.items()]
        return "; ".join(parts)
    words = {
        "ahead": "is ahead of the best of the others in every draw",
        "behind": "is behind the best of the others in every draw",
        "open": "is neither ahead of nor behind the best of the others in every draw",
    }
    parts = []
    for verdict, said in words.items():
        counts = [samples for samples, entry in by_samples.items() if entry["verdict"] == verdict]
        if counts:
            parts.append(f"{said} with {_images(counts)}")
    return "The best relevance criterion " + ", and ".join(parts)


def _images(counts: Sequence[str]) -> str:
    listed = counts[0] if len(counts) == 1 else f"{', '.join(counts[:-1])} and {counts[-1]}"
    return f"{listed} {'image' if listed == '1' else 'images'} per class"
