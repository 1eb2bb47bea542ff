"""What a budget may be, and the fewest filters it leaves."""

from __future__ import annotations

import pytest
import torch
from small_networks import conv4, images, priced

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.allocation.filling import fill
from blendsearch.allocation.global_threshold import NORMALISATIONS, GlobalThreshold
from blendsearch.allocation.uniform import Uniform
from blendsearch.config import BUDGET_KINDS
from blendsearch.errors import BudgetError, UnknownNameError
from blendsearch.structure import Structure


@pytest.fixture(scope="module")
def structure():
    return priced(Structure.of(conv4(width=10).eval(), images()))


def test_parse():
    assert Budget.parse({"flops": 0.4}) == Budget("flops", 0.4, 0.1)
    assert Budget.parse({"params": 0.4, "min_keep": 0.2}) == Budget("params", 0.4, 0.2)
    budget = Budget("filters", 0.3)
    assert Budget.parse(budget) is budget


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "at least one of flops, params, filters"),
        ({"flops": 0.5, "params": 1.5}, r"params 1\.5 given, allowed: more than 0"),
        ({"flop": 0.5}, "kind 'flop' given, allowed: flops, params, filters"),
        ({"flops": 0.0}, r"flops 0\.0 given, allowed: more than 0"),
        ({"flops": 1.5}, r"flops 1\.5 given, allowed: more than 0, at most 1"),
        ({"flops": 0.5, "min_keep": 1.0}, r"min_keep 1\.0 given, allowed: 0 to below 1"),
    ],
)
def test_wrong_budgets_are_one_line(given, message):
    with pytest.raises(BudgetError, match=message) as error:
        Budget.parse(given)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("min_keep", "width", "least"),
    [(0.0, 16, 1), (0.1, 16, 2), (0.1, 10, 1), (0.1, 30, 3), (0.07, 100, 7), (0.55, 20, 11), (0.5, 1, 1), (0.01, 5, 1)],
)
def test_floors(min_keep, width, least):
    assert Budget("flops", 0.5, min_keep).floors({"g": width}) == {"g": least}


def test_uniform_keeps_the_same_share_everywhere(structure):
    counts = Uniform().allocate(structure, {}, Budget("filters", 0.5))
    assert counts == {group: width // 2 for group, width in structure.widths.items()}


def test_uniform_does_not_look_at_the_scores(structure):
    one, two = ({g: torch.full((w,), v) for g, w in structure.widths.items()} for v in (0.0, 9.0))
    budget = Budget("flops", 0.43)
    assert Uniform().allocate(structure, one, budget) == Uniform().allocate(structure, two, budget)


def test_global_threshold_takes_from_the_group_with_the_least(structure):
    scores = {group: torch.linspace(1.0, 1.1, width) for group, width in structure.widths.items()}
    scores["conv3"] = torch.cat([torch.linspace(0.001, 0.01, 15), torch.full((5,), 10.0)])
    counts = GlobalThreshold().allocate(structure, scores, Budget("filters", 45 / 60))
    assert counts == {"conv1": 10, "conv2": 10, "conv3": 5, "conv4": 20}


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_normalisation_forgets_the_scale_of_a_group(structure, normalisation):
    draw = torch.Generator().manual_seed(0)
    scores = {group: torch.rand(width, generator=draw) for group, width in structure.widths.items()}
    scaled = {group: score * 10.0**i for i, (group, score) in enumerate(scores.items())}
    allocation, budget = GlobalThreshold(normalisation), Budget("flops", 0.5)
    assert allocation.allocate(structure, scores, budget) == allocation.allocate(structure, scaled, budget)


@pytest.mark.parametrize("kind", BUDGET_KINDS)
def test_single_filters_are_exchanged_until_the_budget_is_met(structure, kind):
    budget = Budget(kind, 0.5)
    floors = budget.floors(structure.widths)
    counts = fill(floors, [], floors, budget, structure.cost)
    assert 0.495 <= structure.cost.ratio(kind, counts) <= 0.5
    assert all(floors[group] <= counts[group] <= structure.widths[group] for group in counts)


def test_an_unknown_normalisation_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"allocation\.normalisation: unknown .* 'men'; did you mean 'mean'"):
        GlobalThreshold("men")


@pytest.mark.parametrize("name", ALLOCATIONS.names())
def test_every_allocation_cites_its_source_and_explains_itself(name):
    allocation = ALLOCATIONS.get(name)
    assert allocation.name == name
    assert allocation.source
    assert allocation.__doc__


def test_further_kinds_may_stand_under_also_as_in_a_space_file():
    assert Budget.parse({"flops": 0.5, "also": {"params": 0.4}}) == Budget.parse({"flops": 0.5, "params": 0.4})


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"flops": "half"}, "budget: flops 'half' given, allowed: a number"),
        ({"flops": True}, "budget: flops True given, allowed: a number"),
        ({"flops": 0.5, "min_keep": "x"}, "budget: min_keep 'x' given, allowed: a number"),
        ({"flops": 0.5, "also": {"params": 0.3, "flops": 0.8}}, "budget: 'flops' given twice, allowed: each kind once"),
        ({"flops": 0.5, "also": 3}, "budget: also 3 given, allowed: a mapping such as {'params': 0.5}"),
    ],
)
def test_what_is_no_number_is_one_line(given, what):
    with pytest.raises(BudgetError) as caught:
        Budget.parse(given)
    assert str(caught.value) == what


def test_a_budget_made_in_python_has_each_kind_once():
    with pytest.raises(BudgetError, match="'params' given twice"):
        Budget("params", 0.3, also=(("flops", 0.5), ("params", 0.8)))
