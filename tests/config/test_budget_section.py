"""Further kinds, multiples and bounds of layers in the budget of a space file, and inputs that are left alone."""

from __future__ import annotations

import pytest
from config_files import BOARD, GOOD, mistakes_of

from blendsearch.allocation import Bound, Budget
from blendsearch.campaigns.leaderboard.keys import _unsaid_of
from blendsearch.config import BudgetConfig, StructureConfig, load_board, load_space, space_from_dict
from blendsearch.validation.space import make_budget


def with_budget(text):
    return GOOD.replace("budget:\n  flops: 0.5\n", f"budget: {text}\n")


def test_a_budget_with_everything(write):
    keep = "{layer1.*: 0.8, conv1: [0.3, 0.9], conv2: {max: 0.5}}"
    space = load_space(write(with_budget(f"{{params: 0.5, also: {{flops: 0.6}}, round_to: 8, keep: {keep}}}")))
    bounds = (Bound("layer1.*", 0.8, 0.8), Bound("conv1", 0.3, 0.9), Bound("conv2", None, 0.5))
    assert make_budget(space.budget) == Budget("params", 0.5, 0.1, (("flops", 0.6),), 8, bounds)
    assert (space.budget.kind, space.budget.ratio) == ("params", 0.5)
    assert load_space(write(space.to_yaml())) == space
    assert space_from_dict(space.to_dict()) == space


def test_overrides_give_multiples_and_bounds(write):
    space = load_space(write(GOOD), ["budget.round_to=4", "budget.keep={conv1: 0.5}", "budget.also.params=0.4"])
    assert make_budget(space.budget).ratios == {"flops": 0.5, "params": 0.4}
    assert (space.budget.round_to, space.budget.keep) == (4, {"conv1": 0.5})


def test_a_plain_budget_says_no_more_than_it_did():
    """Cells of leaderboards are known by what their budget says."""
    plain = BudgetConfig(flops=0.5).model_dump(mode="json", exclude_none=True)
    assert plain == {"flops": 0.5, "latency_images": 1, "min_keep": 0.1}
    assert _unsaid_of(StructureConfig()) == {"ignore_inputs"}
    assert _unsaid_of(StructureConfig(ignore_inputs=["fc"])) == set()


@pytest.mark.parametrize(
    ("budget", "line"),
    [
        ("{flops: 0.5, also: {flops: 0.4}}", "budget: flops stands in also as well (allowed once"),
        ("{flops: 0.5, also: {params: 1.4}}", "budget.also.params: out of range (given 1.4"),
        ("{flops: 0.5, also: 0.4}", "budget.also: wrong type (given the number 0.4, allowed a mapping of flops, "),
        ("{flops: 0.5, round_to: 0}", "budget.round_to: out of range (given 0, allowed a whole number of at least 1"),
        ("{flops: 0.5, keep: 0.5}", "budget.keep: wrong type (given the number 0.5, allowed a mapping of layers' "),
        ("{flops: 0.5, keep: {conv1: half}}", "budget.keep: 'conv1': 'half' given, allowed: a share, a pair ["),
        ("{flops: 0.5, keep: {conv1: [0.5, 0.2]}}", "budget.keep: 'conv1': [0.5, 0.2] given, allowed: a share"),
    ],
)
def test_wrong_limits_are_one_line_with_their_place(write, budget, line):
    (found,) = mistakes_of(write(with_budget(budget)))
    assert found.startswith("FILE:6: " + line)


def test_latency_below_also_shares_a_boards_table(write):
    text = BOARD.replace("- flops: 0.5", "- {flops: 0.5, also: {latency: 0.9}}")
    board = load_board(write(text))
    assert board.space(board.networks[0]).budget == board.budgets[0]
