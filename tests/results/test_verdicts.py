"""Sentences on what a campaign did, beside those that its own tests read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from blendsearch.results.records.search import ReallocationSummary, SwapsSummary
from blendsearch.results.verdicts import of_moves


@pytest.mark.parametrize(
    ("swaps", "said"),
    [
        (None, []),
        (
            SwapsSummary(start=0.5018, proxy=0.5302, evaluations=240, made=29),
            [
                "After the search 240 plans around its best one were judged and 29 swaps of two filters made "
                "(search.swaps): the proxy rose from 0.502 to 0.530."
            ],
        ),
        (
            SwapsSummary(start=0.5, proxy=0.5, evaluations=1, made=0),
            [
                "After the search 1 plan around its best one was judged and 0 swaps of two filters made "
                "(search.swaps): none raised the proxy."
            ],
        ),
    ],
)
def test_swaps_are_told_with_what_they_were_worth(swaps, said):
    assert of_moves(SimpleNamespace(reallocation=None, swaps=swaps)) == said


def test_filters_moved_between_layers_are_told_before_swaps():
    moved = ReallocationSummary(start=0.5, proxy=0.6, evaluations=30, made=7, moved=21)
    swaps = SwapsSummary(start=0.6, proxy=0.61, evaluations=18, made=2)
    first, second = of_moves(SimpleNamespace(reallocation=moved, swaps=swaps))
    assert first == (
        "After the search 30 plans with other shares were judged and 21 filters moved between layers in 7 steps "
        "(search.reallocation): the proxy rose from 0.500 to 0.600."
    )
    assert second.endswith("the proxy rose from 0.600 to 0.610.")
    still = moved.model_copy(update={"made": 0, "evaluations": 1})
    (said,) = of_moves(SimpleNamespace(reallocation=still, swaps=None))
    assert said == "After the search 1 plan with other shares was judged (search.reallocation): none raised the proxy."
