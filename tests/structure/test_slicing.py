"""A sliced network computes what the masked one does, whatever is pruned together; the given one stays as it was."""

from __future__ import annotations

import copy
import hashlib
import random

import pytest
import torch
from pretended_device import pretended_device
from small_networks import AddInPlace, Dense, Mixed, OptionA, Tail, conv4, images, mobilenet, randomised, resnet20
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from blendsearch.errors import StructureError
from blendsearch.models.shortcuts import ZeroPadShortcut
from blendsearch.structure import Plan, Structure
from blendsearch.structure.check import masked_copy

NO_TENSORS = nn.BatchNorm2d(7, affine=False, track_running_stats=False)
TRANSPOSED = (nn.ConvTranspose2d(6, 8, 2, stride=2), nn.BatchNorm2d(8), nn.PReLU(8), nn.Conv2d(8, 5, 3), nn.ReLU())
DEPTHWISE = (nn.Conv2d(7, 7, 3, groups=7), NO_TENSORS, nn.Hardswish(inplace=True), nn.Conv2d(7, 4, 1), nn.PReLU())
NETWORKS = {
    "conv4": (conv4, 8),
    "option A": (OptionA, 8),
    "mixed": (Mixed, 8),
    "dense": (Dense, 8),
    "add in place": (AddInPlace, 8),
    "transposed": (lambda: Tail(*TRANSPOSED, last=5), 8),
    "depthwise": (lambda: Tail(*DEPTHWISE, width=7, last=4), 8),
    "resnet20": (resnet20, 16),
    "torchvision resnet": (lambda: ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3), 32),
    "mobilenet_v2": (mobilenet, 32),
}


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    build, size = NETWORKS[request.param]
    network = randomised(build())
    return network, Structure.of(network, images(size=size)), images(3, size, seed=1)


def random_plan(structure, seed, least=1):
    draw = random.Random(seed)
    keep = {  # every group loses filters
        name: tuple(sorted(draw.sample(range(width), draw.randint(min(least, width - 1), width - 1))))
        for name, width in structure.widths.items()
    }
    return Plan(keep, structure.widths)


def masked(network, structure, plan):
    return masked_copy(network, structure.groups, plan)


def answer(network, x):
    with torch.no_grad():
        return network(x)


def digest(tensor):
    return None if tensor is None else hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest()


def fingerprint(network):
    """Everything that could be changed by accident, compared with `==`."""
    tensors = [*network.state_dict(keep_vars=True).items(), *network.named_buffers()]
    return (
        [(name, id(t), t._version, t.requires_grad, digest(t)) for name, t in tensors],
        [(name, digest(p.grad)) for name, p in network.named_parameters()],
        [(name, m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in network.named_modules()],
        repr(network),
    )


def test_slicing_is_masking(case):
    network, structure, x = case
    for seed in range(4):
        plan = random_plan(structure, seed)
        sliced = structure.slice(network, plan)
        expected = answer(masked(network, structure, plan), x)
        torch.testing.assert_close(answer(sliced, x), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_declared_sizes_agree_with_the_tensors(case):
    network, structure, _ = case
    sliced = structure.slice(network, random_plan(structure, 9))
    for module in sliced.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
        elif isinstance(module, nn.ConvTranspose2d):
            assert module.weight.shape[:2] == (module.in_channels, module.out_channels)
        elif isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)
        elif isinstance(module, nn.BatchNorm2d):
            tensors = [t for t in (module.weight, module.bias, module.running_mean) if t is not None]
            assert {tuple(tensor.shape) for tensor in tensors} <= {(module.num_features,)}
        elif isinstance(module, ZeroPadShortcut):
            assert len(module.source) == module.out_channels
            assert int(module.source.max()) < module.in_channels


def test_the_given_network_is_untouched(case):
    network, structure, x = case
    network = copy.deepcopy(network).train()
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    first.weight.requires_grad_(False)
    last = list(network.parameters())[-1]
    last.grad = torch.ones_like(last)
    first.register_forward_hook(lambda module, inputs, output: None)
    before, generator = fingerprint(network), torch.get_rng_state()
    again = Structure.of(network, x)
    again.slice(network, random_plan(structure, 1))
    assert fingerprint(network) == before
    assert torch.equal(torch.get_rng_state(), generator), "reading a structure draws no random numbers"


def test_a_sliced_network_shares_nothing_with_the_given_one(case):
    network, structure, _ = case
    for plan in (Plan.full(structure.widths), random_plan(structure, 2)):
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        sliced = structure.slice(network, plan)
        with torch.no_grad():
            for tensor in sliced.state_dict().values():
                tensor.zero_()
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_slicing_keeps_flags():
    network = randomised(conv4()).train()
    structure = Structure.of(network, images())
    network.conv2.weight.requires_grad_(False)
    network.bn3.eval()
    network.conv1.weight.grad = torch.ones_like(network.conv1.weight)
    sliced = structure.slice(network, random_plan(structure, 0))
    assert not sliced.conv2.weight.requires_grad
    assert sliced.conv1.weight.requires_grad
    assert all(parameter.is_leaf for parameter in sliced.parameters())
    assert sliced.conv1.weight.grad is None
    assert (sliced.training, sliced.bn3.training, sliced.bn2.training) == (True, False, True)
    sliced(images()).sum().backward()
    assert sliced.conv1.weight.grad.shape == sliced.conv1.weight.shape


def test_slicing_twice_is_slicing_once_by_the_composition(case):
    network, structure, x = case
    first = random_plan(structure, 5, least=2)
    once = structure.slice(network, first)
    later_structure = structure.again(once, first)
    assert later_structure.left == first
    later = random_plan(later_structure, 6)
    twice = later_structure.slice(once, later)
    direct = structure.slice(network, first.then(later))
    assert {n: tuple(t.shape) for n, t in twice.state_dict().items()} == {
        n: tuple(t.shape) for n, t in direct.state_dict().items()
    }
    assert all(torch.equal(tensor, direct.state_dict()[name]) for name, tensor in twice.state_dict().items())
    assert torch.equal(answer(twice, x), answer(direct, x))


def test_a_free_standing_parameter_is_sliced():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.rand(1, 8, 1, 1))

        def forward(self, x):
            return x * self.scale

    network = randomised(Tail(nn.Conv2d(6, 8, 1), Scale(), nn.ReLU(), last=8))
    structure = Structure.of(network, images())
    plan = Plan({"middle.0": (1, 2, 7)}, {"middle.0": 8})
    sliced = structure.slice(network, plan)
    assert torch.equal(sliced.middle[1].scale, network.middle[1].scale[:, [1, 2, 7]])
    assert structure.cost.params({"first": 6, "middle.0": 3}) == sum(p.numel() for p in sliced.parameters())


def test_a_plan_of_another_network_is_refused_by_name():
    structure = Structure.of(randomised(conv4()), images())
    with pytest.raises(StructureError, match="group 'conv1' has width 5 in the plan, 4 in the network"):
        structure.slice(conv4(), Plan({"conv1": (0, 4)}, {"conv1": 5}))
    with pytest.raises(StructureError, match="group 'conv9' has width 5 in the plan, none in the network"):
        structure.slice(conv4(), Plan({"conv9": (0, 4)}, {"conv9": 5}))


def test_pruned_inputs_and_kept_outputs():
    structure = Structure.of(randomised(Mixed()), images())
    plan = Plan({"branch": (0, 3)}, structure.widths)
    assert structure.pruned_inputs(plan) == ["last"]
    assert structure.kept_outputs("branch", plan).tolist() == [0, 3]
    assert structure.kept_outputs("depthwise", plan).tolist() == [0, 1, 2, 3, 4, 5, 6, 9]
    assert structure.kept_outputs("head", plan) is None


class Pointwise(nn.Module):
    """A linear layer on maps with channels last, in and out of a stream that others read."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.mix = nn.Linear(6, 6)
        self.last = nn.Conv2d(6, 5, 3, padding=1)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = x + self.mix(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(torch.relu(self.last(x)).mean((2, 3)))


def test_channels_of_a_linear_layer_that_reads_maps_are_its_features():
    structure = Structure.of(randomised(Pointwise()), images(size=8))
    plan = Plan({"stem": (1, 4, 5)}, structure.widths)
    assert structure.kept_inputs("mix", plan).tolist() == [1, 4, 5]
    assert structure.kept_outputs("mix", plan).tolist() == [1, 4, 5]


def test_a_network_on_a_device_is_cut_there_as_on_the_host(case):
    network, structure, _ = case
    plan = random_plan(structure, 5)
    expected = structure.slice(network, plan).state_dict()
    with pretended_device() as device:
        placed = copy.deepcopy(network).to("cuda:0")
        device.copies = device.reads = 0
        found = structure.slice(placed, plan)
        assert (device.copies, device.reads) == (1, 0)  # all indices at once
        assert all(parameter.device.type == "cuda" for parameter in found.parameters())
        state = {key: value.cpu() for key, value in found.state_dict().items()}
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], value) for key, value in expected.items())
