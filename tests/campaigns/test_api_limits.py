"""Limits, layers left alone, known structures and pruning in steps, on networks of one's own."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from small_networks import conv4, images, randomised, resnet20
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import blendsearch
from blendsearch.allocation import Budget
from blendsearch.allocation.sensitivity import Sensitivity
from blendsearch.errors import BlendsearchError, BudgetError, DataError, StructureError, UnknownNameError


@pytest.fixture
def model():
    return randomised(conv4(width=10))


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(0)
    return randomised(resnet20())


@pytest.fixture(scope="module")
def loader():
    draw = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.randn(24, 3, 8, 8, generator=draw), torch.randint(0, 3, (24,), generator=draw))
    return DataLoader(data, batch_size=8)


def test_prune_keeps_multiples_and_shares_of_layers(model, loader):
    pruned = blendsearch.prune(model, loader, by="l1", budget={"flops": 0.6}, round_to=4, keep={"conv3": 0.8})
    assert pruned.plan.counts["conv3"] == 16
    assert all(count % 4 == 0 or count == pruned.plan.widths[g] for g, count in pruned.plan.counts.items())
    assert pruned.flops_ratio <= 0.6
    same = {"flops": 0.6, "round_to": 4, "keep": {"conv3": 0.8}}
    assert blendsearch.prune(model, loader, by="l1", budget=same).plan == pruned.plan


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_batch_without_images_is_passed_over(model, loader, place):
    batches = list(loader)
    empty = batches[0][0][:0], batches[0][1][:0]
    criteria = ["l1", "taylor", "thinet", "obs"]
    whole = blendsearch.score(model, batches, criteria=criteria)
    found = blendsearch.score(model, [*batches[:place], empty, *batches[place:]], criteria=criteria)
    assert all(torch.equal(found[name][group], whole[name][group]) for name in whole for group in whole[name])
    with pytest.raises(DataError, match="no batch given"):
        blendsearch.score(model, [empty], criteria=criteria)


def test_what_is_given_beside_a_budget_joins_it(model, loader):
    budget = Budget.parse({"flops": 0.6, "keep": {"conv1": 1.0}})
    counts = blendsearch.prune(model, loader, by="l1", budget=budget, keep={"conv3": 0.8}).plan.counts
    assert (counts["conv1"], counts["conv3"]) == (10, 16)


def test_a_pattern_fits_the_coupled_convolutions_of_a_group(residual):
    batches = [(images(4, 16), torch.arange(4) % 3)]
    kept = blendsearch.prune(residual, batches, by="l1", keep={"layer1.2.conv2": 0.75}).plan.counts
    assert kept["conv1"] == 12  # the residual stream, of which it is a part


def test_several_budgets_at_once(model, loader):
    pruned = blendsearch.prune(model, loader, by="l1", budget={"flops": 0.5, "params": 0.6, "min_keep": 0.0})
    assert pruned.flops_ratio <= 0.5
    assert pruned.params_ratio <= 0.6
    tight = blendsearch.prune(model, loader, by="l1", budget={"flops": 0.9, "params": 0.2})
    assert 0.17 < tight.params_ratio <= 0.2


def test_ignored_layers_stay_whole_in_scores_and_plans(model, residual, loader):
    assert set(blendsearch.score(model, loader, ["l1"], ignore=["conv2"])["l1"]) == {"conv1", "conv3", "conv4"}
    pruned = blendsearch.prune(model, loader, by="l1", ignore=["conv2"])
    assert "conv2" not in pruned.plan.keep
    assert pruned.network.conv2.out_channels == model.conv2.out_channels
    assert pruned.network.conv2.in_channels < model.conv2.in_channels
    batches = [(images(4, 16), torch.arange(4) % 3)]
    groups = blendsearch.score(residual, batches, ["l1"], ignore=["layer1"])["l1"]
    assert not [name for name in groups if name == "conv1" or name.startswith("layer1")]


def test_ignored_inputs_leave_what_a_layer_reads(model, loader):
    pruned = blendsearch.prune(model, loader, by="l1", ignore_inputs=["conv3"])
    assert "conv2" not in pruned.plan.keep
    assert pruned.network.conv3.in_channels == model.conv3.in_channels
    assert pruned.network.conv3.out_channels < model.conv3.out_channels
    both = blendsearch.score(model, loader, ["l1"], ignore=["conv3"], ignore_inputs=["conv3"])["l1"]
    assert set(both) == {"conv1", "conv4"}


def test_scores_of_ones_own_may_cover_what_is_ignored(model, loader):
    scores = blendsearch.score(model, loader, ["l1"])["l1"]
    assert "conv1" not in blendsearch.prune(model, loader, by=scores, ignore=["conv1"]).plan.keep


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ignore": ["conv9"]}, "ignore: the network has no module 'conv9'; did you mean 'conv"),
        ({"ignore_inputs": ["conv9"]}, "ignore_inputs: the network has no module 'conv9'; did you mean 'conv"),
        ({"ignore": "conv1"}, r"ignore: 'conv1' given, allowed: a list of module paths, such as \['conv1'\]"),
        ({"keep": {"convx": 0.5}}, "keep 'convx' fits no prunable layer of the network; did you mean 'conv"),
        ({"keep": {"conv*": (0.9, 1.0)}}, r"flops 0\.5 cannot be met; at least"),
        ({"round_to": -8}, "round_to -8 given"),
    ],
)
def test_wrong_limits_are_one_line(model, loader, given, words):
    with pytest.raises(BlendsearchError, match=words) as caught:
        blendsearch.prune(model, loader, by="l1", **given)
    assert "\n" not in str(caught.value)


def test_a_known_structure_is_not_read_again(model, loader, monkeypatch):
    structure = blendsearch.Structure.of(model, images(), ignore=["conv1"])
    monkeypatch.setattr(blendsearch.Structure, "of", None)
    assert set(blendsearch.score(model, loader, ["l1"], structure=structure)["l1"]) == set(structure.widths)
    pruned = blendsearch.prune(model, loader, by="taylor", structure=structure)
    assert set(pruned.plan.keep) == set(structure.widths)


class ChannelsLast(nn.Module):
    """A linear layer on a map [N, H, W, C], as in ConvNeXt."""

    def __init__(self, inside: int = 6) -> None:
        super().__init__()
        self.conv, self.inner, self.last = nn.Conv2d(3, inside, 3), nn.Linear(inside, 8), nn.Linear(8, 10)

    def forward(self, x):
        return self.last(torch.relu(self.inner(torch.relu(self.conv(x)).permute(0, 2, 3, 1))).mean((1, 2)))


def test_a_known_structure_of_linear_layers_on_maps_fits_its_network(loader):
    seen = images()
    structure = blendsearch.Structure.of(ChannelsLast(), seen)
    pruned = blendsearch.prune(ChannelsLast(), loader, by="l1", budget={"filters": 0.5}, structure=structure)
    assert set(pruned.plan.keep) == set(structure.widths)
    with pytest.raises(StructureError, match="'conv' has 7 output channels in the network, 6 where it was read"):
        blendsearch.prune(ChannelsLast(7), loader, by="l1", structure=structure)


def test_a_structure_of_another_network_is_refused(model, loader):
    wider = blendsearch.Structure.of(conv4(width=12), images())
    with pytest.raises(
        StructureError, match="'conv1' has 10 output channels in the network, 12 where it was"
    ) as caught:
        blendsearch.prune(model, loader, by="l1", structure=wider)
    assert "\n" not in str(caught.value)
    own = blendsearch.Structure.of(model, images())
    with pytest.raises(StructureError, match="structure: the network has no module 'conv1'"):
        blendsearch.score(nn.Sequential(nn.Conv2d(3, 4, 3)), loader, structure=own)
    with pytest.raises(StructureError, match="structure: it was read with a scope and what to ignore; give no ignore"):
        blendsearch.score(model, loader, structure=own, ignore=["conv1"])


def test_steps_reach_the_budget_and_train_in_between(model, loader):
    before = copy.deepcopy(model.state_dict())
    seen, networks = [], []
    for step in blendsearch.steps(model, loader, by="taylor", budget={"flops": 0.4, "min_keep": 0.0}, steps=4):
        seen.append(step.flops_ratio)
        networks.append(step.network)
        optimizer = torch.optim.SGD(step.network.parameters(), lr=0.01)
        for data, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(step.network(data), labels).backward()
            optimizer.step()
    for ratio, number in zip(seen, range(1, 5), strict=True):
        assert 0.9 * 0.4 ** (number / 4) <= ratio <= 0.4 ** (number / 4)
    assert step.network(images()).shape == (2, 3)
    assert {g: len(kept) for g, kept in step.plan.keep.items()} == {
        group: step.network.get_submodule(group).out_channels for group in step.plan.widths
    }
    assert step.plan.widths == {group: model.get_submodule(group).out_channels for group in step.plan.widths}
    assert len(set(map(id, networks))) == 4
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_step_scores_the_network_as_it_was_trained(model, loader):
    """The user's training makes filters of the first step's network large that were small: these stay."""
    steps = blendsearch.steps(model, loader, by="l1", budget={"filters": 0.5}, steps=2)
    first = next(steps)
    lowest = first.network.conv4.weight.detach().abs().sum((1, 2, 3)).argmin().item()
    original = first.plan.keep["conv4"][lowest]
    with torch.no_grad():
        first.network.conv4.weight[lowest] += 10.0
    second = next(steps)
    assert set(second.plan.keep["conv4"]) < set(first.plan.keep["conv4"])
    assert original in second.plan.keep["conv4"]
    untouched = blendsearch.steps(model, loader, by="l1", budget={"filters": 0.5}, steps=2)
    assert original not in list(untouched)[-1].plan.keep["conv4"]
    at = second.plan.keep["conv4"].index(original)
    assert torch.equal(second.network.bn4.weight[at], first.network.bn4.weight[lowest])


def test_one_step_is_prune(model, loader):
    given = {"by": "taylor", "budget": {"params": 0.4}, "round_to": 2, "keep": {"conv2": (0.5, 0.8)}}
    (only,) = blendsearch.steps(model, loader, steps=1, **given)
    assert only.plan == blendsearch.prune(model, loader, **given).plan


def test_a_linear_ladder_takes_the_same_amount_in_each_step(model, loader):
    ratios = [s.params_ratio for s in blendsearch.steps(
        model, loader, by="l1", budget={"params": 0.4}, steps=3, ladder="linear")]  # fmt: skip
    assert all(0.97 * wanted <= ratio <= wanted for ratio, wanted in zip(ratios, (0.8, 0.6, 0.4), strict=True))


def test_limits_hold_in_every_step(model, loader):
    budget = {"flops": 0.35, "params": 0.5, "min_keep": 0.3}
    for step in blendsearch.steps(model, loader, by="l2", budget=budget, steps=3, round_to=2, keep={"conv3": 0.8}):
        counts = step.plan.counts
        assert counts["conv3"] == 16
        assert all(count % 2 == 0 and count >= 0.3 * step.plan.widths[group] for group, count in counts.items())
    assert step.flops_ratio <= 0.35
    assert step.params_ratio <= 0.5


def test_steps_by_scores_of_ones_own_and_by_a_blend_with_shares(model, loader):
    structure = blendsearch.Structure.of(model, images())
    scores = {group: torch.arange(float(width)) for group, width in structure.widths.items()}
    *_, last = blendsearch.steps(model, loader, by=scores, budget={"filters": 0.5}, steps=3, structure=structure)
    assert all(
        kept == tuple(range(last.plan.widths[g] - len(kept), last.plan.widths[g])) for g, kept in last.plan.keep.items()
    )
    keep = dict(zip(structure.widths, (1.0, 0.5, 1.0, 1.0), strict=True))
    blend = blendsearch.Blend("network", {"network": {"l1": 1.0, "taylor": 0.5}}, keep=keep)
    given = {"by": blend, "budget": {"filters": 0.4}, "allocation": "evolved"}
    *_, last = blendsearch.steps(model, loader, steps=3, **given)
    at_once = blendsearch.prune(model, loader, **given).plan.counts
    assert all(abs(last.plan.counts[group] - count) <= 1 for group, count in at_once.items())


def test_steps_measure_the_allocation_once_and_heed_what_is_ignored(model, loader):
    own = Sensitivity(draws=1, images=None)
    pruned = list(
        blendsearch.steps(model, loader, by="l1", steps=2, allocation=own, ignore=["conv1"], ignore_inputs=["conv3"])
    )
    assert set(own.sensitiveness) == set(pruned[-1].plan.keep) == {"conv3", "conv4"}
    assert pruned[-1].network.conv2.out_channels == 10


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"steps": 0}, BudgetError, "steps: 0 given, allowed: a whole number of at least 1"),
        ({"ladder": "linaer"}, UnknownNameError, "unknown ladder 'linaer'; did you mean 'linear'"),
        ({"budget": {"flops": 0.001}}, BudgetError, "cannot be met; at least"),
        ({"by": "tailor"}, UnknownNameError, "taylor"),
    ],
)
def test_wrong_steps_are_told_before_the_first(model, loader, given, error, words):
    with pytest.raises(error, match=words) as caught:
        blendsearch.steps(model, loader, **{"by": "l1", **given})
    assert "\n" not in str(caught.value)


def test_every_argument_is_explained():
    for function in (blendsearch.score, blendsearch.prune, blendsearch.steps):
        own = [name for name in inspect.signature(function).parameters if name not in ("model", "batches", "criteria")]
        texts = blendsearch.score.__doc__ + blendsearch.prune.__doc__ + function.__doc__
        assert all(f"{name}:" in texts or f"{name}," in texts or f" {name} and" in texts for name in own)
