"""What the progressive loop of a review leaves in its folder."""

from __future__ import annotations

from blendsearch.results.records.common import Record


class LoopCounts(Record):
    """records/review.json: how many filters each group is to keep, settled when the loop began."""

    counts: dict[str, int]


class LoopRecord(Record):
    """summary.json of a finished loop: accuracies and ratios in [0, 1]; kept: group -> filters left, filters before."""

    name: str
    search_accuracy: float
    test_accuracy: float
    flops_ratio: float
    params_ratio: float
    kept: dict[str, tuple[int, int]]
    seed: int
    versions: dict[str, str]
