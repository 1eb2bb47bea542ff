"""The cost model against the layers that really run in a sliced network."""

from __future__ import annotations

import random

import pytest
import torch
from small_networks import (
    AddInPlace,
    Dense,
    Mixed,
    OptionA,
    Shared,
    Tail,
    conv4,
    images,
    mobilenet,
    randomised,
    resnet20,
)
from torch import nn
from torch.nn import functional as F

from blendsearch.models.zoo import MODELS
from blendsearch.structure import Plan, Structure, measure_latency


class TwoSizes(nn.Module):
    """One convolution looks at two image sizes, as in a feature pyramid."""

    def __init__(self):
        super().__init__()
        self.stem, self.shared, self.last = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.Conv2d(6, 5, 1)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = F.relu(self.shared(x)).mean((2, 3), keepdim=True) + F.relu(self.shared(x[:, :, ::2, ::2])).mean(
            (2, 3), keepdim=True
        )
        return self.head(F.relu(self.last(y)).flatten(1))


class Tokens(nn.Module):
    """Pixels become vectors, which get a learnt position each: a parameter with more positions than channels."""

    def __init__(self):
        super().__init__()
        self.stem, self.positions = nn.Conv2d(3, 6, 2, 2), nn.Parameter(torch.randn(1, 16, 6))
        self.wide, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(F.gelu(self.wide(self.stem(x).flatten(2).transpose(1, 2) + self.positions)).mean(1))


class TwoDilations(nn.Module):
    """Two convolutions with one weight look at the same maps at two scales."""

    def __init__(self):
        super().__init__()
        self.stem, self.near = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 3, padding=1)
        self.far, self.head = nn.Conv2d(6, 5, 3, padding=2, dilation=2), nn.Linear(5, 3)
        self.far.weight = self.near.weight

    def forward(self, x):
        x = F.relu(self.stem(x))
        return self.head(F.relu(self.near(x) + self.far(x)).mean((2, 3)))


NETWORKS = {
    "tokens": (Tokens, 8),
    "two dilations": (TwoDilations, 8),
    "conv4": (conv4, 8),
    "option A": (OptionA, 8),
    "mixed": (Mixed, 8),
    "dense": (Dense, 8),
    "shared": (Shared, 8),
    "two sizes": (TwoSizes, 8),
    "add in place": (AddInPlace, 8),
    "transposed": (lambda: Tail(nn.ConvTranspose2d(6, 8, 3, 2, bias=False), nn.ReLU(), last=8), 8),
    "resnet20": (resnet20, 16),
    "mobilenet_v2": (mobilenet, 32),
}


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    build, size = NETWORKS[request.param]
    network = randomised(build())
    return network, Structure.of(network, images(size=size)), images(1, size)


def counted(network, x):
    """Multiply-accumulates of the convolutions and linear layers that run for one image."""
    total = 0

    def hook(module, inputs, output):
        nonlocal total
        if isinstance(module, nn.Linear):
            total += module.in_features * output.numel()
        elif isinstance(module, nn.ConvTranspose2d):
            total += inputs[0].numel() * module.weight[0].numel()
        else:
            total += output.numel() * module.weight[0].numel()

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    with torch.no_grad():
        network(x)
    for handle in handles:
        handle.remove()
    return total


def test_costs_are_those_of_the_sliced_network(case):
    network, structure, x = case
    for seed in range(4):
        draw = random.Random(seed)
        counts = {name: draw.randint(1, width) for name, width in structure.widths.items()}
        keep = {name: tuple(sorted(draw.sample(range(structure.widths[name]), c))) for name, c in counts.items()}
        sliced = structure.slice(network, Plan(keep, structure.widths))
        assert structure.cost.flops(counts) == counted(sliced, x)
        assert structure.cost.params(counts) == sum(p.numel() for p in sliced.parameters())
        assert structure.cost.filters(counts) == sum(counts.values())
    full = structure.widths
    assert structure.cost.flops(full) == counted(network, x)
    for kind in ("flops", "params", "filters"):
        assert structure.cost.ratio(kind, full) == 1.0
        share = structure.cost.measure(kind, counts) / structure.cost.measure(kind, full)
        assert structure.cost.ratio(kind, counts) == share


def test_resnet20_on_cifar_costs_what_the_literature_says():
    network = MODELS.get("resnet20")(num_classes=10, in_channels=3, image_size=32)
    cost = Structure.of(network, images(size=32)).cost
    assert cost.flops(cost.widths) == pytest.approx(40.55e6, rel=2e-3)
    assert cost.params(cost.widths) == 269_722


def test_latency_is_seconds_and_leaves_every_training_flag():
    network = conv4().train()
    network.bn2.eval()  # a frozen batch norm
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    seconds = measure_latency(network, images(), repeats=3, warmup=1)
    assert 0 < seconds < 5
    assert [m.training for m in network.modules()] == [m is not network.bn2 for m in network.modules()]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_latency_leaves_the_training_flag_when_the_network_fails():
    network = conv4().train()
    with pytest.raises(RuntimeError):
        measure_latency(network, images(channels=5), repeats=1)
    assert network.training
    assert network.bn1.training
