"""Building the network that a space names."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from blendsearch.config import ModelConfig
from blendsearch.errors import ConfigError, UnknownNameError
from blendsearch.models.loading import build, check_name

GREY, COLOUR = (1, 8, 8), (3, 32, 32)


def made(name: str, shape=GREY, classes: int = 10, **keys) -> nn.Module:
    return build(ModelConfig(name=name, **keys), num_classes=classes, shape=shape)


def test_zoo_with_arguments():
    assert made("conv4", arguments={"width": 6}).conv1.out_channels == 6


def test_torchvision():
    network = made("torchvision:shufflenet_v2_x0_5", COLOUR, classes=7)
    assert network(torch.zeros(2, *COLOUR)).shape == (2, 7)


def test_timm():
    pytest.importorskip("timm")
    network = made("timm:mobilenetv3_small_050", (1, 32, 32), classes=5)
    assert network(torch.zeros(2, 1, 32, 32)).shape == (2, 5)


def test_timm_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"model\.name: timm:resnet18 needs timm; install blendsearch\[timm\]"):
        made("timm:resnet18")


OWN = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes, in_channels, hidden=4):
        super().__init__(nn.Conv2d(in_channels, hidden, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Dropout(0.5), nn.Linear(hidden, num_classes))

def fixed():
    return Net(10, 1)

def wrong():
    return "network"

def refuses(num_classes):
    raise ValueError("no more than 5 classes")

number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module that lies in the folder the command is started in."""
    (tmp_path / "own_networks.py").write_text(OWN)
    (tmp_path / "own_broken.py").write_text("import os\nthis is no Python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", ".")])
    yield
    for name in ("own_networks", "own_broken"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("own")
def test_own_callables_get_what_they_take():
    assert made("own_networks:Net", arguments={"hidden": 9})[0].out_channels == 9
    assert made("own_networks:fixed")[4].out_features == 10


@pytest.mark.usefixtures("own")
def test_building_leaves_training_flags_and_the_generator_alone():
    torch.manual_seed(0)
    made("own_networks:Net")
    after = torch.rand(1)
    torch.manual_seed(0)
    module = sys.modules["own_networks"].Net(10, 1)
    assert torch.equal(torch.rand(1), after)
    assert all(part.training for part in module.modules())
    assert made("own_networks:Net").training


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "keys", "words"),
    [
        ("own_networks:Nett", {}, "has no callable 'Nett'; did you mean 'Net'?"),
        ("own_networks:number", {}, "has no callable 'number'"),
        ("own_networks:wrong", {}, "gave str, a torch.nn.Module is needed"),
        ("own_networks:refuses", {}, "no more than 5 classes"),
        ("own_networks:Net", {"arguments": {"hide": 3}}, "model.arguments: own_networks:Net: "),
        ("own_networks:fixed", {"classes": 4}, "gives (2, 10) for 2 images, allowed: logits (2, 4)"),
        ("own_networks:fixed", {"shape": COLOUR}, "cannot take images of 3x32x32 (CxHxW)"),
        ("own_broken:Net", {}, "cannot import 'own_broken' (SyntaxError"),
        ("own_absent:Net", {}, "cannot import 'own_absent'"),
        ("conv4", {"arguments": {"widht": 3}}, "model.arguments: conv4: "),
        ("vgg16_bn", {}, "vgg16_bn cannot take images of 1x8x8"),
        ("torchvision:resnet18", {}, "torchvision:resnet18 cannot take images of 1x8x8"),
        ("torchvision:resnet18", {"shape": COLOUR, "arguments": {"weights": "DEFAULT"}}, "model.arguments: "),
    ],
)
def test_what_cannot_be_built_is_one_line(name, keys, words):
    with pytest.raises(ConfigError) as caught:
        made(name, **keys)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("resnt20", "resnet20"), ("torchvision:resnet19", "resnet1"), ("timm:resnet19", "resnet1")],
)
def test_unknown_names_get_the_nearest(name, nearest):
    with pytest.raises(ConfigError, match=rf"model\.name: unknown .*did you mean '{nearest}"):
        made(name)
    with pytest.raises(UnknownNameError, match=f"did you mean '{nearest}"):
        check_name(name)


def test_own_code_is_not_imported_to_check_its_name():
    check_name("own_absent:Net")
    check_name("conv4")


def test_weights_are_loaded(tmp_path):
    torch.manual_seed(1)
    saved = made("conv4")
    torch.save({"state_dict": saved.state_dict()}, tmp_path / "w.pth")
    loaded = made("conv4", weights=str(tmp_path / "w.pth"))
    assert torch.equal(loaded.conv3.weight, saved.conv3.weight)
