"""Sizes and tensors of a sliced network make the same network of a fresh instance, without its structure."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from small_networks import Dense, Mixed, OptionA, Tail, conv4, images, mobilenet, randomised
from timm.layers import BlurPool2d
from torch import nn

from blendsearch.structure import Plan, Structure
from blendsearch.structure.sizes import declared_sizes, resized_copy, unsaved_buffers

KINDS = [nn.Conv2d(6, 8, 3, groups=2), nn.GroupNorm(2, 8), nn.PReLU(8), BlurPool2d(8), nn.Conv2d(8, 5, 1)]
NETWORKS = {
    "conv4": conv4,
    "option A": OptionA,
    "mixed": Mixed,
    "dense": Dense,
    "mobilenet_v2": mobilenet,
    "grouped, group norm, prelu, blur pooling": lambda: Tail(*copy.deepcopy(KINDS), last=5),
    "transposed": lambda: Tail(nn.ConvTranspose2d(6, 8, 2), nn.BatchNorm2d(8), nn.Conv2d(8, 5, 3), last=5),
}


def halved(structure, seed=0):
    draw = random.Random(seed)
    widths = structure.widths
    keep = {name: tuple(sorted(draw.sample(range(width), max(1, width // 2)))) for name, width in widths.items()}
    return Plan(keep, widths)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_fresh_instance_becomes_the_sliced_network(kind):
    network, fresh = randomised(NETWORKS[kind]()), NETWORKS[kind]()
    size = 32 if kind == "mobilenet_v2" else 8
    structure = Structure.of(network, images(size=size))
    sliced = structure.slice(network, halved(structure)).eval()
    before = copy.deepcopy(fresh.state_dict())

    tensors = {**sliced.state_dict(), **unsaved_buffers(sliced)}
    again = resized_copy(fresh, declared_sizes(sliced), tensors).eval()

    x = images(3, size, seed=1)
    with torch.no_grad():
        assert torch.equal(again(x), sliced(x))
        assert not torch.equal(again(x), network(x))
    assert str(again) == str(sliced)  # what modules say of themselves agrees with their tensors
    assert all(torch.equal(tensor, before[key]) for key, tensor in fresh.state_dict().items())
    again.train()(x).sum().backward()


def test_the_table_of_a_shortcut_is_no_part_of_the_state_dict_but_is_kept():
    network = OptionA()
    assert list(unsaved_buffers(network)) == ["block2.shortcut.source"]
    assert declared_sizes(network)["block2.shortcut"] == {"in_channels": 6, "out_channels": 10}


def test_tensors_that_are_not_given_stay_as_they_are():
    network = conv4()
    again = resized_copy(network, {}, {"linear.bias": torch.full((3,), 7.0)})
    assert again.linear.bias.tolist() == [7, 7, 7]
    assert torch.equal(again.conv1.weight, network.conv1.weight)
