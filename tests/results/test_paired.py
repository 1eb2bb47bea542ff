"""The honest comparison against hand-worked numbers and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from blendsearch.results.paired import _tau_b, average, compare, interval, measure_fidelity, pair_by_seed
from blendsearch.results.records.retraining import RetrainingOutcome


def record(name: str, seed: int, test: float) -> RetrainingOutcome:
    kind = "blend" if name == "blend" else "criterion"
    return RetrainingOutcome(
        name=name, kind=kind, seed=seed, test_accuracy=test, search_accuracy=test, flops_ratio=0.5, params_ratio=0.4
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


def test_interval_is_that_of_the_paired_t_test():
    a, b = [0.80, 0.82, 0.79, 0.83], [0.78, 0.81, 0.79, 0.80]
    low, high = interval([x - y for x, y in zip(a, b, strict=True)])
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert interval([0.1]) is None
    assert interval([0.1, 0.1]) == pytest.approx((0.1, 0.1))


def test_pairs_are_matched_by_seed_not_by_order():
    shuffled = records(blend=[0.9, 0.8], l1=[0.5, 0.7])[::-1]
    assert pair_by_seed(shuffled, "l1") == pytest.approx([0.4, 0.1])


@pytest.mark.parametrize(
    ("blend", "verdict"),
    [
        ([0.90, 0.91, 0.92], "beats"),
        ([0.50, 0.51, 0.52], "worse"),
        ([0.79, 0.82, 0.80], "no difference shown"),
    ],
)
def test_the_verdict_follows_from_the_interval(blend, verdict):
    result = compare(records(blend=blend, l1=[0.80, 0.81, 0.80], l2=[0.70, 0.71, 0.72]))
    assert result.best_criterion == "l1"
    assert result.verdict == verdict
    assert "l1" in result.sentence
    assert result.differences["l2"].difference == pytest.approx(np.mean(blend) - 0.71)


def test_one_seed_is_no_test():
    result = compare(records(blend=[0.9], l1=[0.8]))
    assert result.interval is None
    assert result.verdict == "not tested (one seed)"


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
