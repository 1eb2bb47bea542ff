"""However a network calls torch's functions, its filters get the scores of the plain way."""

from __future__ import annotations

import pytest
import torch
from small_networks import images, randomised
from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.criteria import ScoringSetup, names, score_applicable
from blendsearch.structure import Structure
from blendsearch.structure.trace import trace


def scored(network):
    data = [(images(6, seed=3), torch.arange(6) % 3)]
    return score_applicable(network, Structure.of(network, images()), data, names(), ScoringSetup())


def assert_same_scores(one, other, but=()):
    found, expected = scored(one), scored(other)
    assert found.left_out == expected.left_out
    for name in set(expected.scores) - set(but):
        for group, score in expected.scores[name].items():
            torch.testing.assert_close(found.scores[name][group], score, rtol=1e-3, atol=1e-6, msg=f"{name} {group}")


class Body(nn.Module):
    """Convolutions with an addition and a gate; how functions are called is the test's."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.last = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 5, 3, padding=1)
        self.side, self.gate, self.head = nn.Conv2d(6, 5, 1), nn.Linear(5, 5), nn.Linear(5, 3)


class InOrder(Body):
    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(torch.add(self.last(x), self.side(x)))
        x = torch.mul(x, torch.sigmoid(self.gate(torch.mean(x, (2, 3))))[:, :, None, None])
        return self.head(torch.sub(torch.mean(x, (2, 3)), 0.5))


class ByName(Body):
    def forward(self, x):
        x = torch.relu(input=self.norm(self.stem(x)))
        x = torch.relu(input=torch.add(input=self.last(x), other=self.side(x)))
        gate = torch.sigmoid(input=self.gate(torch.mean(input=x, dim=(2, 3))))[:, :, None, None]
        x = torch.mul(input=x, other=gate)
        return self.head(torch.sub(input=torch.mean(input=x, dim=(2, 3)), other=0.5))


class ByNameInPlace(Body):
    def forward(self, x):
        x = F.relu(input=self.norm(self.stem(x)), inplace=True)
        x = self.last(x).add_(other=self.side(x)).relu_()
        x = x.clone().mul_(other=torch.sigmoid(self.gate(x.mean(dim=(2, 3))))[:, :, None, None])
        return self.head(x.mean(dim=(2, 3)).sub(other=0.5))


@pytest.mark.parametrize("kind", [ByName, ByNameInPlace])
def test_operands_may_be_given_by_name(kind):
    network, plain = randomised(kind()).eval(), randomised(InOrder()).eval()
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(images()), plain(images()))
    assert_same_scores(network, plain)


class TwoLayers(nn.Module):
    """Two normed convolutions and the activation that the test gives."""

    def __init__(self, activation):
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 5, 3)
        self.bn1, self.bn2, self.head = nn.BatchNorm2d(6), nn.BatchNorm2d(5), nn.Linear(5, 3)
        self.activation = activation

    def forward(self, x):
        x = self.activation(self.bn1(self.one(x)))
        return self.head(self.activation(self.bn2(self.other(x))).mean((2, 3)))


def in_place(x):
    return x.mul_(x.sigmoid())


def hard(x):
    return x * F.relu6(x + 3.0).div_(6.0)


BY_HAND = {
    "x * sigmoid(x)": (lambda x: x * torch.sigmoid(x), F.silu),
    "sigmoid(x) * x": (lambda x: torch.sigmoid(x) * x, F.silu),
    "in place": (in_place, F.silu),
    "by name": (lambda x: torch.mul(input=x, other=torch.sigmoid(input=x)), F.silu),
    "hard": (hard, F.hardswish),
    "mish": (lambda x: x * torch.tanh(F.softplus(x)), F.mish),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_an_activation_written_by_hand_is_observed_where_it_is_whole(name):
    """Not at its gate, whose maps are others and where no relevance arrives."""
    by_hand, function = BY_HAND[name]
    network, plain = randomised(TwoLayers(by_hand)).eval(), randomised(TwoLayers(function)).eval()
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(images()), plain(images()))
    structure = Structure.of(network, images())
    assert len(structure.trace.gated) == len(structure.trace.sites) == 2
    assert_same_scores(network, plain)


def test_a_gate_for_each_channel_of_maps_that_are_not_activated_yet_is_no_place_to_observe_them():
    """Gated channel transformation: a gate by the norm of the map, then the activation."""

    def by_channel(x):
        return F.relu(x * (1 + torch.tanh(x.square().mean((2, 3), keepdim=True))))

    network = randomised(TwoLayers(by_channel)).eval()
    calls = Structure.of(network, images()).trace.sites
    seen = []
    network.activation = lambda x: seen.append(by_channel(x)) or seen[-1]
    with torch.no_grad():
        network(images(6, seed=3))
    found = scored(network).scores["activation_mean"]
    assert [site.convolutions for site in calls] == [("one",), ("other",)]
    torch.testing.assert_close(found["one"], seen[0].mean((0, 2, 3)))
    torch.testing.assert_close(found["other"], seen[1].mean((0, 2, 3)))


def test_what_gates_another_layers_maps_keeps_its_own_place():
    class Star(TwoLayers):
        def forward(self, x):
            x = self.activation(self.bn1(self.one(x)))
            return self.head((F.relu(self.bn2(self.other(x))) * x[:, :5, 1:-1, 1:-1]).mean((2, 3)))

    traced = trace(randomised(Star(F.relu)).eval(), images())
    assert traced.gated == {}
    assert [(site.convolutions, site.index) for site in traced.sites] == [(("one",), 0), (("other",), 1)]


class Standardised(nn.Conv2d):
    """A convolution that makes the weight it uses of its own one, whose scale then says nothing."""

    def made(self) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return weight / (weight.std((1, 2, 3), keepdim=True) + 1e-3)

    def forward(self, x):
        return F.conv2d(x, self.made(), self.bias, self.stride, self.padding)


def test_what_a_reader_would_miss_goes_by_the_weights_it_multiplies_with():
    made, plain = randomised(TwoLayers(F.relu)).eval(), randomised(TwoLayers(F.relu)).eval()
    made.other = Standardised(6, 5, 3)
    made.load_state_dict(plain.state_dict())
    with torch.no_grad():
        made.other.weight.mul_(torch.logspace(-2, 2, 5)[:, None, None, None])
        plain.other.weight.copy_(made.other.made())
    torch.testing.assert_close(made(images()), plain(images()))
    found, expected = scored(made).scores, scored(plain).scores
    for name in ("thinet", "obs", "obs_fisher"):
        torch.testing.assert_close(found[name]["one"], expected[name]["one"], rtol=1e-3, atol=1e-6, msg=name)


def test_obd_takes_the_gradients_of_the_parameter_of_which_a_weight_is_made():
    network = randomised(TwoLayers(F.relu)).eval()
    network.other = Standardised(6, 5, 3)
    with torch.no_grad():
        network.other.weight.mul_(torch.logspace(-2, 2, 5)[:, None, None, None])
    rise = torch.zeros(5)
    for image, label in zip(images(6, seed=3), torch.arange(6) % 3, strict=True):
        loss = F.cross_entropy(network(image[None]), label[None])
        gradient = torch.autograd.grad(loss, network.other.weight)[0]
        rise += (network.other.weight.detach() * gradient).square().sum((1, 2, 3)) / 12
    torch.testing.assert_close(scored(network).scores["obd"]["other"], rise, rtol=1e-3, atol=1e-8)
