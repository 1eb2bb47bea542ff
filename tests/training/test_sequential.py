"""Choosing in passing: the pass ends with the refitted network, and shows each layer as it is when it is reached."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Mixed, OptionA, conv4, images, randomised, resnet20

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.blending import Blend
from blendsearch.criteria import DropLoss, DropLosses, drop_losses
from blendsearch.criteria.elimination import NEEDS
from blendsearch.evolution.fitness import Planner
from blendsearch.evolution.sequential import as_reader, choose_sequentially
from blendsearch.statistics import gather
from blendsearch.statistics.readers import readers_of
from blendsearch.structure import Plan, Structure
from blendsearch.training import Compensation
from blendsearch.training import sequential as module
from blendsearch.training.sequential import choose_in_passing

NETWORKS = {"conv4": (conv4, 8), "option A": (OptionA, 8), "mixed": (Mixed, 8), "resnet20": (resnet20, 16)}


@pytest.fixture(params=NETWORKS)
def built(request):
    build, side = NETWORKS[request.param]
    network = randomised(build(), seed=1)
    structure = Structure.of(network, images(size=side))
    compensation = Compensation(network, structure, images(24, side, seed=3), positions=10_000, ridge=1e-3)
    return network, structure, compensation, images(8, side, seed=9)


def every_other(structure, start=0):
    keep = {group.name: tuple(range(start, group.width, 2)) for group in structure.groups}
    return Plan(keep, structure.widths)


def test_the_full_size_network_ends_as_the_sliced_and_refitted_one(built, monkeypatch):
    """Weights of dropped inputs are zero and all others are those of the refit: both compute the same."""
    network, structure, compensation, x = built
    passed = []

    class Kept(module._Chooser):
        def __init__(self, *given):
            super().__init__(*given)
            passed.append(self.network)

    monkeypatch.setattr(module, "_Chooser", Kept)
    before = copy.deepcopy(network.state_dict())
    plan = every_other(structure)
    asked = []

    def choose(layer, refitted):
        asked.append(layer)
        readers = {g.name for g in structure.groups for _, m in readers_of(network, g) if m.module == layer}
        return {name: plan.keep[name] for name in readers}

    assert choose_in_passing(compensation, network, plan, choose) == plan
    assert asked == [name for name in structure.pruned_inputs(plan) if name in compensation.targets]
    sliced = structure.slice(network, plan)
    compensation.refit(sliced, plan)
    with torch.no_grad():
        expected = sliced.eval()(x)
        # Rounding grows from layer to layer where a layer has hardly more positions than rows, as in a deep one here.
        assert (passed[0](x) - expected).abs().max() <= 0.03 * expected.abs().max()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_where_nothing_was_pruned_before_a_layer_is_as_it_was(built):
    """The first layer that reads a group: the refit towards what it gives is the layer itself, its norm folded in."""
    network, structure, compensation, _ = built
    plan, seen = every_other(structure), {}

    def choose(layer, refitted):
        seen.setdefault(layer, refitted)
        return {}

    choose_in_passing(compensation, network, plan, choose)
    first = next(iter(seen))
    layer = network.get_submodule(first)
    norm = structure.trace.norm.get(first)
    scale = torch.ones(len(layer.weight))
    if norm:
        own = network.get_submodule(norm)
        scale = own.weight.detach() / (own.running_var + own.eps).sqrt()
    flat = layer.weight.detach()
    flat = flat.permute(0, 2, 3, 1).flatten(1) if flat.dim() == 4 else flat
    assert bool(seen[first].left.all())
    torch.testing.assert_close(seen[first].scale, scale)
    torch.testing.assert_close(seen[first].weights, (flat * scale[:, None]).T, rtol=1e-3, atol=1e-3)


def planner_of(network, structure, side, ratio=0.5):
    x = images(24, side, seed=3)
    statistics = gather(network, structure, [(x, torch.arange(24) % 3)], NEEDS)
    losses: DropLosses = drop_losses(structure, statistics)
    scores = {"first": {g.name: torch.arange(g.width, 0.0, -1.0) for g in structure.groups}}
    return Planner(structure, scores, ALLOCATIONS.get("uniform")(), Budget("flops", ratio), losses)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_blend_keeps_as_many_filters_and_the_same_where_it_has_no_exponent(name):
    build, side = NETWORKS[name]
    network = randomised(build(), seed=1)
    structure = Structure.of(network, images(size=side))
    compensation = Compensation(network, structure, images(24, side, seed=3))
    planner = planner_of(network, structure, side)
    aware = structure.groups[0].name
    groups = {group.name: (group.name,) for group in structure.groups}
    blend = Blend("layer", {g: {"first": 1.0} for g in groups}, groups, alpha={aware: 1.0})
    plain = planner.plan(blend)
    found = choose_sequentially(planner, blend, network, compensation)
    assert found.counts == plain.counts
    assert {g: kept for g, kept in found.keep.items() if g != aware} == {
        g: kept for g, kept in plain.keep.items() if g != aware
    }
    whole = choose_sequentially(planner, Blend.elimination(), network, compensation)
    assert whole.counts == planner.plan(Blend.elimination()).counts


def test_a_refitted_layer_is_a_reader_with_the_losses_of_the_unpruned_one():
    """Where nothing was pruned before, its drop losses are those of the statistics, but for what few samples do."""
    network = randomised(conv4(), seed=2)
    structure = Structure.of(network, images())
    x = images(32, 8, seed=3)
    statistics = gather(network, structure, [(x, torch.arange(32) % 3)], NEEDS)
    group = structure.group("conv1")
    unpruned = DropLoss.of(group, statistics)
    ((_, member),) = readers_of(network, group)
    seen = {}

    def choose(layer, refitted):
        seen.setdefault(layer, refitted)
        return {}

    compensation = Compensation(network, structure, x, positions=100_000)
    choose_in_passing(compensation, network, every_other(structure), choose)
    found = DropLoss(group.width, [as_reader(seen["conv2"], member, unpruned.readers[0], taps=9)])
    torch.testing.assert_close(found.losses(), unpruned.losses(), rtol=0.05, atol=0)
