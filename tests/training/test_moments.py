"""The ridge solution and the spread of what it gives, against NumPy on the rows themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blendsearch.training import moments as moments_module
from blendsearch.training.moments import SINGLE_PRECISION_RIDGE, Moments, RowSquares

DRAWS = torch.Generator().manual_seed(0)
ROWS = torch.randn(400, 30, generator=DRAWS) @ torch.randn(30, 30, generator=DRAWS) + 1
WANTED = torch.randn(400, 4, generator=DRAWS) + ROWS[:, :4]
START = torch.randn(30, 4, generator=DRAWS)


def by_numpy(rows: np.ndarray, ridge: float, offset: bool) -> np.ndarray:
    """Least squares of the rows stacked with the pull towards the start, as rows of their own."""
    wanted = WANTED[: len(rows)].double().numpy()
    if offset:
        rows, wanted = rows - rows.mean(0), wanted - wanted.mean(0)
    strength = np.sqrt(ridge * np.square(rows).mean(0).mean() * len(rows))
    start = START.double().numpy()[: rows.shape[1]]
    stacked = np.vstack([rows, strength * np.eye(rows.shape[1])])
    return np.linalg.lstsq(stacked, np.vstack([wanted, strength * start]), rcond=None)[0]


@pytest.mark.parametrize("ridge", [1e-3, 1e-6])
@pytest.mark.parametrize("offset", [True, False])
def test_the_solution_and_its_spread_are_numpys(ridge, offset):
    found = RowSquares(ROWS.clone(), WANTED, offset).moments.solve(START, ridge)
    expected = by_numpy(ROWS.double().numpy(), ridge, offset)
    answers = ROWS.double().numpy() @ expected
    np.testing.assert_allclose(ROWS.double() @ found.weights.double(), answers, atol=2e-3 * answers.std())
    spread = answers.var(0) if offset else np.square(answers).mean(0)
    np.testing.assert_allclose(found.variance, spread, rtol=2e-3)


def test_rows_left_out_get_no_weight_and_the_others_what_they_get_alone():
    among = torch.tensor([0, 2, 3, 7, 11, 20])
    part = RowSquares(ROWS.clone(), WANTED, True).moments.solve(START, 1e-3, among)
    alone = RowSquares(ROWS[:, among].clone(), WANTED, True).moments.solve(START[among], 1e-3)
    torch.testing.assert_close(part.weights[among], alone.weights)
    torch.testing.assert_close(part.variance, alone.variance)
    assert part.weights.count_nonzero() == alone.weights.numel()


def test_single_precision_gives_what_double_precision_gives(monkeypatch):
    moments = RowSquares(ROWS.clone(), WANTED, True).moments
    single = moments.solve(START, SINGLE_PRECISION_RIDGE)
    monkeypatch.setattr("blendsearch.training.moments.SINGLE_PRECISION_RIDGE", 1.0)
    double = moments.solve(START, SINGLE_PRECISION_RIDGE)
    one, other = ROWS @ single.weights, ROWS @ double.weights
    assert not torch.equal(single.weights, double.weights)
    assert float((one - other).square().mean() / other.var()) < 1e-6


def test_a_matrix_that_is_no_gram_matrix_in_single_precision_is_solved_in_double(monkeypatch):
    """Two equal inputs, whose Gram matrix rounding has left without a positive pivot."""
    gram = torch.tensor([[1.0, 1.002], [1.002, 1.0]])
    found = Moments(gram, torch.tensor([[1.0], [2.0]]), torch.zeros(2), torch.zeros(1)).solve(torch.zeros(2, 1), 1e-3)
    expected = np.linalg.solve(gram.double().numpy() + 1e-3 * np.eye(2), [[1.0], [2.0]])
    np.testing.assert_allclose(found.weights, expected, rtol=1e-4)


@pytest.mark.parametrize("offset", [True, False])
@pytest.mark.parametrize("count", [2, 5, 29])
def test_fewer_positions_than_inputs_lead_to_the_same_weights_by_a_smaller_system(offset, count, monkeypatch):
    squares = RowSquares(ROWS[:count].clone(), WANTED[:count], offset)
    monkeypatch.setattr(Moments, "solve", lambda *given: pytest.fail("the larger system was solved"))
    found = squares.solve(START, 1e-3)
    rows = ROWS[:count].double().numpy()
    expected = by_numpy(rows, 1e-3, offset)
    np.testing.assert_allclose(found.weights, expected, atol=5e-3)
    answers = rows @ expected
    spread = answers.var(0) if offset else np.square(answers).mean(0)
    np.testing.assert_allclose(found.variance, spread, rtol=2e-3)


def test_inputs_far_from_zero_are_solved_for_as_well():
    rows = ROWS[:20] + 20
    found = RowSquares(rows.clone(), WANTED[:20], True).solve(START, 1e-3)
    expected = by_numpy(rows.double().numpy(), 1e-3, True)
    answers = rows.double().numpy() @ expected
    np.testing.assert_allclose(rows.double() @ found.weights.double(), answers, atol=2e-2 * answers.std())


@pytest.mark.parametrize("count", [400, 20])
def test_inputs_that_hardly_vary_beside_their_mean_are_solved_for_as_well(count):
    """Their products are of the size 1e6, and what varies in them is 1."""
    rows = ROWS[:count] + 1000
    found = RowSquares(rows.clone(), WANTED[:count], True).solve(START, 1e-3)
    rows = rows.double().numpy()
    answers = (rows - rows.mean(0)) @ by_numpy(rows, 1e-3, True)
    given = (rows - rows.mean(0)) @ found.weights.double().numpy()
    np.testing.assert_allclose(given, answers, atol=5e-3 * answers.std())
    np.testing.assert_allclose(found.variance, answers.var(0), rtol=5e-3)


@pytest.mark.parametrize("at_once", [7, 30, 1024])
@pytest.mark.parametrize("offset", [True, False])
def test_a_product_that_rounds_its_two_triangles_apart_makes_a_symmetric_gram(offset, at_once, monkeypatch):
    squares = RowSquares(ROWS.clone(), WANTED, offset)
    product = squares.gram()
    lower = torch.ones_like(product).tril().bool()
    monkeypatch.setattr(moments_module, "MIRRORED", at_once)
    monkeypatch.setattr(squares, "gram", lambda: torch.where(lower, product, product + 1e-3))
    gram = squares.moments.gram
    assert torch.equal(gram, gram.T)
    rows = ROWS.double() - ROWS.double().mean(0) * offset
    np.testing.assert_allclose(gram, rows.T @ rows / len(rows), atol=1e-4)
