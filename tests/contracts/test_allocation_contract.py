"""What every registered allocation must do."""

from __future__ import annotations

import json
import re

import pytest
import torch
from small_networks import conv4, images, mobilenet, priced

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.compute import Compute
from blendsearch.config import BUDGET_KINDS
from blendsearch.data.batches import GivenBatches
from blendsearch.errors import BudgetError
from blendsearch.models.zoo import MODELS
from blendsearch.structure import Structure

RATIOS = (0.2, 0.35, 0.5, 0.7, 0.9)


NETWORKS: dict[int, tuple] = {}  # a structure's id -> it, and the network it was read from


def read(network, size):
    structure = priced(Structure.of(network.eval(), images(size=size)))
    NETWORKS[id(structure)] = (structure, network)
    return structure


class Prepared:
    """An allocation of default options that is prepared for whichever structure it is asked about, as campaigns do."""

    def __init__(self, name):
        self.name = name
        self.known = {}

    def on(self, structure):
        if id(structure) not in self.known:
            allocation = ALLOCATIONS.get(self.name)()
            data = images(6, structure.example.shape[-1], seed=5)
            split = GivenBatches([(data, torch.arange(6) % 3)])
            allocation.prepare(NETWORKS[id(structure)][1], structure, split, compute=Compute(), seed=0)
            self.known[id(structure)] = allocation
        return self.known[id(structure)]

    def allocate(self, structure, *given):
        return self.on(structure).allocate(structure, *given)

    def plan(self, structure, *given):
        return self.on(structure).plan(structure, *given)


@pytest.fixture(scope="module")
def resnet20():
    return read(MODELS.get("resnet20")(num_classes=10, in_channels=3, image_size=16), 16)


@pytest.fixture(scope="module")
def mobile():
    return read(mobilenet(), 32)


@pytest.fixture(scope="module")
def tiny():
    return read(conv4(width=3), 8)


@pytest.fixture(scope="module", params=ALLOCATIONS.names())
def allocation(request):
    return Prepared(request.param)


def scores_of(structure, seed=0):
    """Scores of another scale in every group, some with ties, some negative."""
    draw = torch.Generator().manual_seed(seed)
    scores = {}
    for number, (group, width) in enumerate(structure.widths.items()):
        score = torch.randn(width, generator=draw) * 10.0 ** (number % 4 - 2)
        scores[group] = score.round(decimals=1) if number % 3 == 0 else score.abs() if number % 3 == 1 else score
    return scores


CASES = [(kind, ratio) for kind in BUDGET_KINDS for ratio in RATIOS]


@pytest.mark.parametrize(("kind", "ratio"), CASES)
def test_the_budget_is_met_from_below_within_one_percent(resnet20, allocation, kind, ratio):
    for seed in range(2):
        counts = allocation.allocate(resnet20, scores_of(resnet20, seed), Budget(kind, ratio))
        assert ratio * 0.99 <= resnet20.cost.ratio(kind, counts) <= ratio


@pytest.mark.parametrize(("kind", "ratio"), CASES)
@pytest.mark.parametrize("min_keep", [0.0, 0.1, 0.3])
def test_counts_are_between_floors_and_widths(resnet20, mobile, allocation, kind, ratio, min_keep):
    budget = Budget(kind, ratio, min_keep)
    for structure in (resnet20, mobile):  # a budget below the floors is another test's
        floors = budget.floors(structure.widths)
        if structure.cost.ratio(kind, floors) > ratio:
            continue
        counts = allocation.allocate(structure, scores_of(structure), budget)
        assert list(counts) == list(structure.widths)
        assert all(type(count) is int for count in counts.values())
        assert all(max(1, floors[g]) <= counts[g] <= structure.widths[g] for g in counts)
        assert structure.cost.ratio(kind, counts) <= ratio


def test_own_floors_are_kept(resnet20, allocation):
    floors = {group: width // 2 for group, width in resnet20.widths.items()}
    counts = allocation.allocate(resnet20, scores_of(resnet20), Budget("params", 0.4), floors)
    assert all(counts[group] >= floors[group] for group in counts)


@pytest.mark.parametrize("kind", BUDGET_KINDS)
def test_a_larger_budget_keeps_more(resnet20, allocation, kind):
    scores = scores_of(resnet20)
    ratios = [0.15 + 0.05 * i for i in range(17)]
    costs = [resnet20.cost.measure(kind, allocation.allocate(resnet20, scores, Budget(kind, r))) for r in ratios]
    assert costs == sorted(costs)
    assert len(set(costs)) == len(costs)


@pytest.mark.parametrize("kind", BUDGET_KINDS)
def test_the_whole_budget_keeps_everything(resnet20, tiny, allocation, kind):
    for structure in (resnet20, tiny):
        assert allocation.allocate(structure, scores_of(structure), Budget(kind, 1.0)) == structure.widths


def test_allocations_are_deterministic_and_leave_the_scores(resnet20, allocation):
    scores = scores_of(resnet20)
    before = {group: score.clone() for group, score in scores.items()}
    first, second = (allocation.allocate(resnet20, scores, Budget("flops", 0.4)) for _ in range(2))
    again = Prepared(allocation.name).allocate(resnet20, scores, Budget("flops", 0.4))
    assert first == second == again
    assert all(torch.equal(scores[group], before[group]) for group in scores)


def test_the_highest_scores_are_kept(resnet20, allocation):
    scores = scores_of(resnet20)
    budget = Budget("flops", 0.5)
    plan = allocation.plan(resnet20, scores, budget)
    assert plan.counts == allocation.allocate(resnet20, scores, budget)
    assert plan.widths == resnet20.widths
    for group, kept in plan.keep.items():
        lost = [i for i in range(resnet20.widths[group]) if i not in kept]
        assert not lost or scores[group][list(kept)].min() >= scores[group][lost].max()


@pytest.mark.parametrize("kind", BUDGET_KINDS)
def test_an_impossible_budget_says_what_is_possible(resnet20, allocation, kind):
    with pytest.raises(BudgetError, match=f"{kind} 0.01 cannot be met; at least") as error:
        allocation.allocate(resnet20, scores_of(resnet20), Budget(kind, 0.01, min_keep=0.3))
    message = str(error.value)
    assert len(message.splitlines()) == 1
    possible = float(re.search(r"at least ([\d.]+)", message).group(1))
    counts = allocation.allocate(resnet20, scores_of(resnet20), Budget(kind, possible, min_keep=0.3))
    assert resnet20.cost.ratio(kind, counts) <= possible


@pytest.mark.parametrize("kind", BUDGET_KINDS)
def test_a_tiny_network_is_as_close_as_one_filter_allows(tiny, allocation, kind):
    for ratio in RATIOS:
        budget = Budget(kind, ratio, min_keep=0.0)
        if tiny.cost.ratio(kind, budget.floors(tiny.widths)) > ratio:
            continue
        counts = allocation.allocate(tiny, scores_of(tiny), budget)
        assert tiny.cost.ratio(kind, counts) <= ratio
        if tiny.cost.ratio(kind, counts) < 0.99 * ratio:
            for group in counts:
                more = counts | {group: counts[group] + 1}
                assert counts[group] == tiny.widths[group] or tiny.cost.ratio(kind, more) > ratio


def test_constant_scores_are_fine(resnet20, allocation):
    scores = {group: torch.zeros(width) for group, width in resnet20.widths.items()}
    counts = allocation.allocate(resnet20, scores, Budget("flops", 0.5))
    assert 0.495 <= resnet20.cost.ratio("flops", counts) <= 0.5


def test_what_was_measured_is_json_and_serves_another_allocation(tiny, allocation):
    measured = allocation.on(tiny)
    restored = ALLOCATIONS.get(allocation.name)()
    restored.load_state_dict(json.loads(json.dumps(measured.state_dict())))
    budget = Budget("filters", 0.6)
    assert not restored.unmeasured(tiny)
    assert restored.allocate(tiny, scores_of(tiny), budget) == measured.allocate(tiny, scores_of(tiny), budget)


def test_preparing_leaves_the_network(tiny, allocation):
    network = NETWORKS[id(tiny)][1]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    Prepared(allocation.name).on(tiny)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
