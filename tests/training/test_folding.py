"""Batch norms folded into convolutions: the same answers, and none folded where a network looks at them otherwise."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import nn

from blendsearch.structure import Plan, Structure
from blendsearch.structure.trace import trace
from blendsearch.training.folding import fold_norms, foldable_norms

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def unlike(network: nn.Module) -> nn.Module:
    """Give the norms statistics and weights of which none could be left out unseen."""
    draws = torch.Generator().manual_seed(1)
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        for values, low, high in ((norm.running_mean, -1, 1), (norm.running_var, 0.5, 2)):
            values.uniform_(low, high, generator=draws)
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5, generator=draws)
            nn.init.uniform_(norm.bias, -1, 1, generator=draws)
    return network.eval()


def folded(network: nn.Module) -> dict[str, str]:
    return foldable_norms(network, trace(copy.deepcopy(network), IMAGES), IMAGES)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "regnet_y_400mf"])
def test_the_answers_are_the_same_also_after_slicing(name):
    torch.manual_seed(0)
    network = unlike(getattr(torchvision.models, name)(num_classes=10))
    structure = Structure.of(network, IMAGES)
    norms = foldable_norms(network, structure.trace, IMAGES)
    assert len(norms) == len(structure.trace.norm) > 15
    widths = structure.widths
    sliced = structure.slice(network, Plan({g: tuple(range(0, width, 2)) for g, width in widths.items()}, widths))
    wanted = sliced(IMAGES)
    fold_norms(sliced, norms)
    assert not any(isinstance(sliced.get_submodule(norm), nn.BatchNorm2d) for norm in norms.values())
    torch.testing.assert_close(sliced(IMAGES), wanted, rtol=1e-4, atol=1e-4 * wanted.std().item())
    fold_norms(sliced, norms)  # again: nothing is folded twice
    torch.testing.assert_close(sliced(IMAGES), wanted, rtol=1e-4, atol=1e-4 * wanted.std().item())


class Looking(nn.Module):
    """Does something with a convolution and its norm; `how` says what."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6, affine=how != "no weights")
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.head, self.how = nn.Linear(6, 4), how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raw = self.conv(x)
        found = self.norm(raw)
        if self.how == "raw output":
            found = found + raw
        if self.how == "weights":
            found = found * self.norm.weight[:, None, None]
        if self.how == "twice":
            found = self.norm(self.again(found.relu()))
        return self.head(found.relu().mean((2, 3)))


@pytest.mark.parametrize("how", ["raw output", "weights", "twice"])
def test_a_norm_that_the_network_also_looks_at_stays(how):
    network = unlike(Looking(how))
    before = network(IMAGES)
    assert folded(network) == {}
    assert torch.equal(network(IMAGES), before)


@pytest.mark.parametrize("how", ["plain", "no weights"])
def test_a_plain_one_is_folded(how):
    assert folded(unlike(Looking(how))) == {"conv": "norm"}


def test_one_that_a_hook_looks_at_stays():
    network = unlike(Looking("plain"))
    network.norm.register_forward_hook(lambda module, given, output: output * 2)
    assert folded(network) == {}


class Counting(nn.BatchNorm2d):
    """A batch norm of someone's own."""


def test_one_of_another_class_stays():
    network = Looking("plain")
    network.norm = Counting(6)
    assert folded(unlike(network)) == {}
