"""From the draws of a scarce-data run to its curves, their areas, and relevance against the rest."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from blendsearch.criteria import CRITERIA
from blendsearch.results.records.curves import (
    RELEVANCE,
    Curve,
    CurvesComparison,
    DrawRecord,
    FamilyComparison,
    FamilyRecord,
)
from blendsearch.results.words import cost_name

CHANCE = "chance"
# What a criterion looks at, the richest first: one that needs weights and gradients is counted under gradients.
RICHEST_FIRST = (RELEVANCE, "gradients", "activations", "ratings", "batchnorm", "weights")


def richest_evidence(criteria: Iterable[str]) -> str:
    """Return the richest that criteria look at, such as those of a blend; it may be more than their family says."""
    needs = {need.split(".")[0] for name in criteria for need in CRITERIA.get(name).needs}
    return next((family for family in RICHEST_FIRST if family in needs), CHANCE)


def join_draws(
    draws: Iterable[DrawRecord], evidence: Mapping[str, str], removed: Sequence[float], unpruned: float
) -> list[Curve]:
    """Return one curve a criterion (or blend) and number of images, in the order of the draws.

    evidence: what each looks at. unpruned: test accuracy with nothing removed.
    """
    rows: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    for draw in draws:
        for name, accuracies in draw.accuracy.items():
            rows[name, draw.samples].append(accuracies)
    curves = []
    for (name, samples), own in sorted(rows.items(), key=lambda item: item[0][1]):
        columns = list(zip(*own, strict=True))
        areas = [area(removed, row, unpruned) for row in own]
        curves.append(
            Curve(
                criterion=name,
                evidence=evidence[name],
                samples=samples or None,
                mean=[fmean(column) for column in columns],
                low=[min(column) for column in columns],
                high=[max(column) for column in columns],
                areas=areas,
                area=fmean(areas),
                area_low=min(areas),
                area_high=max(areas),
            )
        )
    return curves


def area(removed: Sequence[float], accuracies: Sequence[float], unpruned: float) -> float:
    """Return the mean accuracy from nothing to the last share removed, by the trapezoid rule; in [0, 1]."""
    shares, heights = [0.0, *removed], [unpruned, *accuracies]
    steps = zip(shares, shares[1:], heights, heights[1:], strict=False)
    return sum((right - left) * (a + b) / 2 for left, right, a, b in steps) / shares[-1]


def compare_families(
    curves: Sequence[Curve], samples_per_class: Sequence[int], removed: Sequence[float], kind: str
) -> CurvesComparison:
    """Compare relevance with the rest by area, for every number of images; kind: of cost that was removed."""
    by_samples = {str(samples): _compare_at(curves, samples) for samples in samples_per_class}
    where = f"over 0 to {100 * removed[-1]:g} % of the {cost_name(kind)} removed, without retraining"
    return CurvesComparison(by_samples=by_samples, sentence=f"{_headline(by_samples)}, {where}.")


def _compare_at(curves: Sequence[Curve], samples: int) -> FamilyComparison:
    shown = [curve for curve in curves if curve.samples in (samples, None)]
    by_family: dict[str, list[Curve]] = defaultdict(list)
    for curve in shown:
        by_family[curve.evidence].append(curve)
    families = {
        family: FamilyRecord(
            area=fmean(curve.area for curve in own), best=_best(own).criterion, best_area=_best(own).area
        )
        for family, own in by_family.items()
    }
    others = [curve for curve in shown if not curve.is_relevance]
    if not others or RELEVANCE not in by_family:
        best = _best(shown)
        alike = [curve.criterion for curve in shown if math.isclose(curve.area, best.area)]
        return FamilyComparison(families=families, baseline=best.criterion, alike=alike)
    best, baseline = _best(by_family[RELEVANCE]), _best(others)
    differences = [mine - theirs for mine, theirs in _pair_by_draw(best.areas, baseline.areas)]
    ahead = sum(difference > 0 for difference in differences)
    behind = sum(difference < 0 for difference in differences)
    return FamilyComparison(
        families=families,
        best=best.criterion,
        baseline=baseline.criterion,
        difference=fmean(differences),
        range=(min(differences), max(differences)),
        ahead=ahead,
        draws=len(differences),
        verdict="ahead" if ahead == len(differences) else "behind" if behind == len(differences) else "open",
    )


def _best(curves: Sequence[Curve]) -> Curve:
    return max(curves, key=lambda curve: curve.area)


def _pair_by_draw(left: Sequence[float], right: Sequence[float]) -> list[tuple[float, float]]:
    """Pair areas by draw; a criterion that looks at no image has the same one in every draw."""
    count = max(len(left), len(right))
    return list(zip(*(list(side) * (count if len(side) == 1 else 1) for side in (left, right)), strict=True))


def _headline(by_samples: Mapping[str, FamilyComparison]) -> str:
    if any(one.best is None for one in by_samples.values()):
        first: dict[tuple[str, str], list[str]] = defaultdict(list)
        for samples, one in by_samples.items():
            first[one.keeping_most].append(samples)
        return "; ".join(
            f"{names} {keep} most accuracy with {_images(counts)}" for (names, keep), counts in first.items()
        )
    words = {
        "ahead": "is ahead of the best of the others in every draw",
        "behind": "is behind the best of the others in every draw",
        "open": "is neither ahead of nor behind the best of the others in every draw",
    }
    parts = []
    for verdict, said in words.items():
        counts = [samples for samples, one in by_samples.items() if one.verdict == verdict]
        if counts:
            parts.append(f"{said} with {_images(counts)}")
    return "The best relevance criterion " + ", and ".join(parts)


def _images(counts: Sequence[str]) -> str:
    listed = counts[0] if len(counts) == 1 else f"{', '.join(counts[:-1])} and {counts[-1]}"
    return f"{listed} {'image' if listed == '1' else 'images'} per class"
