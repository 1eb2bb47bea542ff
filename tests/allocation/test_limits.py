"""Counts in multiples, bounds of single layers and several budgets at once, which every allocation obeys."""

from __future__ import annotations

import pytest
import torch
from small_networks import conv4, images, mobilenet, priced, resnet20
from torch import nn

from blendsearch.allocation import ALLOCATIONS, Budget, Evolved, Limits
from blendsearch.allocation.base import Allocation
from blendsearch.compute import Compute
from blendsearch.data.batches import GivenBatches
from blendsearch.errors import BudgetError
from blendsearch.structure import Structure

NETWORKS = {"resnet20": (resnet20, 16), "mobilenet": (mobilenet, 32), "tiny": (lambda: conv4(width=10), 8)}


@pytest.fixture(scope="module")
def read():
    known = {}

    def get(name):
        if name not in known:
            build, size = NETWORKS[name]
            torch.manual_seed(0)
            network = build().eval()
            known[name] = (network, priced(Structure.of(network, images(size=size))))
        return known[name]

    return get


@pytest.fixture(params=ALLOCATIONS.names())
def allocate(request, read):
    def run(network, budget, seed=0):
        built, structure = read(network)
        allocation = ALLOCATIONS.get(request.param)()
        data = images(6, structure.example.shape[-1], seed=5)
        split = GivenBatches([(data, torch.arange(6) % 3)])
        allocation.prepare(built, structure, split, compute=Compute(), seed=0)
        draw = torch.Generator().manual_seed(seed)
        scores = {group: torch.randn(width, generator=draw) for group, width in structure.widths.items()}
        return structure, allocation.allocate(structure, scores, Budget.parse(budget))

    return run


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("step", [4, 8])
def test_counts_are_multiples_or_whole_groups(allocate, network, step):
    structure, counts = allocate(network, {"flops": 0.6, "round_to": step})
    for group, width in structure.widths.items():
        assert counts[group] % step == 0 or counts[group] == width
        assert type(counts[group]) is int
    used = structure.cost.ratio("flops", counts)
    assert used <= 0.6
    for group, width in structure.widths.items():  # not one more step fits, or the rest is no step
        more = {**counts, group: min(width, counts[group] + step)}
        assert used >= 0.99 * 0.6 or counts[group] == width or structure.cost.ratio("flops", more) > 0.6


def test_coarse_steps_still_come_near_the_budget(allocate):
    structure, counts = allocate("resnet20", {"flops": 0.5, "round_to": 8})
    assert 0.48 <= structure.cost.ratio("flops", counts) <= 0.5


def test_shares_and_bounds_of_layers_hold(allocate):
    keep = {"layer1": 0.75, "layer2.*.conv1": (0.25, 0.5), "layer3.2.conv1": {"max": 0.5}}
    structure, counts = allocate("resnet20", {"flops": 0.55, "keep": keep})
    assert all(counts[group] == 12 for group in structure.widths if group == "conv1" or group.startswith("layer1"))
    assert all(8 <= counts[f"layer2.{block}.conv1"] <= 16 for block in range(3))
    assert counts["layer3.2.conv1"] <= 32
    assert 0.99 * 0.55 <= structure.cost.ratio("flops", counts) <= 0.55


def test_several_budgets_hold_at_once(allocate):
    for ratios in ({"flops": 0.5, "params": 0.4}, {"params": 0.8, "flops": 0.3, "latency": 0.9}):
        structure, counts = allocate("resnet20", ratios)
        used = {kind: structure.cost.ratio(kind, counts) / ratio for kind, ratio in ratios.items()}
        assert 0.99 <= max(used.values()) <= 1


def test_held_groups_leave_the_rest_to_the_allocation(read):
    """What an allocation shares out among the free groups keeps its pattern: those of weight 2 keep twice as much."""
    _, structure = read("resnet20")
    weights = {group: 2.0 if group.startswith("layer3") else 1.0 for group in structure.widths}
    allocation = Evolved().of(weights, structure)
    budget = Budget.parse({"flops": 0.4, "min_keep": 0.0, "keep": {"layer1": 1.0}})
    counts = allocation.allocate(structure, {}, budget)
    shares = {group: counts[group] / width for group, width in structure.widths.items()}
    assert shares["conv1"] == shares["layer1.1.conv1"] == 1
    twos = [shares[group] for group in shares if group.startswith("layer3")]
    ones = [shares[group] for group in shares if group.startswith("layer2")]
    assert all(two == pytest.approx(2 * one, abs=0.1) for two in twos for one in ones)


def test_an_allocation_of_ones_own_obeys_without_knowing_of_limits(read):
    class LastFirst(Allocation):
        name, source = "last_first", "this test"

        def counts(self, structure, scores, budget, floors):
            counts = dict(structure.widths)
            for group in reversed(counts):
                while counts[group] > floors[group] and not budget.allows(counts, structure.cost):
                    counts[group] -= 1
            return counts

    _, structure = read("resnet20")
    budget = Budget.parse({"flops": 0.5, "params": 0.6, "round_to": 8, "keep": {"layer3.*.conv1": (0.5, 0.75)}})
    counts = LastFirst().allocate(structure, {}, budget)
    assert all(count % 8 == 0 for count in counts.values())
    assert all(32 <= counts[f"layer3.{block}.conv1"] <= 48 for block in range(3))
    assert budget.allows(counts, structure.cost)


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({"round_to": 8}, (8, 10)),
        ({"round_to": 16}, (10,)),
        ({"keep": {"conv1": 0.52}}, (5,)),
        ({"keep": {"conv1": 0.5}, "round_to": 8}, (8,)),
        ({"keep": {"conv1": (0.3, 0.6)}}, (3, 4, 5, 6)),
        ({"keep": {"conv?": (0.3, 0.6), "conv1": {"max": 0.4}}}, (3, 4)),
        ({"keep": {"conv1": {"max": 0.3}}, "min_keep": 0.2}, (2, 3)),
        ({"keep": {"conv1": {"min": 0.8}}, "min_keep": 0.9}, (8, 9, 10)),
        ({"keep": {"conv1": (0.0, 0.01)}}, (1,)),
    ],
)
def test_allowed_counts_of_ten_filters(read, given, allowed):
    _, structure = read("tiny")
    assert Limits.of(Budget.parse({"flops": 0.5, **given}), structure).allowed["conv1"] == allowed


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"round_to": 0}, "round_to 0 given, allowed: a whole number of at least 1"),
        ({"round_to": 8.0}, r"round_to 8\.0 given"),
        ({"keep": 0.5}, r"keep 0\.5 given, allowed: a mapping such as"),
        ({"keep": {"conv1": "half"}}, "keep 'conv1': 'half' given, allowed: a share, a pair"),
        ({"keep": {"conv1": (0.1, 0.2, 0.3)}}, "keep 'conv1'"),
        ({"keep": {"conv1": {"least": 0.3}}}, "keep 'conv1'"),
        ({"keep": {"conv1": (0.5, 0.3)}}, r"keep 'conv1': \(0\.5, 0\.3\) given"),
        ({"keep": {"conv1": 1.2}}, r"keep 'conv1': 1\.2 given"),
        ({"keep": {"conv9": 0.5}}, "keep 'conv9' fits no prunable layer of the network; did you mean 'conv"),
        (
            {"keep": {"conv*": 0.5, "conv2": (0.6, 0.9)}},
            r"group 'conv2' is to keep 0\.6 to 0\.9 by 'conv2' and 0\.5 by",
        ),
        (
            {"keep": {"conv*": 0.9}},
            r"flops 0\.5 cannot be met; at least 0\.\d+ of the flops stays .*keep 'conv\*' 0\.9",
        ),
        ({"round_to": 16}, r"flops 0\.5 cannot be met; at least 0\.\d+ .*round_to 16"),
        ({"params": 0.001}, r"params 0\.001 cannot be met; at least"),
    ],
)
def test_wrong_and_impossible_limits_are_one_line(read, given, words):
    _, structure = read("tiny")
    with pytest.raises(BudgetError, match=words) as caught:
        ALLOCATIONS.get("uniform")().allocate(structure, {}, Budget.parse({"flops": 0.5, **given}))
    assert "\n" not in str(caught.value)


def test_what_an_impossible_budget_says_is_possible(read):
    _, structure = read("tiny")
    keep = {"conv*": 0.9}
    with pytest.raises(BudgetError, match="at least") as caught:
        Limits.check(Budget.parse({"flops": 0.5, "keep": keep}), structure)
    possible = float(str(caught.value).partition("at least ")[2].split()[0])
    counts = ALLOCATIONS.get("uniform")().allocate(structure, {}, Budget.parse({"flops": possible, "keep": keep}))
    assert counts == {"conv1": 9, "conv2": 9, "conv3": 18, "conv4": 18}


def test_upper_bounds_come_before_the_budget(read):
    _, structure = read("tiny")
    counts = ALLOCATIONS.get("uniform")().allocate(structure, {}, Budget.parse({"flops": 0.9, "keep": {"*": 0.5}}))
    assert counts == {group: width // 2 for group, width in structure.widths.items()}


def test_groups_beside_a_held_one_share_alike():
    """Three convolutions, of which one is held; filters are coarse, and what they bring is no reason to be unequal."""
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Conv2d(8, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    structure = Structure.of(nn.Sequential(*network, nn.Linear(8, 5)).eval(), images())
    budget = Budget.parse({"flops": 0.4, "min_keep": 0.0, "keep": {"0": 0.5}})
    counts = ALLOCATIONS.get("uniform")().allocate(structure, {}, budget)
    assert counts["0"] == 4
    assert abs(counts["2"] - counts["4"]) <= 1
