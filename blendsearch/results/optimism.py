"""How much better networks look on the search images, which chose them, than on the test images."""

from __future__ import annotations

import math

from scipy.stats import binomtest

from blendsearch.results.records.common import Bounds, DataRecord, UnprunedRecord
from blendsearch.results.records.search import Optimism, Outcome
from blendsearch.results.words import percent, plain_points, plain_range


def measure_optimism(unpruned: UnprunedRecord, blend: Outcome, data: DataRecord) -> Optimism | None:
    """Return each search accuracy less its test accuracy, and a sentence; None where a test accuracy is not known."""
    if unpruned.search_accuracy is None or unpruned.test_accuracy is None or not data.search or not data.test:
        return None
    search, test = float(unpruned.search_accuracy), float(unpruned.test_accuracy)
    bounds = interval_of_gap(search, data.search, test, data.test)
    return Optimism(
        proxy=None if blend.proxy is None else blend.proxy - blend.test_accuracy,
        retrained=blend.search_accuracy - blend.test_accuracy,
        unpruned=search - test,
        interval=bounds,
        sentence=_tell(search, test, bounds, blend),
    )


def interval_of_gap(share: float, count: int, other: float, other_count: int) -> Bounds:
    """Return the 95 % interval of the difference of two shares of different images.

    Source: Newcombe, Statistics in Medicine 1998 (method 10: from Wilson's interval of each).
    """
    (low, high), (other_low, other_high) = _wilson(share, count), _wilson(other, other_count)
    gap = share - other
    return (gap - math.hypot(share - low, other_high - other), gap + math.hypot(high - share, other - other_low))


def _wilson(share: float, count: int) -> Bounds:
    found = binomtest(round(share * count), count).proportion_ci(0.95, method="wilson")
    return (float(found.low), float(found.high))


def _tell(search: float, test: float, bounds: Bounds, blend: Outcome) -> str:
    """Return one sentence on what the search images flatter, by more than chance or not."""
    gap = f"{plain_points(search - test)} points (95 % interval {plain_range(bounds)})"
    done = "not retrained" if blend.steps == 0 else "retrained"
    final = f"the blend's, {done}, {percent(blend.search_accuracy, 1)} and {percent(blend.test_accuracy, 1)}"
    shares = f"the unpruned network has {percent(search, 1)} there, {percent(test, 1)} on test, {gap}; {final}."
    if bounds[0] > 0:
        return f"The weights have seen the search images, it seems, and what is measured there is too high: {shares}"
    return f"The search images {'are the harder ones' if bounds[1] < 0 else 'flatter no more than chance'}: {shares}"
