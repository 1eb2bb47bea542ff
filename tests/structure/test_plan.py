"""A plan is checked data, the same in memory and in JSON."""

from __future__ import annotations

import json

import pytest
import torch

from blendsearch.errors import StructureError
from blendsearch.structure import Plan

WIDTHS = {"a": 5, "b": 3}
PLAN = Plan({"a": (0, 2, 4), "b": (1,)}, WIDTHS)


def test_json_round_trip():
    text = json.dumps(PLAN.to_dict())
    again = Plan.from_dict(json.loads(text))
    assert again == PLAN
    assert again.digest == PLAN.digest
    assert json.loads(text) == {
        "schema": 1,
        "groups": {"a": {"width": 5, "keep": [0, 2, 4]}, "b": {"width": 3, "keep": [1]}},
    }


def test_full_and_counts():
    full = Plan.full(WIDTHS)
    assert full.keep == {"a": (0, 1, 2, 3, 4), "b": (0, 1, 2)}
    assert (full.counts, PLAN.counts) == (WIDTHS, {"a": 3, "b": 1})


def test_top_keeps_the_highest_scores_and_of_equal_ones_the_first():
    scores = {"a": torch.tensor([1.0, 5.0, 3.0, 3.0, 0.0]), "b": torch.tensor([2.0, 2.0, 2.0])}
    assert Plan.top(scores, {"a": 2, "b": 2}).keep == {"a": (1, 2), "b": (0, 1)}
    assert Plan.top(scores, {"a": 3, "b": 1}).keep == {"a": (1, 2, 3), "b": (0,)}


def test_the_digest_follows_the_content_not_the_order():
    other = Plan({"b": (1,), "a": (0, 2, 4)}, {"b": 3, "a": 5})
    assert other.digest == PLAN.digest
    assert Plan({"a": (0, 2, 3), "b": (1,)}, WIDTHS).digest != PLAN.digest


def test_then_gives_indices_of_the_original():
    later = Plan({"a": (0, 2)}, {"a": 3})
    assert PLAN.then(later) == Plan({"a": (0, 4), "b": (1,)}, WIDTHS)
    assert PLAN.then(Plan.full(PLAN.counts)) == PLAN
    assert Plan.full(WIDTHS).then(PLAN) == PLAN


def test_then_is_associative():
    second, third = Plan({"a": (1, 2), "b": (0,)}, {"a": 3, "b": 1}), Plan({"a": (1,), "b": (0,)}, {"a": 2, "b": 1})
    assert PLAN.then(second).then(third) == PLAN.then(second.then(third)) == Plan({"a": (4,), "b": (1,)}, WIDTHS)


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (Plan({"a": (0, 3)}, {"a": 5}), "group 'a' has width 5 in the later plan, 3 filters are left"),
        (Plan({"z": (0, 1)}, {"z": 2}), "group 'z' has width 2 in the later plan, none"),
    ],
)
def test_then_refuses_a_plan_of_another_network(later, message):
    with pytest.raises(StructureError, match=message):
        PLAN.then(later)


@pytest.mark.parametrize("kept", [(), (1, 1), (2, 1), (-1, 0), (0, 5)], ids=str)
def test_wrong_indices_name_the_group(kept):
    with pytest.raises(StructureError, match=r"plan: group 'a' keeps .* from 0 to 4"):
        Plan({"a": kept}, WIDTHS)


def test_a_group_without_a_width_is_an_error():
    with pytest.raises(StructureError, match="group 'z'"):
        Plan({"z": (0,)}, WIDTHS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"schema": 2, "groups": {}}, "schema 2 given, 1 allowed"),
        ({"groups": {}}, "schema None given, 1 allowed"),
        ({"schema": 1}, "no 'groups'"),
        ({"schema": 1, "groups": {"a": {"keep": [0]}}}, "group 'a'"),
        ({"schema": 1, "groups": {"a": {"width": 2, "keep": ["x"]}}}, "group 'a'"),
        ({"schema": 1, "groups": {"a": {"width": 2, "keep": [0, 2]}}}, "group 'a' keeps"),
        ({"schema": 1, "groups": {"a": [0]}}, "group 'a'"),
        ([], "an object"),
    ],
    ids=str,
)
def test_wrong_json_is_one_line(data, message):
    with pytest.raises(StructureError, match=message) as error:
        Plan.from_dict(data)
    assert len(str(error.value).splitlines()) == 1
