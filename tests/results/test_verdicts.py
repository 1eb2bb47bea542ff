"""Sentences on what a campaign did, beside those that its own tests read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from blendsearch.results.records.search import SwapsSummary
from blendsearch.results.verdicts import of_swaps


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
    assert of_swaps(SimpleNamespace(swaps=swaps)) == said
