"""Which filters go together, on networks of every kind, and which are left alone and why."""

from __future__ import annotations

import pytest
import torch
import torchvision
from small_networks import (
    Dense,
    FullyConvolutional,
    Mixed,
    OptionA,
    Shared,
    Shuffled,
    Tail,
    conv4,
    images,
    randomised,
    resnet20,
)
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from blendsearch.errors import StructureError
from blendsearch.structure import Structure


def read(network, size=8, **options):
    return Structure.of(randomised(network), images(size=size), **options)


def convolutions(structure):
    return {group.name: group.convolutions for group in structure.groups}


@pytest.fixture(scope="module")
def resnet():
    return read(resnet20(), size=16)


def test_conv4_has_four_groups_of_one_convolution():
    structure = read(conv4())
    assert convolutions(structure) == {f"conv{i}": (f"conv{i}",) for i in (1, 2, 3, 4)}
    assert structure.widths == {"conv1": 4, "conv2": 4, "conv3": 8, "conv4": 8}
    assert [group.norms for group in structure.groups] == [("bn1",), ("bn2",), ("bn3",), ("bn4",)]
    assert all(group.inner for group in structure.groups)
    assert structure.stages == {"stage1": ("conv1", "conv2"), "stage2": ("conv3", "conv4")}
    assert structure.refused == {}


def test_resnet20_streams_are_one_group_a_stage(resnet):
    """Option-A shortcuts do not tie the stages: twelve groups, three streams and nine inner convolutions."""
    assert len(resnet.groups) == 12
    streams = {group.name: group for group in resnet.groups if not group.inner}
    assert {name: group.width for name, group in streams.items()} == {
        "conv1": 16,
        "layer2.0.conv2": 32,
        "layer3.0.conv2": 64,
    }
    assert streams["conv1"].convolutions == ("conv1", *(f"layer1.{i}.conv2" for i in range(3)))
    assert streams["layer3.0.conv2"].norms == tuple(f"layer3.{i}.bn2" for i in range(3))
    assert {name: len(groups) for name, groups in resnet.stages.items()} == {"stage1": 4, "stage2": 4, "stage3": 4}
    assert [group.name for group in resnet.groups][:2] == ["conv1", "layer1.0.conv1"]


def test_scope_inner_leaves_the_streams_alone(resnet):
    inner = read(resnet20(), size=16, scope="inner")
    assert set(inner.widths) == {group.name for group in resnet.groups if group.inner}
    assert len(inner.groups) == 9
    assert "residual addition" in inner.refused["conv1"]


def test_units(resnet):
    assert list(resnet.units("network")) == ["network"]
    assert resnet.units("stage") == resnet.stages
    assert resnet.units("layer")["conv1"] == ("conv1",)


def test_addition_concatenation_depthwise_and_flatten():
    structure = read(Mixed())
    assert convolutions(structure) == {"left": ("left", "right"), "branch": ("branch",), "last": ("last",)}
    assert structure.group("left").norms == ("norm_left", "norm_right")
    assert not structure.group("left").inner
    sides = {(m.module, m.side): m for m in structure.group("branch").members}
    assert sides["depthwise", "out"].index == sides["last", "in"].index == (6, 7, 8, 9)
    flattened = next(m for m in structure.group("last").members if m.module == "head")
    assert (len(flattened.index), [flattened.root.count(i) for i in range(5)]) == (80, [16] * 5)


def test_depthwise_convolution_goes_with_its_producer():
    structure = read(Tail(nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.BatchNorm2d(6), nn.ReLU()))
    assert convolutions(structure) == {"first": ("first", "middle.0")}
    assert structure.groups[0].inner


def test_dense_block():
    structure = read(Dense())
    assert structure.widths == {"stem": 6, "convs.0": 4, "convs.1": 4, "convs.2": 4}
    readers = {m.module for m in structure.group("stem").members if m.side == "in"}
    assert readers == {"convs.0", "convs.1", "convs.2", "head"}


def test_squeeze_and_excitation_is_tied_to_what_it_scales():
    class Excitation(nn.Module):
        def __init__(self):
            super().__init__()
            self.reduce, self.expand = nn.Conv2d(6, 4, 1), nn.Conv2d(4, 6, 1)

        def forward(self, x):
            return x * torch.sigmoid(self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))))

    structure = read(Tail(Excitation()))
    assert convolutions(structure) == {"first": ("first", "middle.0.expand"), "middle.0.reduce": ("middle.0.reduce",)}


def test_torchvision_resnet18():
    structure = read(torchvision.models.resnet18(num_classes=3), size=32)
    assert len(structure.groups) == 12
    assert structure.group("layer2.0.conv2").convolutions == (
        "layer2.0.conv2",
        "layer2.0.downsample.0",
        "layer2.1.conv2",
    )
    assert structure.refused == {}


@pytest.fixture(scope="module")
def mobilenet():
    return read(torchvision.models.mobilenet_v2(num_classes=3, width_mult=0.25), size=32)


def test_torchvision_mobilenet_v2(mobilenet):
    depthwise = [c for group in mobilenet.groups for c in group.convolutions if c.endswith("conv.1.0")]
    assert len(depthwise) == 16, "each goes with the expansion before it"
    assert all(len(group.sites) >= 1 for group in mobilenet.groups)
    assert mobilenet.refused == {}


def test_an_ignored_module_leaves_its_whole_group_alone():
    structure = read(OptionA(), ignore=["block1"])
    assert set(structure.widths) == {"block2.conv1", "block2.conv2"}
    assert structure.refused == {
        "stem": "'block1.conv2' is to be ignored",
        "block1.conv1": "'block1.conv1' is to be ignored",
    }


def test_ignoring_everything_is_an_error():
    with pytest.raises(StructureError, match=r"no filter of the network can be pruned \(conv1: 'conv1' is to be"):
        read(conv4(), ignore=["conv1", "conv2", "conv3", "conv4"])


def test_an_unknown_module_to_ignore_names_the_nearest():
    with pytest.raises(StructureError, match=r"no module 'blok1'; did you mean 'block1'\?"):
        read(OptionA(), ignore=["blok1"])


def test_an_unknown_scope_and_group():
    with pytest.raises(StructureError, match="scope: 'outer' given, allowed: all, inner"):
        read(conv4(), scope="outer")
    with pytest.raises(StructureError, match="no group 'conv5'; did you mean 'conv"):
        read(conv4()).group("conv5")


REFUSED = {
    "grouped": (
        Tail(nn.ConvTranspose2d(6, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 5, 1), nn.ReLU(), last=5),
        {"first", "middle.0"},
        "'middle.0' (grouped convolution, 2 groups) cannot lose",
    ),
    "shared": (Shared(), {"first"}, "'again' is called 2 times"),
    "output": (FullyConvolutional(), {"classify"}, "it reaches the network's output"),
    "shuffle": (Shuffled(), {"first"}, "coupled in a way that cannot be followed"),
    "blocks across": (
        Tail(nn.Conv2d(6, 12, 1, groups=2), nn.GroupNorm(3, 12), nn.ReLU(), nn.Conv2d(12, 4, 1), nn.ReLU(), last=4),
        {"first", "middle.0"},
        "cannot lose single channels",
    ),
    "weight norm": (
        Tail(weight_norm(nn.Conv2d(6, 8, 1)), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.ReLU(), last=4),
        {"first", "middle.0"},
        "'middle.0' has a weight that is computed; torch.nn.utils.parametrize.remove_parametrizations makes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_pruned_is_refused_by_name_and_the_rest_goes_on(case):
    network, names, reason = REFUSED[case]
    structure = read(network)
    assert set(structure.refused) == names
    assert all(reason in text for text in structure.refused.values())
    assert structure.groups
    assert not names & set(structure.widths)


def test_a_partial_sum_of_a_concatenation_is_refused():
    """Half of the filters of the wide convolution are tied to one convolution, half to another."""

    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)
            self.wide, self.last = nn.Conv2d(3, 10, 1), nn.Conv2d(10, 4, 1)
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            x = torch.relu(torch.cat([self.a(x), self.b(x)], 1) + self.wide(x))
            return self.head(torch.relu(self.last(x)).mean((2, 3)))

    structure = read(Halves())
    assert set(structure.widths) == {"last"}
    assert set(structure.refused) == {"a", "b"}
    assert all("'wide'" in reason for reason in structure.refused.values())


def test_tied_weights_are_refused():
    network = Tail(nn.Conv2d(6, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 1), nn.ReLU(), nn.Conv2d(6, 5, 1), nn.ReLU(), last=5)
    network.middle[2].weight = network.middle[0].weight
    structure = read(network)
    assert set(structure.widths) == {"middle.4"}


@pytest.mark.parametrize(
    "network",
    [torchvision.models.shufflenet_v2_x0_5(num_classes=3), nn.Sequential(nn.Flatten(), nn.Linear(192, 3))],
    ids=["shufflenet", "no convolution"],
)
def test_a_network_without_any_group_is_one_line(network):
    with pytest.raises(StructureError) as error:
        read(network, size=32 if isinstance(network, torchvision.models.ShuffleNetV2) else 8)
    assert len(str(error.value).splitlines()) == 1


def test_a_network_that_cannot_be_copied_is_one_line():
    network = conv4()
    network.extra = network.linear.weight * 2  # like the old weight norm: a tensor with history
    with pytest.raises(StructureError, match="Conv4: the network cannot be copied") as error:
        Structure.of(network, images())
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "layer",
    [
        nn.PReLU(),
        nn.PReLU(8),
        nn.InstanceNorm2d(8),
        nn.InstanceNorm2d(8, affine=True),
        nn.BatchNorm2d(8, affine=False),
        nn.BatchNorm2d(8, affine=False, track_running_stats=False),
    ],
    ids=str,
)
def test_layers_with_few_or_no_tensors(layer):
    network = randomised(Tail(nn.Conv2d(6, 8, 3, padding=1), layer, nn.ReLU(), last=8))
    structure = Structure.of(network, images())
    assert structure.widths == {"first": 6, "middle.0": 8}
