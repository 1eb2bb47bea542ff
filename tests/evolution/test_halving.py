"""Successive halving against hand-worked tables and SciPy."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest

from blendsearch.errors import BlendsearchError
from blendsearch.evolution.halving import paired, standings


def row(*ones: int, images: int = 20) -> np.ndarray:
    """Return [1, images], right on the images named."""
    return np.isin(np.arange(images), ones)[None]


def test_mcnemar_worked_by_hand():
    # Both right on 0 to 4; the first alone on 5, the other alone on 10 to 18: 1 against 9 of 10 discordant images.
    # Exact two-sided p: 2 * (C(10, 0) + C(10, 1)) / 2**10 = 22 / 1024.
    found = paired(row(0, 1, 2, 3, 4, 5), row(0, 1, 2, 3, 4, *range(10, 19)))
    assert (found.better, found.worse) == (1, 9)
    assert found.p == pytest.approx(2 * (comb(10, 0) + comb(10, 1)) / 2**10)
    assert found.clearly_worse
    assert not paired(row(0, 1, 2, 3, 4, *range(10, 19)), row(0, 1, 2, 3, 4, 5)).clearly_worse


def test_mcnemar_is_scipys_on_random_tables():
    rng = np.random.default_rng(0)
    for _ in range(20):
        own, other = rng.random((2, 1, 60)) < rng.uniform(0.5, 0.95, (2, 1, 1))
        only, others = int((own & ~other).sum()), int((other & ~own).sum())
        assert paired(own, other).p == pytest.approx(binomtest(only, only + others).pvalue)


def test_no_discordant_image_is_no_difference():
    found = paired(row(1, 2), row(1, 2))
    assert (found.p, found.clearly_worse) == (1.0, False)


def test_repeated_seeds_do_not_pass_for_more_images():
    own, other = row(0, 1), row(0, 2, 3, 4)
    once, often = paired(own, other), paired(np.repeat(own, 9, 0), np.repeat(other, 9, 0))
    assert once == often
    # Right with 2 of 3 seeds against 1 of 3: one image, for the first.
    mixed = paired(np.array([[1], [1], [0]], bool), np.array([[0], [0], [1]], bool))
    assert (mixed.better, mixed.worse) == (1, 0)


def test_unlike_shapes_are_refused():
    with pytest.raises(BlendsearchError, match="equal shapes"):
        paired(row(1, images=5), row(1, images=6))


def test_half_stays_and_of_the_rest_who_is_not_clearly_worse():
    rights = [row(*range(5)), row(*range(20)), row(*range(18)), row(*range(19)), row(*range(17))]
    found = standings(rights, [0.5] * 5)
    assert [one.place for one in found] == [4, 0, 2, 1, 3]
    # 5 candidates: 3 stay, the cut is 18 right; 17 right is 1 against 0 of 1 image; 5 right is 0 against 13.
    assert [one.stays for one in found] == [False, True, True, True, True]
    assert [one.comparison is None for one in found] == [False, True, True, True, False]
    assert found[0].comparison.p == pytest.approx(2 / 2**13)


def test_ties_go_to_the_proxy_then_to_the_order():
    rights = [row(1, 2), row(3, 4), row(5, 6)]
    assert [one.place for one in standings(rights, [0.1, 0.3, 0.2], 1)] == [2, 0, 1]
    assert [one.place for one in standings(rights, [0.1, 0.1, 0.1], 1)] == [0, 1, 2]


def test_one_candidate_stays():
    (only,) = standings([row(1)], [0.5])
    assert only.stays
    assert only.place == 0
