"""Where feature maps are observed and where residual sums join, however the network is written."""

from __future__ import annotations

import pytest
import torch
from small_networks import AddInPlace, Mixed, NormWithActivation, OptionA, Tail, images, randomised, resnet20
from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.errors import StructureError
from blendsearch.structure.trace import CallCounter, Join, Site, trace


class Written(nn.Module):
    """convolution - norm - activation - convolution - activation, with the activation given by the test."""

    def __init__(self, activation, inplace_module=None):
        super().__init__()
        self.conv1, self.bn1, self.conv2 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3)
        self.module = inplace_module
        self.activation = activation
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = self.activation(self.bn1(self.conv1(x)))
        return self.head(self.activation(self.conv2(x)).mean((2, 3)))


ACTIVATIONS = {
    "module": nn.ReLU(),
    "in-place module": nn.ReLU(inplace=True),
    "functional": F.relu,
    "in-place functional": lambda x: F.relu(x, inplace=True),
    "torch": torch.relu,
    "method": lambda x: x.relu(),
    "in-place method": lambda x: x.relu_(),
    "silu": nn.SiLU(inplace=True),
    "hardswish": F.hardswish,
    "relu6": nn.ReLU6(inplace=True),
    "prelu": nn.PReLU(),
    "gelu": nn.GELU(),
    "tanh": torch.tanh,
    "leaky": nn.LeakyReLU(0.1, inplace=True),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_sites_are_after_the_activation(name):
    traced = trace(Written(ACTIVATIONS[name]), images())
    assert traced.sites == [Site(("conv1",), index=0), Site(("conv2",), index=1)]
    assert traced.norm == {"conv1": "bn1"}
    assert traced.order[:2] == ["conv1", "bn1"]


def test_without_an_activation_the_site_is_the_norm_or_the_convolution():
    traced = trace(Written(nn.Identity()), images())
    assert traced.sites == [Site(("conv1",), module="bn1"), Site(("conv2",), module="conv2")]


def test_an_activation_after_pooling_and_dropout_still_counts():
    network = Tail(nn.Conv2d(6, 5, 3), nn.MaxPool2d(2), nn.Dropout2d(0.5), nn.ReLU(), last=5)
    assert trace(network, images()).sites == [Site(("first",), index=0), Site(("middle.0",), index=1)]


def test_a_norm_that_holds_its_activation_is_followed():
    traced = trace(Tail(nn.Conv2d(6, 5, 3), NormWithActivation(5), nn.Conv2d(5, 4, 1), nn.ReLU(), last=4), images())
    assert traced.norm == {"first": "norm", "middle.0": "middle.1"}
    assert traced.activating == {"middle.1"}
    assert traced.sites == [Site((conv,), index=i) for i, conv in enumerate(("first", "middle.0", "middle.2"))]


def test_a_norm_whose_activation_is_switched_off_gives_the_operand_of_a_sum():
    class Residual(Tail):
        def forward(self, x):
            x = F.relu(self.norm(self.first(x)))
            return self.head(F.relu(x + self.middle(x)).mean((2, 3)))

    traced = trace(Residual(nn.Conv2d(6, 6, 1), NormWithActivation(6, nn.Identity())), images())
    assert traced.norm["middle.0"] == "middle.1"
    assert traced.joins == [Join(0, 1, "middle.0")]
    assert traced.sites == [Site(("first",), index=0), Site(("middle.0",), index=1)]


class Activated(nn.Conv2d):
    """A convolution that activates what it gives."""

    def forward(self, x):
        return F.relu(super().forward(x))


def test_a_convolution_with_an_activation_of_its_own_is_observed_at_its_output():
    traced = trace(Tail(Activated(6, 5, 3), nn.MaxPool2d(2), nn.ReLU(), last=5), images())
    assert traced.sites == [Site(("first",), index=0), Site(("middle.0",), module="middle.0")]


def test_a_sum_of_two_convolutions_is_one_site():
    traced = trace(Mixed(), images())
    assert traced.sites[0] == Site(("left", "right"), index=0)
    assert traced.joins == [Join(0, 1, "right")]
    assert traced.input_shape["last"][1:] == (10, 8, 8)
    assert traced.output_shape["last"][1:] == (5, 4, 4)
    assert (traced.positions["last"], traced.positions["head"]) == (16, 1)


def test_residual_sums_of_a_resnet():
    traced = trace(resnet20(), images(size=16))
    assert [join.convolution for join in traced.joins] == [f"layer{i}.{j}.conv2" for i in (1, 2, 3) for j in range(3)]
    assert [join.index for join in traced.joins] == list(range(9))
    assert len(traced.sites) == 19
    assert all(site.index >= 0 for site in traced.sites)


class Sum(nn.Module):
    """A residual block with the sum written in the way the test gives."""

    def __init__(self, add):
        super().__init__()
        self.stem, self.conv, self.bn, self.add = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), add
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = self.add(x, self.bn(self.conv(x)))
        return self.head(F.relu(y).mean((2, 3)))


def in_place(x, y):
    y += x
    return y


def as_statement(x, y):
    y.add_(x)
    return y


SUMS = {
    "x + y": (lambda x, y: x + y, 1),
    "y + x": (lambda x, y: y + x, 0),
    "torch.add": (torch.add, 1),
    "y += x": (in_place, 0),
    "y.add_(x)": (as_statement, 0),
    "method": (lambda x, y: x.add(y), 1),
}


@pytest.mark.parametrize("name", SUMS)
def test_joins_however_the_sum_is_written(name):
    add, operand = SUMS[name]
    network = randomised(Sum(add))
    traced = trace(network, images())
    assert traced.joins == [Join(0, operand, "conv")]
    assert traced.sites == [Site(("stem",), index=0), Site(("conv",), index=1)]


@pytest.mark.parametrize("name", SUMS)
def test_counting_calls_does_not_change_the_answer(name):
    network = randomised(Sum(SUMS[name][0]))
    with torch.no_grad():
        expected = network(images())
        with CallCounter() as counter:
            observed = network(images())
    torch.testing.assert_close(observed, expected)
    assert (counter.activations, counter.additions) == (2, 1)


@pytest.mark.parametrize("name", SUMS)
def test_the_operands_are_seen_as_they_were_and_the_sum_can_be_replaced(name):
    class Replace(CallCounter):
        def on_addition(self, index, inputs, output):
            torch.testing.assert_close(inputs[0] + inputs[1], output)
            return torch.zeros_like(output)

    network = randomised(Sum(SUMS[name][0]))
    with torch.no_grad(), Replace():
        observed = network(images())
    torch.testing.assert_close(observed, network.head.bias.detach().expand(2, 3))


@pytest.mark.parametrize("in_place", [False, True])
def test_what_an_alpha_scales_is_no_operand_of_its_convolution_but_belongs_to_the_site(in_place):
    add = Tensor.add_ if in_place else torch.add
    scaled = trace(randomised(Sum(lambda x, y: add(x, y, alpha=0.5))), images())
    assert scaled.joins == []
    assert scaled.sites == [Site(("stem",), index=0), Site(("conv",), index=1)]
    other_way = trace(randomised(Sum(lambda x, y: add(y, x, alpha=0.5))), images())
    assert other_way.joins == [Join(0, 0, "conv")]


class Normed(Sum):
    """A convolution and its norm, put together by a function of the norm and what the convolution gives."""

    def forward(self, x):
        return self.head(self.add(self.bn, self.conv(F.relu(self.stem(x)))).mean((2, 3)))


def test_a_norm_is_its_convolutions_own_where_nothing_else_reads_either():
    assert trace(randomised(Normed(lambda norm, z: norm(z))), images()).shared == set()
    assert trace(randomised(Normed(lambda norm, z: norm(z) * z.sigmoid())), images()).shared == {"conv"}
    assert trace(randomised(Normed(lambda norm, z: norm(norm(z)))), images()).shared == {"conv"}


def test_a_scalar_sum_is_no_join():
    assert trace(Sum(lambda x, y: y + 1.0), images()).joins == []


def test_paused_calls_are_not_counted():
    with CallCounter() as counter:
        F.relu(images())
        with counter.paused():
            F.relu(images())
        images() + images()
    assert (counter.activations, counter.additions) == (1, 1)


def test_no_hook_stays_after_a_failure():
    network = OptionA()
    with pytest.raises(StructureError):
        trace(network, images(channels=5))
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.overrides._len_torch_function_stack() == 0


def test_add_in_place_network_is_followed():
    traced = trace(AddInPlace(), images())
    assert traced.joins == [Join(0, 0, "conv")]
    assert traced.sites[1] == Site(("conv",), index=1)
