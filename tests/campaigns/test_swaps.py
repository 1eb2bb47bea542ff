"""Swaps of single filters after a search: what is made of those that help, and how many plans are judged."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from blendsearch.campaigns.search.finals import Candidate
from blendsearch.campaigns.search.swaps import AT_ONCE, _helpful, _neighbours, _together, swap_filters
from blendsearch.structure import Plan

WIDTHS = {"a": 6, "b": 8, "c": 4}
START = Plan({"a": (0, 1, 2), "b": (0, 1, 2, 3), "c": (0, 1, 2, 3)}, WIDTHS)


class Judge:
    """A problem whose fitness is what the kept filters are worth, so that every swap can be judged by itself."""

    def __init__(self, worth):
        self.worth, self.judged = worth, []

    def values(self, plans):
        self.judged += plans
        return [sum(float(self.worth[group][list(kept)].sum()) for group, kept in plan.keep.items()) for plan in plans]


def climb(judge, count):
    experiment = SimpleNamespace(
        space=SimpleNamespace(search=SimpleNamespace(swaps=count)),
        folder=SimpleNamespace(cached=lambda name, kind, make: make()),
        seed=lambda *_: 0,
        progress=lambda *_: None,
    )
    start = Candidate(number=0, genome={}, plan=START, proxy=judge.values([START])[0])
    judge.judged.clear()
    scores = {group: torch.arange(width, 0, -1).float() for group, width in WIDTHS.items()}
    return swap_filters(experiment, "blend", judge, start, scores)


def worth_of(seed):
    draw = torch.Generator().manual_seed(seed)
    return {group: torch.rand(width, generator=draw) for group, width in WIDTHS.items()}


@pytest.mark.parametrize("seed", range(3))
def test_swaps_find_the_best_sets_where_filters_count_by_themselves(seed):
    worth = worth_of(seed)
    judge = Judge(worth)
    found = climb(judge, 200)
    for group, kept in START.keep.items():
        assert set(found.plan.keep[group]) == set(worth[group].topk(len(kept)).indices.tolist()), group
    assert found.proxy == judge.values([found.plan])[0]


@pytest.mark.parametrize("count", [1, 6, 7, 20])
def test_no_more_plans_are_judged_than_wanted_and_none_twice(count):
    judge = Judge(worth_of(0))
    climb(judge, count)
    assert len(judge.judged) == count
    assert len({plan.digest for plan in judge.judged}) == count


def test_what_helps_is_the_best_of_each_group_and_is_made_together():
    swaps = [
        Plan({**START.keep, "a": (0, 1, 5)}, WIDTHS),
        Plan({**START.keep, "a": (0, 1, 4)}, WIDTHS),
        Plan({**START.keep, "b": (0, 1, 2, 7)}, WIDTHS),
        Plan({**START.keep, "b": (1, 2, 3, 6)}, WIDTHS),
    ]
    helpful = _helpful(START, 1.0, swaps, [1.1, 1.3, 1.2, 0.9])
    assert helpful == [(swaps[1], 1.3), (swaps[2], 1.2)]
    assert _together(START, [plan for plan, _ in helpful]).keep == {
        "a": (0, 1, 4),
        "b": (0, 1, 2, 7),
        "c": (0, 1, 2, 3),
    }


def test_swaps_that_help_alone_but_not_together_are_not_both_made():
    class Rivals(Judge):
        def values(self, plans):
            self.judged += plans
            changed = [sum(plan.keep[group] != START.keep[group] for group in "ab") for plan in plans]
            return [(0.0, 1.0, 0.5)[number] for number in changed]

    judge = Rivals({})
    found = climb(judge, AT_ONCE + 1)
    assert len(judge.judged) == AT_ONCE + 1
    assert found.proxy == 1.0
    assert sum(found.plan.keep[group] != START.keep[group] for group in "ab") == 1


def test_a_group_that_keeps_all_is_never_swapped():
    scores = {group: torch.arange(width).float() for group, width in WIDTHS.items()}
    found = _neighbours(START, scores, np.random.default_rng(0), {START.digest}, 40)
    assert len(found) == len({plan.digest for plan in found}) > 10
    assert all(plan.keep["c"] == START.keep["c"] for plan in found)
    for plan in found:
        (group,) = [name for name in WIDTHS if plan.keep[name] != START.keep[name]]
        assert len(plan.keep[group]) == len(START.keep[group])
        assert len(set(plan.keep[group]) - set(START.keep[group])) == 1
