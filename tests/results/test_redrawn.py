"""Intervals by drawing seeds and images anew, against hand-worked numbers, SciPy and their level under the null."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from blendsearch.results.redrawn import _common_variance, redraw


def test_of_seeds_alone_it_is_students_t():
    for seeds in (2, 3, 5, 8):
        values = np.random.default_rng(seeds).normal(0.01, 0.02, seeds)
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert redraw({"l1": values[:, None]}).alone("l1") == pytest.approx((expected.low, expected.high), rel=0.1)


def test_of_one_network_each_it_is_the_paired_bootstrap():
    values = np.random.default_rng(1).choice([-1, 0, 1], size=500, p=[0.05, 0.85, 0.10])
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(2)
    ).confidence_interval
    assert redraw({"l1": values[None]}).alone("l1") == pytest.approx((expected.low, expected.high), abs=0.002)


def test_seeds_that_are_all_alike_say_no_more_than_one():
    values = np.random.default_rng(1).choice([-1, 0, 1], size=300)
    one, three = redraw({"l1": values[None]}), redraw({"l1": np.tile(values, (3, 1))})
    assert three.seeds.errors == pytest.approx([0.0])
    assert three.images.errors == pytest.approx([stats.sem(values)])
    assert one.images.errors == pytest.approx([stats.sem(values)])
    assert three.alone("l1") == pytest.approx(one.alone("l1"))


def test_what_seeds_and_images_share_counts_once():
    # Means of seeds 1/2 and 0: variance 1/8, of their mean 1/16; of images likewise. What is left of each of the four
    # is 1/4 or -1/4: variance 1/4, of the mean of four 1/16. So images add 1/16 - 1/16.
    each = np.array([[[1.0, 0.0], [0.0, 0.0]]])
    assert _common_variance(each, np.array([1 / 16])) == pytest.approx([0.0])
    found = redraw({"l1": each[0]})
    assert (found.seeds.errors, found.images.errors) == (pytest.approx([1 / 4]), pytest.approx([0.0]))
    # As much as the seeds show is taken off, no more.
    assert _common_variance(each, np.array([1 / 64])) == pytest.approx([1 / 16 - 1 / 64])


def test_two_that_have_nothing_in_common_need_a_wider_interval():
    first, second = np.zeros((1, 2000)), np.zeros((1, 2000))
    first[0, :300:2], first[0, 1:300:2] = 1, -1
    second[0, 300:600:2], second[0, 301:600:2] = 1, -1
    found = redraw({"a": first, "b": second})
    reach = {name: high / found.images.errors[0] for name, (_, high) in found.together(["a", "b"]).items()}
    expected = stats.norm.ppf((1 + 0.95**0.5) / 2)  # of the larger of two independent normal numbers
    assert reach == pytest.approx({"a": expected, "b": expected}, rel=0.04)
    assert found.alone("a")[1] / found.images.errors[0] == pytest.approx(stats.norm.ppf(0.975), rel=0.04)


def test_the_same_twice_needs_none_the_wider():
    values = np.random.default_rng(1).choice([-1, 0, 1], size=(3, 300))
    found = redraw({"a": values, "b": values})
    assert found.together(["a", "b"]) == {"a": found.alone("a"), "b": found.alone("a")}


def test_seeds_and_images_together_are_never_surer_than_students_t():
    for seeds in (2, 3, 5):
        values = np.random.default_rng(seeds).choice([-1.0, 0.0, 1.0], p=[0.05, 0.85, 0.1], size=(seeds, 200))
        low, high = redraw({"l1": values}).alone("l1")
        t = stats.ttest_1samp(values.mean(1), 0).confidence_interval(0.95)
        assert high - low > 0.93 * (t.high - t.low)  # but for the draws


def test_a_restless_other_does_not_widen_the_rest():
    rng = np.random.default_rng(4)
    calm = {f"c{n}": rng.normal(0, 0.001, (5, 1)) for n in range(4)}
    without, beside = redraw(calm), redraw({**calm, "random": rng.normal(0, 0.1, (5, 1))})
    widths = [np.ptp(found.together(list(found.names))["c0"]) for found in (without, beside)]
    assert widths[1] < 1.4 * widths[0]


def test_what_does_not_vary_has_no_interval():
    found = redraw({"same": np.zeros((3, 10)), "l1": np.eye(3, 10)})
    assert found.together(["same", "l1"])["same"] is None
    assert found.alone("same") is None
    assert found.alone("l1") is not None


def test_it_is_the_same_every_time():
    values = {"l1": np.random.default_rng(1).choice([-1, 0, 1], size=(3, 300))}
    assert redraw(values).alone("l1") == redraw(values).alone("l1")


@pytest.mark.parametrize(
    ("seeds", "by_seed", "by_image", "by_both"),
    [(1, 0.0, 1.0, 0.0), (2, 0.07, 0.5, 0.5), (3, 0.07, 1.0, 0.0), (3, 0.07, 0.0, 1.0), (5, 0.02, 0.5, 1.0)],
)
def test_all_intervals_at_once_hold_the_truth_in_most_cases(seeds, by_seed, by_image, by_both):
    """Differences of nothing from eight others, half of whose luck is the blend's own and so common to all."""
    rng, others, images, cases = np.random.default_rng(seeds), 8, 100, 200

    def luck(*shape: int) -> np.ndarray:
        return (rng.normal(size=(others, *shape)) + rng.normal(size=shape)) / 2**0.5

    held = alone = 0
    for case in range(cases):
        each = by_seed * luck(seeds, 1) + by_image * luck(1, images) + by_both * luck(seeds, images)
        found = redraw({str(n): each[n] for n in range(others)}, draws=600, seed=case)
        held += all(low <= 0 <= high for low, high in found.together(list(found.names)).values())
        low, high = found.alone("0")
        alone += low <= 0 <= high
    # 190 expected of 200, fewer than 178 with p below 0.001.
    assert held >= 178
    assert alone >= 178
