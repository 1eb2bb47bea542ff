"""How counts approach a budget: near the shares that are meant, in their order, and within the budget's tolerance."""

from __future__ import annotations

import pytest
from small_networks import images
from torch import nn

from blendsearch.allocation import Budget, Evolved
from blendsearch.structure import Structure


def chain(width=16):
    layers = []
    for inputs in (3, width, width):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5)).eval()


@pytest.fixture(scope="module")
def three():
    return Structure.of(chain(), images())


def test_the_order_of_the_shares_survives_the_budget(three):
    """The budget falls where two groups are about to be full: neither may overtake what stands above it."""
    allocation = Evolved().of({"0": 2.0, "2": 0.5, "4": 1.0}, three)
    counts = allocation.allocate(three, {}, Budget("flops", 0.5))
    assert counts["0"] > counts["4"] > counts["2"]
    assert 0.49 <= three.cost.ratio("flops", counts) <= 0.5


def test_giving_up_two_filters_for_one_comes_closer(three):
    """With (16, 7, 15) filters no exchange of single ones keeps the shares and comes closer to one half."""
    counts = Evolved().of({"0": 2.0, "2": 0.5, "4": 1.0}, three).allocate(three, {}, Budget("flops", 0.5))
    assert counts == {"0": 15, "2": 8, "4": 14}


@pytest.mark.parametrize(
    ("width", "weights", "ratio"),
    [
        (8, (0.75, 1.0, 0.5), 0.5),
        (8, (0.5, 1.0, 0.75), 0.7),
        (12, (0.75, 1.0, 0.5), 0.3),
        (12, (0.5, 1.0, 0.75), 0.4),
        (16, (0.5, 1.0, 0.75), 0.3),
        (16, (0.5, 1.0, 0.75), 0.7),
    ],
)
def test_few_coarse_filters_keep_the_order_of_the_shares(width, weights, ratio):
    """Where every filter is a large step, closeness to the budget is no reason to turn the shares around."""
    structure = Structure.of(chain(width), images())
    keep = dict(zip(structure.widths, weights, strict=True))
    counts = Evolved().of(keep, structure).allocate(structure, {}, Budget("flops", ratio, 0.0))
    in_order = [counts[group] for group in sorted(keep, key=lambda group: keep[group])]
    assert in_order == sorted(in_order)
    assert 0.9 * ratio <= structure.cost.ratio("flops", counts) <= ratio
