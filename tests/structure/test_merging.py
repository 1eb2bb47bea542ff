"""Merging undoes slicing: what a pruned copy holds comes back to its place, the rest of the network stays."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import AddInPlace, Dense, Mixed, OptionA, Tail, conv4, images, mobilenet, randomised, resnet20
from test_slicing import DEPTHWISE, TRANSPOSED, random_plan
from torch import nn

from blendsearch.errors import StructureError
from blendsearch.structure import Structure


class Scaled(nn.Module):
    """A free-standing parameter, one number a channel."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(1, 8, 1, 1))

    def forward(self, x):
        return x * self.scale


NETWORKS = {
    "conv4": (conv4, 8),
    "option A": (OptionA, 8),
    "mixed": (Mixed, 8),
    "dense": (Dense, 8),
    "add in place": (AddInPlace, 8),
    "transposed": (lambda: Tail(*copy.deepcopy(TRANSPOSED), last=5), 8),
    "depthwise": (lambda: Tail(*copy.deepcopy(DEPTHWISE), width=7, last=4), 8),
    "free-standing": (lambda: Tail(nn.Conv2d(6, 8, 1), Scaled(), nn.ReLU(), last=8), 8),
    "resnet20": (resnet20, 16),
    "mobilenet_v2": (mobilenet, 32),
}


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    build, size = NETWORKS[request.param]
    network = randomised(build())
    return network, Structure.of(network, images(size=size))


def tensors(network):
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_what_was_sliced_merges_back_to_the_same_network(case):
    network, structure = case
    before = tensors(network)
    plan = random_plan(structure, 3)
    structure.merge(network, structure.slice(network, plan), plan)
    assert same(tensors(network), before)


def test_new_values_go_to_their_places_and_nowhere_else(case):
    network, structure = copy.deepcopy(case[0]), case[1]
    plan = random_plan(structure, 4)
    small = structure.slice(network, plan)
    with torch.no_grad():
        for tensor in [*small.parameters(), *(b for b in small.buffers() if b.is_floating_point())]:
            tensor.add_(100.0)
    before, sliced = tensors(network), tensors(small)
    structure.merge(network, small, plan)
    assert same(tensors(structure.slice(network, plan)), sliced)
    for name, tensor in network.state_dict().items():
        changed = tensor != before[name]
        assert int(changed.sum()) == (sliced[name].numel() if sliced[name].is_floating_point() else 0)


def test_batch_norm_statistics_and_counters_come_along():
    network = randomised(conv4())
    structure = Structure.of(network, images())
    plan = random_plan(structure, 1)
    small = structure.slice(network, plan).train()
    small(images())
    structure.merge(network, small, plan)
    assert torch.equal(network.bn1.running_var[list(plan.keep["conv1"])], small.bn1.running_var)
    assert int(network.bn1.num_batches_tracked) == 1


def test_a_copy_of_another_plan_is_refused_by_name():
    network = randomised(conv4())
    structure = Structure.of(network, images())
    small = structure.slice(network, random_plan(structure, 1))
    plan = random_plan(structure, 2)
    with pytest.raises(StructureError, match=r"merge: 'conv\d.weight' has shape .* under the plan"):
        structure.merge(network, small, plan)
