"""Ranks and their agreement against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from blendsearch.blending import agreement, rank, rank_all, spearman
from blendsearch.errors import BlendsearchError

VECTORS = {
    "plain": [0.3, -1.0, 2.5, 0.0, 9.0],
    "ties": [1.0, 2.0, 2.0, 3.0, 1.0, 1.0],
    "two": [4.0, -4.0],
    "huge": [1e30, -1e30, 0.0, 1e-30],
}


@pytest.mark.parametrize("values", VECTORS.values(), ids=VECTORS)
def test_rank_is_scipys_average_rank(values):
    expected = (scipy.stats.rankdata(values, method="average") - 1) / (len(values) - 1)
    result = rank(torch.tensor(values))
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)


def test_rank_of_random_vectors_with_many_ties():
    for seed in range(20):
        values = np.random.default_rng(seed).integers(0, 6, size=31).astype(np.float32)
        expected = (scipy.stats.rankdata(values) - 1) / 30
        np.testing.assert_allclose(rank(torch.from_numpy(values)).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_constant_scores_are_one_half(size):
    assert torch.equal(rank(torch.full((size,), 3.0)), torch.full((size,), 0.5))


def test_ranks_of_ranks_are_the_same():
    once = rank(torch.tensor(VECTORS["ties"]))
    assert torch.equal(rank(once), once)


@pytest.mark.parametrize("bad", [[0.0, float("nan")], [float("inf"), 0.0]])
def test_error_names_criterion_and_group(bad):
    with pytest.raises(BlendsearchError, match=r"criterion 'l1', group 'conv1'.*NaN or infinity"):
        rank_all({"l1": {"conv1": torch.tensor(bad)}})


@pytest.mark.parametrize("shape", [(0,), (2, 2)])
def test_rank_refuses_other_shapes(shape):
    with pytest.raises(BlendsearchError, match="shape"):
        rank(torch.zeros(shape))


def test_spearman_is_scipys():
    rows = np.random.default_rng(0).integers(0, 8, size=(5, 17)).astype(np.float32)
    ranks = torch.stack([rank(torch.from_numpy(row)) for row in rows])
    expected = scipy.stats.spearmanr(rows, axis=1).statistic
    np.testing.assert_allclose(spearman(ranks).numpy(), expected, atol=1e-6)


def test_spearman_of_constant_rows():
    ranks = torch.stack([torch.full((4,), 0.5), torch.linspace(0, 1, 4), torch.full((4,), 0.5)])
    expected = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    assert torch.equal(spearman(ranks), expected)


def test_agreement_has_a_matrix_for_each_group():
    scores = {
        "up": {"a": torch.arange(4.0), "b": torch.arange(3.0)},
        "down": {"a": -torch.arange(4.0), "b": torch.arange(3.0)},
    }
    result = agreement(rank_all(scores))
    assert list(result) == ["a", "b"]
    assert result["a"][0, 1].item() == pytest.approx(-1.0)
    assert result["b"][0, 1].item() == pytest.approx(1.0)
