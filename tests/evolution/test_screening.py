"""Who goes on from a rung: worked out by hand, against the definitions, and again after a stop."""

from __future__ import annotations

import numpy as np
import pytest

from blendsearch.evolution.screening import PRUNERS, ByPruner, Paired, judge_of
from blendsearch.proxies import Estimate


def seen(right):
    """Return an estimate that was right on the given of twenty images."""
    found = np.zeros(20, dtype=bool)
    found[list(right)] = True
    return Estimate(float(found.mean()), 1.0, 20, found)


def valued(*values):
    return [Estimate(value, 1.0) for value in values]


def test_the_better_half_stays_and_who_is_not_clearly_worse_than_its_last():
    # Order: 0 (20 right), 2 (18, the cut), 1 (17), 3 (8).
    estimates = [seen(range(20)), seen(range(17)), seen(range(18)), seen(range(8))]
    reasons = Paired([0.5]).choose(0, estimates)
    # 1 differs from the cut in one image, 3 in ten, all to its disadvantage: p = 2 / 2 ** 10.
    assert reasons == [None, None, None, "not in the better half, clearly worse than its last (p 0.002)"]


def test_equal_shares_of_other_images_are_told_apart_image_by_image():
    # Ten alone right against four alone right: p = 0.18, not clear; ten against nine that are all lost: clear.
    close, far = seen([*range(10, 14)]), seen([])
    reasons = Paired([0.3]).choose(0, [seen(range(10)), close, far])
    assert reasons[:2] == [None, None]
    assert reasons[2] == "not in the better 30 %, clearly worse than its last (p 0.002)"


def test_without_images_the_share_alone_decides():
    left = "not in the better half"
    assert Paired([0.5]).choose(0, valued(0.1, 0.5, 0.3, 0.5, 0.2)) == [left, None, None, None, left]
    mixed = [seen(range(20)), *valued(0.9, 0.8)]
    assert Paired([0.5]).choose(0, mixed) == [None, None, left]
    assert Paired([0.1]).choose(0, valued(0.2)) == [None]


def test_each_rung_has_its_own_share():
    judge = Paired([0.75, 0.25])
    values = valued(0.4, 0.3, 0.2, 0.1)
    assert [sum(one is None for one in judge.choose(rung, values)) for rung in (0, 1)] == [3, 1]


@pytest.mark.parametrize(("name", "share"), [("median", 0.5), ("percentile", 0.25)])
def test_percentile_pruners_compare_with_those_that_went_on(name, share):
    judge = judge_of(name, [share])
    first = [0.1, 0.2, 0.3, 0.4]
    assert judge.choose(0, valued(*first)) == [None] * 4  # nothing to compare with
    cut = np.percentile(first, 100 * (1 - share))
    second = [0.05, 0.26, 0.33, 0.5]
    expected = [None if value >= cut else f"pruned by {name}" for value in second]
    assert judge.choose(0, valued(*second)) == expected
    cut = np.percentile([*first, *(value for value in second if value >= cut)], 100 * (1 - share))
    assert judge.choose(0, valued(0.31, 0.45)) == [None if v >= cut else f"pruned by {name}" for v in (0.31, 0.45)]


@pytest.mark.parametrize("share", [0.5, 0.33])
def test_successive_halving_promotes_the_best_of_all_that_came_to_the_rung(share):
    judge, factor = judge_of("successive_halving", [share]), round(1 / share)
    values = [0.3, 0.5, 0.4, 0.6, 0.2, 0.55, 0.52, 0.1]
    reasons = [*judge.choose(0, valued(*values[:5])), *judge.choose(0, valued(*values[5:]))]
    for position, (value, reason) in enumerate(zip(values, reasons, strict=True)):
        so_far = sorted(values[: position + 1], reverse=True)
        assert (reason is None) == (value >= so_far[max(0, len(so_far) // factor - 1)])


@pytest.mark.parametrize("name", sorted(PRUNERS))
def test_rungs_do_not_mix_and_a_restored_judge_decides_alike(name):
    rng = np.random.default_rng(0)
    shares = [0.5, 0.5]
    history = [(rung, (rng.random(6) + 10 * rung).tolist()) for _ in range(3) for rung in (0, 1)]
    one, other, alone = (judge_of(name, shares) for _ in range(3))
    for rung, values in history:
        one.choose(rung, valued(*values))
        if rung == 0:
            alone.choose(rung, valued(*values))
    other.choose(0, valued(99.0, 98.0))  # forgotten when it is restored
    other.restore(history)
    late = valued(*rng.random(8))
    assert one.choose(0, late) == other.choose(0, late) == alone.choose(0, late)
    assert any(reason for reason in one.choose(0, valued(0.01, 0.02)))
    assert one.choose(1, []) == []


def test_pruners_are_silent(capfd, recwarn):
    ByPruner("successive_halving", [0.5]).choose(0, valued(0.5, 0.2, 0.4))
    assert "".join(capfd.readouterr()) == ""
    assert not recwarn.list
