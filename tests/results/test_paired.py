"""The honest comparison against hand-worked numbers and SciPy."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from blendsearch.results.paired import (
    Judge,
    _tau_b,
    average,
    compare,
    compare_pairs,
    interval,
    measure_fidelity,
    pair_by_seed,
    verdict_of,
)
from blendsearch.results.records.retraining import CorrectImages, RetrainingOutcome
from blendsearch.results.words import verdict_sentence

KINDS = {"blend": "blend", "random search": "control", "mean of ranks": "rival"}


def record(name: str, seed: int, test: float, **more) -> RetrainingOutcome:
    return RetrainingOutcome(
        name=name,
        kind=KINDS.get(name, "criterion"),
        seed=seed,
        test_accuracy=test,
        search_accuracy=test,
        flops_ratio=0.5,
        params_ratio=0.4,
        **more,
    )


def records(**tests: list[float]) -> list[RetrainingOutcome]:
    return [record(name, seed, value) for name, values in tests.items() for seed, value in enumerate(values)]


def test_averages_and_spread_over_seeds():
    row = average(records(blend=[0.5, 0.7], l1=[0.1, 0.1]), "blend", "blend")
    assert row.test_accuracy == pytest.approx(0.6)
    assert row.test_accuracy_std == pytest.approx(0.1414213562)
    assert average(records(blend=[0.5]), "blend", "blend").test_accuracy_std is None


def test_steps_are_averaged_where_they_were_counted():
    rows = [
        row.model_copy(update={"steps": steps}) for row, steps in zip(records(blend=[0.5, 0.7]), (30, 50), strict=True)
    ]
    assert average(rows, "blend", "blend").steps == 40
    assert average(records(blend=[0.5]), "blend", "blend").steps is None  # of an older version


def test_accuracies_before_retraining_are_averaged_where_every_seed_has_one():
    rows = records(blend=[0.5, 0.7])
    known = [
        row.model_copy(update={"pruned_test_accuracy": value}) for row, value in zip(rows, (0.2, 0.4), strict=True)
    ]
    assert average(known, "blend", "blend").pruned_test_accuracy == pytest.approx(0.3)
    assert average([known[0], rows[1]], "blend", "blend").pruned_test_accuracy is None


def test_interval_is_that_of_the_paired_t_test():
    a, b = [0.80, 0.82, 0.79, 0.83], [0.78, 0.81, 0.79, 0.80]
    low, high = interval([x - y for x, y in zip(a, b, strict=True)])
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert interval([0.1]) is None


def test_differences_that_are_all_alike_have_no_interval():
    assert interval([0.1, 0.1]) is None
    assert interval([0.9 - 0.8, 0.8 - 0.7]) is None  # but for the last bit
    found = compare_pairs([0.1, 0.1], "l1")
    assert found.verdict == "not tested (seeds alike)"
    assert (
        found.sentence
        == "After equal retraining the blend is +10.00 points from l1; 2 seeds that are all alike test nothing."
    )


def test_pairs_are_matched_by_seed_not_by_order():
    shuffled = records(blend=[0.9, 0.8], l1=[0.5, 0.7])[::-1]
    assert pair_by_seed(shuffled, "l1") == pytest.approx([0.4, 0.1])


@pytest.mark.parametrize(
    ("blend", "verdict"),
    [
        ([0.90, 0.91, 0.92], "beats"),
        ([0.50, 0.51, 0.52], "worse"),
        ([0.79, 0.82, 0.80], "undecided"),
    ],
)
def test_the_verdict_follows_from_the_interval(blend, verdict):
    result = compare(Judge.of_outcomes(records(blend=blend, l1=[0.80, 0.81, 0.80], l2=[0.70, 0.71, 0.72])))
    assert result.best_criterion == "l1"
    assert result.verdict == verdict
    assert "l1" in result.sentence
    assert result.differences["l2"].difference == pytest.approx(np.mean(blend) - 0.71)


def test_one_seed_is_no_test():
    result = compare(Judge.of_outcomes(records(blend=[0.9], l1=[0.8])))
    assert result.interval is None
    assert result.verdict == "not tested (one seed)"


def masked(steps: int, **masks: np.ndarray) -> list[RetrainingOutcome]:
    """Return retrainings from what each classified right: name -> bool [seeds, images]."""
    return [
        record(name.replace("_", " "), seed, float(mask.mean()), correct=CorrectImages.of(mask), steps=steps)
        for name, rows in masks.items()
        for seed, mask in enumerate(rows)
    ]


def luck(*shape: int, seed: int = 0, share: float = 0.8) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < share


@pytest.mark.parametrize("count", [1, 7, 8, 9, 200])
def test_which_images_were_right_survives_its_record(count):
    mask = luck(count, seed=count)
    kept = CorrectImages.model_validate_json(CorrectImages.of(mask).model_dump_json())
    assert kept.mask.tolist() == mask.tolist()
    assert len(kept.bits) <= 4 * -(-count // 24)


def test_without_retraining_the_images_are_the_test():
    right = luck(1, 400)
    blend = right.copy()
    blend[0, np.flatnonzero(~right[0])[:12]] = True
    one = Judge.of_outcomes(masked(0, blend=blend, l1=right))
    several = Judge.of_outcomes(masked(0, blend=blend.repeat(3, 0), l1=right.repeat(3, 0)))
    found = one.against("l1", "criterion", "l1")
    assert found.verdict == "beats"  # 12 images against none
    error = np.sqrt(12 / 400 * (1 - 12 / 400) / 400)
    assert found.interval == pytest.approx((0.03 - 1.96 * error, 0.03 + 1.96 * error), abs=0.002)
    assert found.sentence.endswith(", 400 test images).")
    again = several.against("l1", "criterion", "l1")
    assert again.interval == pytest.approx(found.interval)
    assert again.sentence == found.sentence  # three times the same network says nothing more


def test_one_retraining_of_each_is_no_test_however_many_images():
    judge = Judge.of_outcomes(masked(90, blend=luck(1, 400), l1=luck(1, 400, seed=1)))
    assert judge.basis is None
    assert judge.against("l1", "criterion").verdict == "not tested (one seed)"


def test_seeds_that_agree_by_luck_leave_the_doubt_of_the_images():
    rng = np.random.default_rng(0)
    right, other = (np.stack([rng.permutation(100) < count for _ in range(2)]) for count in (85, 80))
    judge = Judge.of_outcomes(masked(90, blend=right, l1=other))
    assert pair_by_seed(judge.outcomes, "l1") == pytest.approx([0.05, 0.05])
    low, high = judge.against("l1", "criterion").interval
    assert low < 0 < high
    assert judge.basis == "2 paired seeds and 100 test images"


def test_equal_networks_are_told_as_such():
    right = luck(3, 50)
    found = Judge.of_outcomes(masked(90, blend=right, l1=right)).against("l1", "criterion", "l1")
    assert (found.interval, found.verdict) == (None, "equal")
    assert found.sentence == "The blend and l1 are right on the very same test images."


def test_what_keeps_the_same_filters_is_no_opponent():
    rows = [
        row.model_copy(update={"plan": {"groups": row.name == "l2"}})
        for row in masked(90, blend=luck(3, 50), l1=luck(3, 50), l2=luck(3, 50, share=0.5))
    ]
    found = compare(Judge.of_outcomes(rows), "l1")
    assert found.sentence == (
        "The blend keeps the same filters as the best criterion in hindsight (l1): the search found nothing better."
    )
    assert found.verdict == found.without_search.verdict == "equal"
    assert found.without_search.name == "l1"
    assert found.same_filters == ["l1"]


def test_the_best_in_hindsight_allows_for_the_choice_and_the_others_do_not():
    rng = np.random.default_rng(3)
    common = rng.random((3, 300)) < 0.8
    others = {f"c{n}": common ^ (rng.random((3, 300)) < 0.1) for n in range(12)}
    rows = masked(90, blend=common, mean_of_ranks=others["c0"], random_search=others["c1"], **others)
    found = compare(Judge.of_outcomes(rows), "c2")
    best = found.differences[found.best_criterion]
    assert found.difference == best.difference == min(one.difference for one in found.differences.values())
    assert found.interval[1] - found.difference > 1.2 * (best.interval[1] - best.difference)
    assert found.interval[0] == min(one.interval[0] for one in found.differences.values())
    assert found.among == 12
    assert "3 paired seeds and 300 test images, corrected for the choice among 12" in found.sentence
    assert "corrected" not in found.without_search.sentence
    assert found.without_search.difference == found.differences["c2"].difference
    assert found.rivals["mean of ranks"].interval == found.differences["c0"].interval
    assert "the mean of all criteria's ranks" in found.rivals["mean of ranks"].sentence
    assert found.random_search.interval == found.differences["c1"].interval
    assert "random search of equal cost" in found.random_search.sentence
    improved = compare(Judge.of_outcomes(rows), "c2", improved=True)
    assert "as many evaluations as the search before it improved its plan" in improved.random_search.sentence


def test_among_equals_the_blend_is_seldom_called_worse_than_the_best():
    """Forty criteria as good as the blend: one of them is ahead by luck, which one comparison takes for a finding."""
    alone = corrected = 0
    for draw in range(40):
        right = luck(41, 150, seed=draw)
        judge = Judge.of_outcomes(masked(0, blend=right[:1], **{f"c{n}": right[n : n + 1] for n in range(1, 41)}))
        found = compare(judge)
        alone += found.differences[found.best_criterion].verdict == "worse"
        corrected += found.verdict == "worse"
    assert alone > 10
    assert corrected <= 5  # 2 expected; more than 5 of 40 would have p 0.014


def test_beats_means_every_criterion():
    """The best criterion is surely beaten, one a little behind it, of which less is known, is not."""
    rng = np.random.default_rng(0)
    blend = np.ones((3, 400), dtype=bool)
    steady = blend.copy()
    steady[:, :20] = False  # 5 points below on every seed
    loose = np.stack([rng.random(400) < share for share in (0.999, 0.98, 0.84)])
    found = compare(Judge.of_outcomes(masked(90, blend=blend, steady=steady, loose=loose)))
    assert found.best_criterion == "steady"
    assert found.differences["steady"].verdict == "beats"
    assert found.interval[0] == found.differences["loose"].interval[0] < 0 < found.interval[1]
    assert found.verdict == "undecided"


def test_what_is_better_than_every_criterion_beats_the_best_of_many_without_more_ado():
    """Thirty criteria 4 points below: against each one the blend is clearly ahead, so it is ahead of their best."""
    rng = np.random.default_rng(1)
    blend = rng.random((1, 1000)) < 0.9
    others = {}
    for number in range(30):
        others[f"c{number}"] = blend.copy()
        others[f"c{number}"][0, rng.choice(np.flatnonzero(blend[0]), 40, replace=False)] = False
    found = compare(Judge.of_outcomes(masked(0, blend=blend, **others)))
    assert found.verdict == "beats"
    assert {one.verdict for one in found.differences.values()} == {"beats"}


def test_the_interval_of_the_best_in_hindsight_holds_that_of_the_truly_best():
    """The truly best of twelve is a point above the blend, ten are equal to it, one is a point below."""
    rng, worth = np.random.default_rng(2), np.array([0.01, *[0.0] * 10, -0.01])
    held = 0
    for _ in range(50):
        blend = rng.random((1, 300)) < 0.8
        others = {f"c{n}": rng.random((1, 300)) < 0.8 + more for n, more in enumerate(worth)}
        low, high = compare(Judge.of_outcomes(masked(0, blend=blend, **others))).interval
        held += low <= -0.01 <= high
    assert held >= 43  # 47 or more expected


def test_fidelity_is_kendalls_tau_inside_its_interval():
    rng = np.random.default_rng(1)
    truths = {f"c{i}": float(v) for i, v in enumerate(rng.random(12))}
    proxies = {name: value + 0.1 * float(rng.standard_normal()) for name, value in truths.items()}
    result = measure_fidelity(proxies, truths)
    names = sorted(truths)
    tau = stats.kendalltau([proxies[n] for n in names], [truths[n] for n in names]).statistic
    assert result.tau == pytest.approx(tau)
    assert result.interval[0] <= tau <= result.interval[1]
    assert result.candidates == 12


def test_tau_of_rows_is_scipys_with_ties():
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 5, (20, 9)), rng.integers(0, 5, (20, 9))
    expected = [stats.kendalltau(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert _tau_b(x, y) == pytest.approx(expected)


def test_fidelity_needs_candidates_that_differ():
    assert measure_fidelity({"a": 0.5, "b": 0.5, "c": 0.5}, {"a": 0.1, "b": 0.2, "c": 0.3}) is None
    assert measure_fidelity({"a": 0.5, "b": 0.6}, {"a": 0.1, "b": 0.2}) is None


def judged(blend, criterion, *, images=400, steps=10):
    """Return the comparison with one criterion of networks right on so many of the images, seed by seed."""
    rng = np.random.default_rng(0)
    right = {
        name: np.stack([rng.permutation(images) < round(share * images) for share in shares])
        for name, shares in (("blend", blend), ("l1", criterion))
    }
    return compare(Judge.of_outcomes(masked(steps, **right)))


def test_two_seeds_that_cannot_tell_say_how_many_would():
    found = judged([0.70, 0.75], [0.90, 0.86])
    assert found.verdict == "undecided"
    assert "Undecided: the blend is 15.50 points below the best criterion in hindsight (l1)" in found.sentence
    remedy = r"`--resume retraining.seeds=(\d+)` would narrow the interval to about ±([\d.]+)\."
    seeds, reach = re.search(remedy, found.sentence).groups()
    assert float(reach) < 15.5 < 100 * (found.interval[1] - found.interval[0]) / 2
    assert 2 < int(seeds) <= 20


def test_the_recommended_seeds_would_narrow_it_as_told():
    """Seven more seeds of the very same spread give an interval of about the width that was foretold."""
    found = judged([0.70, 0.75], [0.90, 0.86])
    seeds, reach = re.search(r"seeds=(\d+)` .* ±([\d.]+)\.", found.sentence).groups()
    spread = [0.70, 0.75] * int(seeds), [0.90, 0.86] * int(seeds)
    later = judged(*(values[: int(seeds)] for values in spread))
    assert 100 * (later.interval[1] - later.interval[0]) / 2 == pytest.approx(float(reach), rel=0.5)


def test_one_seed_says_how_many_give_an_interval():
    found = judged([0.7], [0.8])
    assert found.verdict == "not tested (one seed)"
    assert "`--resume retraining.seeds=3` would give an interval" in found.sentence


def test_where_nothing_is_trained_more_test_images_are_named_not_seeds():
    found = judged([0.70], [0.68], steps=0)
    assert found.verdict == "undecided"
    assert re.search(r"about [\d,]+ test images would tell", found.sentence)
    assert "seeds" not in found.sentence


def test_equal_within_half_a_point_is_told_with_its_width():
    assert judged([0.9, 0.88, 0.92], [0.9, 0.92, 0.88]).verdict == "undecided", "a wide interval is no equality"
    assert [verdict_of(bounds, 3) for bounds in ((-0.005, 0.005), (-0.005, 0.006))] == ["equal", "undecided"]
    bounds = verdict_sentence("the blend", "l1", 0.001, (-0.002, 0.004), verdict_of((-0.002, 0.004), 3), 3)
    assert bounds.startswith("The blend and l1 are equal within ±0.40 points: +0.10 points")


def test_an_interval_of_accuracies_stays_within_a_hundred_points():
    low, high = judged([0.1, 0.9], [0.9, 0.1]).interval
    assert (low, high) == (-1.0, 1.0)


@pytest.mark.parametrize(("count", "low"), [(3, -0.95), (4, -0.684), (6, -0.415), (14, 0.181), (40, 0.663)])
def test_a_few_in_one_order_are_no_certainty(count, low):
    proxies = {f"c{number}": number / 50 for number in range(count)}
    turned = {name: -value for name, value in proxies.items()}
    assert stats.binomtest(count // 2, count // 2).proportion_ci(0.95).low * 2 - 1 == pytest.approx(low, abs=1e-3)
    same, opposed = measure_fidelity(proxies, proxies), measure_fidelity(proxies, turned)
    assert (same.tau, opposed.tau) == (pytest.approx(1), pytest.approx(-1))
    assert same.interval == (pytest.approx(low, abs=1e-3), pytest.approx(1))
    assert opposed.interval == (pytest.approx(-1), pytest.approx(-low, abs=1e-3))


def test_ties_make_an_order_no_surer():
    found = measure_fidelity({"a": 0.1, "b": 0.1, "c": 0.3}, {"a": 0.1, "b": 0.2, "c": 0.3})
    assert found.tau == pytest.approx(stats.kendalltau([0.1, 0.1, 0.3], [0.1, 0.2, 0.3]).statistic)
    assert found.interval[0] == pytest.approx(-0.95)
