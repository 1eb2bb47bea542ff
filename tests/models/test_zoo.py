"""The networks of the zoo: sizes, names of parameters, smallest images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blendsearch.models.zoo import MODELS


def network(name: str, channels: int = 3, size: int = 32, classes: int = 10, **arguments) -> nn.Module:
    return MODELS.get(name)(num_classes=classes, in_channels=channels, image_size=size, **arguments)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_names():
    names = {"conv4", "resnet18", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "vgg16_bn", "vgg19_bn"}
    assert names <= set(MODELS.names())


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [
        ("conv4", 1, 8), ("conv4", 1, 28), ("conv4", 3, 32), ("resnet20", 3, 32), ("resnet20", 1, 28),
        ("resnet18", 3, 32), ("resnet18", 1, 28), ("resnet32", 3, 32), ("vgg16_bn", 3, 32), ("vgg16_bn", 1, 16),
        ("vgg19_bn", 3, 32),
    ],
)  # fmt: skip
def test_logits_for_small_images(name, channels, size):
    with torch.no_grad():
        assert network(name, channels, size, classes=7)(torch.zeros(2, channels, size, size)).shape == (2, 7)


# Millions of parameters in table 6 of He et al., CVPR 2016.
@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet20", 0.27), ("resnet32", 0.46), ("resnet44", 0.66), ("resnet56", 0.85), ("resnet110", 1.7)],
)
def test_resnets_have_the_size_of_the_paper(name, millions):
    assert parameters(network(name)) / 1e6 == pytest.approx(millions, abs=0.05 if millions > 1 else 0.006)


def test_resnet_keys_are_those_in_common_use():
    keys = set(network("resnet20").state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer2.0.conv1.weight", "layer3.2.bn2.bias", "linear.bias"} <= keys
    assert not [key for key in keys if "shortcut" in key]


def test_conv4_takes_a_width():
    thin, wide = network("conv4", width=4), network("conv4", width=8)
    convolutions = [module.out_channels for module in thin.modules() if isinstance(module, nn.Conv2d)]
    assert convolutions == [4, 4, 8, 8]
    assert parameters(wide) > 2 * parameters(thin)


def test_vgg16_has_thirteen_convolutions_each_with_batch_norm():
    kinds = [type(module) for module in network("vgg16_bn").modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.BatchNorm2d), kinds.count(nn.Linear)) == (13, 13, 1)


@pytest.mark.parametrize(
    ("width_mult", "first", "last"), [(0.5, 32, 256), (1.0, 64, 512), (0.01, 1, 5), (0.3, 19, 154)]
)
def test_vgg_takes_a_multiple_of_its_width(width_mult, first, last):
    thin = network("vgg16_bn", classes=7, width_mult=width_mult)
    widths = [module.out_channels for module in thin.modules() if isinstance(module, nn.Conv2d)]
    assert (widths[0], widths[-1]) == (first, last)
    assert thin.linear.in_features == last
    with torch.no_grad():
        assert thin(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("width_mult", [0, -1.0, 17, float("nan"), float("inf")])
def test_vgg_refuses_a_width_that_is_none(width_mult):
    with pytest.raises(ValueError, match=r"width_mult=.*more than 0 and at most 16"):
        network("vgg19_bn", width_mult=width_mult)


def test_every_entry_says_in_a_line_what_it_is():
    for name in MODELS:
        assert MODELS.get(name).__doc__
