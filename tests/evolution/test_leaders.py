"""Whom candidates race against: the last of the best few, of equal ones the first, the same after a resume."""

from __future__ import annotations

import json

import numpy as np

from blendsearch.evolution.leaders import Leaders
from blendsearch.proxies.racing import Racing


def leaders(*values):
    found = Leaders(2, Racing())
    for number, value in enumerate(values):
        found.enter(f"plan{number}", value, np.full(3, number, dtype=np.float32))
    return found


def test_nobody_races_before_there_are_enough():
    assert leaders().rival is None
    assert leaders(0.5).rival is None


def test_the_rival_is_the_last_of_the_best():
    assert leaders(0.5, 0.7, 0.6).rival.scores.tolist() == [2, 2, 2]
    assert leaders(0.5, 0.7, 0.4).rival.scores.tolist() == [0, 0, 0]
    assert leaders(0.5, 0.7, 0.4).rival.plan == "plan0"


def test_of_equal_ones_the_first_leads_and_one_plan_counts_once():
    found = leaders(0.5, 0.5, 0.5)
    assert [digest for _, digest, _ in found.best] == ["plan0", "plan1"]
    found.enter("plan1", 0.5, np.ones(3, dtype=np.float32))
    assert [digest for _, digest, _ in found.best] == ["plan0", "plan1"]


def test_there_is_room_for_one_that_would_lead():
    assert leaders(0.5).has_room_for(0.1)
    assert leaders(0.5, 0.7).has_room_for(0.6)
    assert not leaders(0.5, 0.7).has_room_for(0.5)


def test_a_state_goes_through_json_bit_for_bit():
    given = Leaders(1, Racing())
    given.enter("plan", 1 / 3, np.array([0.1, -2.5e-9], dtype=np.float32))
    taken = Leaders(1, Racing())
    taken.load_state_dict(json.loads(json.dumps(given.state_dict())))
    assert taken.best[0][:2] == (1 / 3, "plan")
    assert taken.rival.plan == given.rival.plan
    assert np.array_equal(taken.rival.scores, given.rival.scores)
