"""Images and labels of any plain kind, and what is said of images that are none."""

from __future__ import annotations

import math

import pytest
import torch
from small_networks import Tail, conv4, images, randomised
from torch import nn

from blendsearch.criteria import ScoringSetup, names, score_applicable
from blendsearch.errors import DataError
from blendsearch.statistics import gather
from blendsearch.statistics.labels import classes_if_shuffled
from blendsearch.structure import Structure


@pytest.fixture(scope="module")
def small():
    network = randomised(conv4()).eval()
    return network, Structure.of(network, images())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.bool])
def test_labels_of_any_whole_numbers_give_the_same_scores(small, dtype):
    x, y = images(6, seed=3), torch.arange(6) % 2
    expected = score_applicable(*small, [(x, y)], names(), ScoringSetup())
    found = score_applicable(*small, [(x, y.to(dtype))], names(), ScoringSetup())
    assert found.left_out == expected.left_out
    for name, groups in expected.scores.items():
        assert all(torch.equal(found.scores[name][group], score) for group, score in groups.items()), name


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_image_that_is_not_finite_is_named(small, value):
    x = images(6, seed=3)
    x[4, 0, 2, 2] = value
    batches = [(x[:3], torch.zeros(3).long()), (x[3:], torch.zeros(3).long())]
    with pytest.raises(DataError, match=r"calibration image 4 \(from 0\) holds NaN or infinity"):
        gather(*small, batches, ["activations.mean"])


def test_maps_that_overflow_leave_out_the_criteria_that_look_at_them():
    network = randomised(Tail(nn.Conv2d(6, 5, 1), nn.ReLU(), last=5)).eval()
    structure = Structure.of(network, images())
    with torch.no_grad():
        network.middle[0].weight[2] = 1e37
    data = [(images(6, seed=3) * 1e4, torch.arange(6) % 3)]
    found = score_applicable(network, structure, data, ["entropy", "activation_mean", "l1"], ScoringSetup())
    assert found.left_out == dict.fromkeys(
        ["entropy", "activation_mean"], "group 'middle.0' got scores that are not finite"
    )


def in_parts(labels, size=20):
    return [(images(len(part), seed=number), part) for number, part in enumerate(labels.split(size))]


@pytest.mark.parametrize(
    ("need", "first", "classes"),
    [("activations.independence", 64, 1), ("gradients.weight_square", 64, 1), ("gradients.hessian_gradient", 32, 1)],
)
def test_images_that_come_class_by_class_are_warned_of(small, need, first, classes):
    told = rf"the first {first} calibration images are of {classes} of the 2 classes.*shuffled"
    with pytest.warns(UserWarning, match=told):
        gather(*small, in_parts(torch.arange(2).repeat_interleave(70)), [need])


def test_shuffled_images_and_measures_without_a_limit_are_not_warned_of(small, recwarn):
    gather(*small, in_parts(torch.arange(140) % 2), ["activations.independence", "gradients.weight_square"])
    gather(*small, in_parts(torch.arange(2).repeat_interleave(70)), ["activations.mean", "weights.flow"])
    assert not [one for one in recwarn if "calibration images" in str(one.message)]


@pytest.mark.parametrize(("counts", "first"), [([5, 1, 3], 4), ([10] * 10, 12), ([2, 8], 9), ([4], 2)])
def test_how_many_classes_shuffled_images_show_is_that_of_counting(counts, first):
    total, choose = sum(counts), math.comb
    expected = sum(1 - choose(total - count, first) / choose(total, first) for count in counts)
    assert classes_if_shuffled(counts, first) == pytest.approx(expected)
