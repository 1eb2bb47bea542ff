"""How far search images flatter, against a published example and hand-worked numbers."""

from __future__ import annotations

import pytest

from blendsearch.results.optimism import interval_of_gap, measure_optimism
from blendsearch.results.records.common import DataRecord, UnprunedRecord
from blendsearch.results.records.search import Outcome

BLEND = Outcome(proxy=0.80, search_accuracy=0.855, test_accuracy=0.825, flops_ratio=0.5, params_ratio=0.5)
DATA = DataRecord(search=2000, test=10_000)


def test_the_interval_is_newcombes():
    # Newcombe 1998, table II, example (a), method 10: 56/70 against 48/80.
    assert interval_of_gap(56 / 70, 70, 48 / 80, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_weights_that_have_seen_the_search_images_are_told():
    found = measure_optimism(UnprunedRecord(search_accuracy=0.93, test_accuracy=0.88), BLEND, DATA)
    assert found.unpruned == pytest.approx(0.05)
    assert found.retrained == pytest.approx(0.03)
    assert found.proxy == pytest.approx(-0.025)
    assert found.interval[0] > 0
    assert "The weights have seen the search images" in found.sentence
    assert "93.0 % there, 88.0 % on test" in found.sentence
    assert "85.5 % and 82.5 %" in found.sentence


@pytest.mark.parametrize(("search", "words"), [(0.885, "flatter no more than chance"), (0.80, "are the harder ones")])
def test_a_gap_by_chance_is_called_so(search, words):
    found = measure_optimism(UnprunedRecord(search_accuracy=search, test_accuracy=0.88), BLEND, DATA)
    assert f"The search images {words}" in found.sentence


def test_without_a_test_accuracy_there_is_nothing_to_tell():
    assert measure_optimism(UnprunedRecord(search_accuracy=0.9), BLEND, DATA) is None
    assert measure_optimism(UnprunedRecord(search_accuracy=0.9, test_accuracy=0.9), BLEND, DataRecord()) is None
