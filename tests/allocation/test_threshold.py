"""The scales on which filters of different groups are compared."""

from __future__ import annotations

import pickle

import pytest
import torch
from scipy.stats import rankdata
from small_networks import conv4, images

from blendsearch.allocation import Budget
from blendsearch.allocation.global_threshold import NORMALISATIONS, GlobalThreshold
from blendsearch.allocation.layer_adaptive import LayerAdaptive
from blendsearch.structure import Structure


@pytest.fixture(scope="module")
def structure():
    return Structure.of(conv4(width=10).eval(), images())


def lamp(scores):
    """Equation 2 of the source, written out: sort upwards, square, divide by the sum from here up."""
    order = sorted(range(len(scores)), key=lambda i: scores[i])
    result = [0.0] * len(scores)
    for place, index in enumerate(order):
        result[index] = scores[index] ** 2 / sum(scores[later] ** 2 for later in order[place:])
    return result


def test_layer_adaptive_is_lamp_of_the_scores():
    scores = torch.tensor([0.3, 2.0, 0.7, 1.1, 0.05], dtype=torch.float64)
    assert LayerAdaptive().comparable(scores).tolist() == pytest.approx(lamp(scores.tolist()))
    assert LayerAdaptive().comparable(1e200 * scores).tolist() == pytest.approx(lamp(scores.tolist()))


def test_layer_adaptive_shifts_negative_scores_and_keeps_their_order():
    scores = torch.tensor([-3.0, 1.0, -0.5, 4.0], dtype=torch.float64)
    values = LayerAdaptive().comparable(scores)
    assert values.tolist() == pytest.approx(lamp([0.0, 4.0, 2.5, 7.0]))
    assert values.argsort().tolist() == scores.argsort().tolist()


@pytest.mark.parametrize("scores", [[0.0, 0.0, 0.0], [2.0, 2.0], [-1.0, -1.0], [5.0]])
def test_the_best_of_a_group_has_one_whatever_the_scores(scores):
    values = LayerAdaptive().comparable(torch.tensor(scores, dtype=torch.float64))
    assert values.max() == 1.0
    assert bool(((values >= 0) & (values <= 1)).all())


def test_layer_adaptive_takes_from_the_group_where_few_filters_stand_out(structure):
    scores = {group: torch.linspace(1.0, 1.1, width) for group, width in structure.widths.items()}
    scores["conv3"] = torch.cat([torch.full((15,), 0.01), torch.full((5,), 10.0)])
    counts = LayerAdaptive().allocate(structure, scores, Budget("filters", 45 / 60))
    assert counts == {"conv1": 10, "conv2": 10, "conv3": 5, "conv4": 20}


def test_rank_is_the_mean_place_within_the_group():
    scores = torch.tensor([3.0, -1.0, 3.0, 0.0, 8.0])
    expected = (rankdata(scores.numpy()) - 0.5) / 5
    assert NORMALISATIONS["rank"](scores).tolist() == pytest.approx(expected.tolist())


def test_threshold_by_rank_is_nearly_uniform(structure):
    draw = torch.Generator().manual_seed(0)
    scores = {group: torch.rand(width, generator=draw) for group, width in structure.widths.items()}
    counts = GlobalThreshold("rank").allocate(structure, scores, Budget("filters", 0.5))
    assert all(abs(counts[group] - width / 2) <= 1 for group, width in structure.widths.items())


def test_thresholds_travel_to_worker_processes():
    for allocation in (GlobalThreshold("standard"), LayerAdaptive()):
        assert type(pickle.loads(pickle.dumps(allocation))) is type(allocation)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_the_scale_of_scores_does_not_matter_however_small_it_is(normalisation):
    """Means of squared gradients of deep, untrained networks lie below 1e-20."""
    scores = torch.rand(9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    for scale in (1e-30, 1e-14, 1.0, 1e14):
        found = NORMALISATIONS[normalisation](scores * scale)
        torch.testing.assert_close(found, NORMALISATIONS[normalisation](scores), rtol=1e-9, atol=0)
    same = torch.full((9,), 0.1 + 0.2, dtype=torch.float64)
    assert NORMALISATIONS[normalisation](same * 1e-20).isfinite().all()
    assert NORMALISATIONS[normalisation](torch.zeros(9, dtype=torch.float64)).isfinite().all()
    if normalisation == "standard":
        assert NORMALISATIONS[normalisation](same).abs().max() < 1e-3
