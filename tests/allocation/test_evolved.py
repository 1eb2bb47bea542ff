"""Shares in proportion to weights, and the allocation whose weights a search finds."""

from __future__ import annotations

import itertools

import pytest
import torch
from small_networks import conv4, images

from blendsearch.allocation import ALLOCATIONS, Budget, Evolved, own_allocation, weights_of
from blendsearch.errors import BlendsearchError, ConfigError
from blendsearch.models.zoo import MODELS
from blendsearch.structure import Structure


@pytest.fixture(scope="module")
def resnet20():
    return Structure.of(MODELS.get("resnet20")(num_classes=10, in_channels=3, image_size=16).eval(), images(size=16))


def scores_of(structure):
    draw = torch.Generator().manual_seed(1)
    return {group: torch.rand(width, generator=draw) for group, width in structure.widths.items()}


def test_small_networks_get_what_trying_every_count_finds():
    """No counts within the budget follow the weights much more closely than those found."""
    structure = Structure.of(conv4(width=4).eval(), images())
    keep = dict(zip(structure.widths, (1.0, 0.5, 1.0, 0.4), strict=True))
    found = Evolved().of(keep, structure).allocate(structure, {}, Budget("filters", 0.5, 0.0))
    assert sum(found.values()) == 12
    wish = {group: keep[group] * width for group, width in structure.widths.items()}
    ideal = [12 * part / sum(wish.values()) for part in wish.values()]
    fitting = itertools.product(*(range(1, width + 1) for width in structure.widths.values()))
    errors = [max(abs(c - i) for c, i in zip(counts, ideal, strict=True)) for counts in fitting if sum(counts) == 12]
    own = max(abs(c - i) for c, i in zip(found.values(), ideal, strict=True))
    assert own <= min(errors) + 0.5


def test_equal_weights_are_the_uniform_allocation(resnet20):
    uniform = ALLOCATIONS.get("uniform")()
    equal = Evolved().of(dict.fromkeys(resnet20.widths, 1.7), resnet20)
    for kind, ratio in (("flops", 0.5), ("params", 0.3), ("filters", 0.7)):
        budget = Budget(kind, ratio)
        assert equal.allocate(resnet20, {}, budget) == uniform.allocate(resnet20, {}, budget)


def test_the_weights_of_an_allocation_give_it_back(resnet20):
    scores, budget = scores_of(resnet20), Budget("flops", 0.45)
    for name in ("uniform", "global_threshold"):
        counts = ALLOCATIONS.get(name)().allocate(resnet20, scores, budget)
        again = Evolved().of(weights_of(counts, resnet20.widths), resnet20).allocate(resnet20, scores, budget)
        assert all(abs(again[group] - counts[group]) <= 1 for group in counts)


def test_a_group_with_more_weight_keeps_more(resnet20):
    first, second = list(resnet20.widths)[1:3]
    keep = dict.fromkeys(resnet20.widths, 1.0) | {first: 2.0, second: 0.5}
    counts = Evolved().of(keep, resnet20).allocate(resnet20, {}, Budget("flops", 0.3))
    shares = {group: counts[group] / width for group, width in resnet20.widths.items()}
    assert shares[first] > 1.5 * shares[second]


def test_pruning_in_steps_ends_with_the_same_counts():
    network = conv4(width=16).eval()
    structure = Structure.of(network, images())
    keep = dict(zip(structure.widths, (2.0, 0.5, 1.0, 1.0), strict=True))
    allocation = Evolved().of(keep, structure)
    at_once = allocation.allocate(structure, {}, Budget("filters", 0.4))
    plan = allocation.plan(structure, scores_of(structure), Budget("filters", 0.7))
    smaller = structure.again(structure.slice(network, plan), plan)
    ratio = 0.4 * sum(structure.widths.values()) / sum(smaller.widths.values())
    in_steps = allocation.allocate(smaller, {}, Budget("filters", ratio), dict.fromkeys(smaller.widths, 1))
    assert all(abs(in_steps[group] - at_once[group]) <= 1 for group in at_once)


def test_only_the_evolved_allocation_takes_a_blends_weights(resnet20):
    keep = dict.fromkeys(resnet20.widths, 1.0)
    uniform, evolved = ALLOCATIONS.get("uniform")(), Evolved()
    assert own_allocation(uniform, keep, resnet20) is uniform
    assert own_allocation(evolved, {}, resnet20) is evolved
    assert own_allocation(evolved, keep, resnet20) is not evolved


@pytest.mark.parametrize("start", [[], ["evolved"], ["uniform", "unifrom"]])
def test_wrong_starts_are_one_line(start):
    with pytest.raises((ConfigError, BlendsearchError), match=r"allocation\.start") as error:
        Evolved(start)
    assert "evolved" not in str(error.value).partition("allowed: ")[2]
    assert len(str(error.value).splitlines()) == 1
