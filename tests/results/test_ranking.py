"""Ranks, Friedman's test and critical differences against SciPy, Demšar's tables and plain counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from blendsearch.results.ranking import cliques, critical_difference, friedman, mean_ranks, nemenyi_q, wins

# Demšar, JMLR 2006, table 5 (a): critical values of the two-tailed Nemenyi test.
PUBLISHED = {
    0.05: [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164],
    0.10: [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920],
}


@pytest.fixture
def table():
    rng = np.random.default_rng(3)
    return rng.normal(size=(12, 5)).round(1) + np.linspace(0, 1.5, 5)


@pytest.mark.parametrize(("alpha", "values"), PUBLISHED.items())
def test_critical_values_are_the_published_ones(alpha, values):
    assert [nemenyi_q(methods, alpha) for methods in range(2, 11)] == pytest.approx(values, abs=2e-3)


def test_critical_difference_of_the_paper_s_example():
    """Demšar, section 3.2.2: four algorithms on 14 data sets."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14, 0.10) == pytest.approx(1.12, abs=0.005)


def test_friedman_is_that_of_scipy_and_of_the_formula(table):
    found = friedman(table)
    expected = stats.friedmanchisquare(*table.T)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.critical_difference == critical_difference(5, 12)
    untied = np.random.default_rng(0).permuted(np.tile(np.arange(4.0), (9, 1)), axis=1)
    ranks = np.array(mean_ranks(untied))
    by_hand = 12 * 9 / (4 * 5) * ((ranks**2).sum() - 4 * 5**2 / 4)
    assert friedman(untied).statistic == pytest.approx(by_hand)


def test_no_test_where_there_is_nothing_to_test(table):
    assert friedman(table[:, :2]) is None
    assert friedman(table[:1]) is None
    assert friedman(np.ones((4, 3))) is None


def test_ranks_and_wins_are_those_of_plain_counting(table):
    for one, rank in enumerate(mean_ranks(table)):
        own = [
            1 + sum(other > row[one] for other in row) + (sum(other == row[one] for other in row) - 1) / 2
            for row in table
        ]
        assert rank == pytest.approx(sum(own) / len(own))
    counted = [[sum(row[a] > row[b] for row in table) for b in range(5)] for a in range(5)]
    assert wins(table) == counted


def test_cliques_join_what_lies_within_the_difference():
    ranks = [3.0, 1.0, 1.8, 4.5, 2.5]
    assert cliques(ranks, 1.0) == [[1, 2], [2, 4], [4, 0]]
    assert cliques(ranks, 1.6) == [[1, 2, 4], [2, 4, 0], [0, 3]]
    assert cliques(ranks, 0.1) == []
    assert cliques(ranks, math.inf) == [[1, 2, 4, 0, 3]]
