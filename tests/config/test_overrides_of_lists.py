"""Overrides into lists: an item that is not there, of a list that is given or left at its default."""

from __future__ import annotations

import pytest
from config_files import BOARD, GOOD, lines_of, mistakes_of

from blendsearch.config import load_board
from blendsearch.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("networks.1.data.root=x", "networks.1.data.root: networks has 1 item, counted from 0 (given 1, allowed 0)"),
        ("networks.5=x", "networks.5: networks has 1 item, counted from 0 (given 5, allowed 0)"),
        ("networks.-1.name=x", "networks.-1.name: networks has 1 item, counted from 0 (given -1, allowed 0)"),
        ("networks.x.name=x", "networks.x.name: networks has 1 item, counted from 0, and 'x' is no index (allowed 0)"),
        ("budgets.2.flops=0.3", "budgets.2.flops: budgets has 2 items, counted from 0 (given 2, allowed 0 to 1)"),
        ("blends.0.name=x", "blends.0.name: blends has 0 items, counted from 0 (given 0, allowed none)"),
        ("networks.0.data.mean.3=1", "networks.0.data.mean.3: networks.0.data.mean has 1 item, "),
    ],
)
def test_an_override_beyond_a_list_says_how_many_items_there_are(write, override, expected):
    file = write(BOARD.replace("{name: digits}", "{name: digits, mean: [0.5], std: [0.5]}") + "blends: []\n")
    with pytest.raises(ConfigError) as error:
        load_board(file, [override])
    (line,) = lines_of(error, file)
    assert line.startswith(f"override {override}: {expected}")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("search.objectives.0=flops", "search.objectives has 0 items, counted from 0 (given 0, allowed none)"),
        ("search.objectives.first=flops", "search.objectives has 0 items, counted from 0, and 'first' is no index"),
        ("search.start_from.0=x.json", "search.start_from has 0 items, counted from 0 (given 0, allowed none)"),
        ("blends.0.file=x", "blends has 0 items, counted from 0 (given 0, allowed none)"),
        ("search.finals.rungs.0=0.5", "search.finals.rungs is left at its default of 2 items, none of which"),
        ("audit.proxies.0=zero_shot", "audit.proxies is left at its default of 6 items, none of which can be set"),
        ("criteria.0=l1", "criteria is left at its default 'all', which has no items; give all of it"),
    ],
)
def test_an_override_of_an_item_of_a_list_left_at_its_default_says_what_that_is(write, override, expected):
    assert "criteria:" not in GOOD
    (line,) = mistakes_of(write(GOOD), override)
    assert line.startswith(f"override {override}: {override.partition('=')[0]}: {expected}")


def test_an_override_of_an_item_by_a_word_says_that_it_is_no_index(write):
    (line,) = mistakes_of(write(GOOD), "criteria=[l1, l2]", "criteria.first=l1")
    assert line.endswith("criteria has 2 items, counted from 0, and 'first' is no index (allowed 0 to 1)")
