"""Places that are certain: enough images and repetitions tell things apart, few do not, and the truth is inside."""

from __future__ import annotations

import numpy as np
import pytest

from blendsearch.results.rank_ranges import rank_ranges


def drawn(shares, repetitions, images, seed=0, spread=0.0):
    """Images differ in how soon they are lost; the share of its thing may differ from repetition to repetition."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.random(images) < share + spread * rng.normal(size=(repetitions, 1))).astype(float)
        for name, share in shares.items()
    }


SHARES = {"a": 0.5, "b": 0.3, "c": 0.1, "d": 0.08}


def test_many_images_tell_apart_what_is_apart():
    found = rank_ranges(drawn(SHARES, 4, 1000))
    assert found.ranges == {"a": (1, 1), "b": (2, 2), "c": (3, 4), "d": (3, 4)}
    assert (found.apart, found.pairs) == (5, 6)
    low, high = found.intervals["a"]
    assert low < 0.5 < high
    assert high - low < 0.1


def test_few_images_do_not_and_it_is_said_that_it_is_the_images():
    found = rank_ranges(drawn(SHARES, 4, 12))
    assert found.apart < 3
    assert found.ranges["b"] != (2, 2)
    assert found.images_decide


def test_few_repetitions_that_differ_do_not_either_and_it_is_said_that_it_is_they():
    found = rank_ranges(drawn({"a": 0.5, "b": 0.4, "c": 0.3}, 3, 5000, spread=0.1))
    assert found.apart < 3
    assert not found.images_decide


def test_what_never_varies_has_no_interval_and_no_place_of_its_own():
    same = np.zeros((2, 20))
    found = rank_ranges({"a": same, "b": same})
    assert found.intervals == {"a": None, "b": None}
    assert found.ranges == {"a": (1, 2), "b": (1, 2)}
    assert (found.apart, found.pairs) == (0, 1)


def test_one_thing_is_first():
    found = rank_ranges(drawn({"a": 0.5}, 1, 30))
    assert (found.ranges, found.apart, found.pairs) == ({"a": (1, 1)}, 0, 0)


@pytest.mark.parametrize(("repetitions", "images", "spread"), [(1, 60, 0.0), (3, 200, 0.05)])
def test_the_true_place_is_nearly_always_in_the_range(repetitions, images, spread):
    truth = {name: place for place, name in enumerate(SHARES, start=1)}
    inside = []
    for seed in range(20):
        ranges = rank_ranges(drawn(SHARES, repetitions, images, seed, spread)).ranges
        inside += [ranges[name][0] <= place <= ranges[name][1] for name, place in truth.items()]
    assert np.mean(inside) > 0.93
