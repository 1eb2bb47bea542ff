"""The fast copy of a network, against `copy.deepcopy`, attribute by attribute."""

from __future__ import annotations

import copy
import types
import weakref
from collections import OrderedDict

import pytest
import torch
import torchvision
from small_networks import AddInPlace, Dense, Mixed, OptionA, conv4, mobilenet, randomised, resnet20
from torch import nn

from blendsearch.models.zoo import MODELS
from blendsearch.structure.copying import copy_with, deep_copy


class Odd(nn.Module):
    """Everything that a module may hold beside tensors."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.twice = self.body[0]  # one module at two places
        self.listed = [self.body[0], {"norm": self.body[1]}]  # and in plain containers
        self.sizes, self.table, self.names = (1, (2, 3)), {"a": [1, [2]], 3: OrderedDict(b=None)}, {"x", "y"}
        self.plain = torch.ones(2)
        self.scale = nn.Parameter(torch.ones(2))
        self.shared_list = self.table["a"]
        self.itself = [self]
        self.method = self.helper
        self.register_buffer("none", None)
        self.register_buffer("quiet", torch.zeros(3), persistent=False)
        self.body[0].register_forward_hook(print)

    def helper(self):
        return self.scale


class OwnCopy(nn.Conv2d):
    """Says itself how it is copied."""

    def __deepcopy__(self, memo):
        found = OwnCopy(3, 4, 1)
        found.copied = True
        return found


class OwnState(nn.Linear):
    """Leaves something out of its copies, and puts it back."""

    def __getstate__(self):
        return {**super().__getstate__(), "dropped": None}

    def __setstate__(self, state):
        super().__setstate__({**state, "restored": True})


def alike(one, other, seen):
    """Tell whether two values are equal part by part, and share what they share in the same way."""
    if id(one) in seen:
        return seen[id(one)] == id(other)
    if type(one) is not type(other):
        return False
    seen[id(one)] = id(other)
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.requires_grad == other.requires_grad
    if isinstance(one, nn.Module):
        return alike(vars(one), vars(other), seen)
    if isinstance(one, dict):
        return list(one) == list(other) and all(alike(one[key], other[key], seen) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(alike(a, b, seen) for a, b in zip(one, other, strict=True))
    if isinstance(one, weakref.ref):
        return alike(one(), other(), seen)
    if isinstance(one, types.MethodType):
        return one.__func__ is other.__func__ and seen[id(one.__self__)] == id(other.__self__)
    return one == other


NETWORKS = {
    **{build.__name__: build for build in (conv4, Mixed, OptionA, Dense, AddInPlace, resnet20, mobilenet, Odd)},
    "attention": lambda: nn.TransformerEncoderLayer(8, 2),
    "lstm": lambda: nn.LSTM(3, 4),
    "densenet": lambda: torchvision.models.DenseNet(4, (1, 1), 8, num_classes=3),
    "vgg16_bn": lambda: MODELS.get("vgg16_bn")(num_classes=10, in_channels=3, image_size=32),
    "spectral norm": lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4))),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_what_deepcopy_gives(name):
    network = NETWORKS[name]()
    assert alike(copy.deepcopy(network), deep_copy(network, {}), {})
    assert alike(copy_with(network, lambda path, key, tensor, module: tensor.clone()), copy.deepcopy(network), {})


def test_nothing_that_can_be_changed_is_shared_with_the_copy():
    network = Odd()
    before = copy.deepcopy(network)
    found = deep_copy(network, {})
    found.table["a"].append(9)
    found.names.add("z")
    found.body[0]._forward_hooks.clear()
    found.plain.zero_()
    found.body[0].weight.data.zero_()
    assert alike(network, before, {})
    assert found.twice is found.body[0] is found.listed[0]
    assert found.itself[0] is found


def test_modules_that_copy_themselves_do():
    network = nn.Sequential(OwnCopy(3, 4, 1), OwnState(2, 2))
    found = deep_copy(network, {})
    assert found[0].copied
    assert found[1].dropped is None
    assert found[1].restored


def test_a_copy_computes_the_same():
    network = randomised(resnet20())
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(deep_copy(network, {}).eval()(x), network.eval()(x))
