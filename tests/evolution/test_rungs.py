"""Fitness by rungs, with proxies whose values are written down for each plan."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from blendsearch.evolution.rungs import RungFitness, rising_line
from blendsearch.evolution.screening import Paired, judge_of
from blendsearch.proxies import Estimate
from blendsearch.structure import Plan

PLANS = [Plan({"conv": (number,)}, {"conv": 50}) for number in range(50)]


class Written:
    """A proxy that looks its values up; `asked` are the plans it was asked for."""

    def __init__(self, values, passes=10):
        self.values, self.passes, self.asked = values, passes, []

    def prepare(self, context):
        self.context = SimpleNamespace(structure=SimpleNamespace(slice=lambda network, plan: None), network=None)

    def estimate(self, network, plan):
        (number,) = plan.keep["conv"]
        self.asked.append(number)
        return Estimate(self.values[number], 0.5, self.passes)


def written(*columns, judge="paired", keep=0.5):
    proxies = [Written(column, 10 ** (1 + place)) for place, column in enumerate(columns)]
    return RungFitness(proxies, judge_of(judge, [keep] * (len(columns) - 1)), None), proxies


def test_a_generation_by_hand():
    cheap = [0.1, 0.2, 0.3, 0.4, 0.5]
    middle = [None, None, 0.7, 0.6, 0.5]
    last = [None, None, 0.9, 0.8, None]
    fitness, proxies = written(cheap, middle, last)
    settled = []
    found = fitness([*PLANS[:5], PLANS[4]], lambda count, value: settled.append((count, value)))
    assert [proxy.asked for proxy in proxies] == [[0, 1, 2, 3, 4], [2, 3, 4], [2, 3]]
    assert [one.rungs for one in found[:5]] == [(0.1,), (0.2,), (0.3, 0.7, 0.9), (0.4, 0.6, 0.8), (0.5, 0.5)]
    assert [one.passes for one in found] == [10, 10, 1110, 1110, 110, 110]
    assert [one.seconds for one in found[:5]] == [0.5, 0.5, 1.5, 1.5, 1.0]
    assert [one.stopped for one in found[:5]] == [
        "rung 1 of 3: not in the better half", "rung 1 of 3: not in the better half", "proxy", "proxy",
        "rung 2 of 3: not in the better half",
    ]  # fmt: skip
    assert [one.dropped for one in found] == [True, True, False, False, True, True]
    assert [one.repeated for one in found] == [False] * 5 + [True]
    # The line of the middle rung through (0.7, 0.9) and (0.6, 0.8) gives 0.7 at 0.5. The cheap one's values fall where
    # the last one's rise, so its line is level at 0.85: less than the worst that was judged they must have.
    assert found[2].value == 0.9
    assert found[4].value == pytest.approx(0.7)
    assert found[0].value == found[1].value == math.nextafter(0.8, 0)
    assert settled == [(2, 0.0), (3, 0.0), (4, 0.9), (5, 0.8)]


def test_known_plans_are_not_estimated_again_and_do_not_compete():
    fitness, proxies = written([0.1, 0.9, 0.2, 0.3], [0.1, 0.9, 0.2, 0.3])
    fitness(PLANS[:2])
    again = fitness([PLANS[0], PLANS[1], PLANS[2], PLANS[3]])
    assert proxies[0].asked == [0, 1, 2, 3]
    assert proxies[1].asked == [1, 3]  # 3 is the better of the new ones, though worse than 1
    assert [one.repeated for one in again] == [True, True, False, False]
    assert again[0].dropped
    assert [one.generation for one in fitness.known.values()] == [0, 0, 1, 1]
    assert fitness(PLANS[:1])[0].value == again[0].value


@pytest.mark.parametrize("judge", ["paired", "median", "percentile", "successive_halving"])
def test_no_dropped_plan_is_as_fit_as_any_that_was_judged_beside_it(judge):
    rng = np.random.default_rng(1)
    cheap = rng.random(50)
    last = 0.5 * cheap + 0.5 * rng.random(50)
    fitness, _ = written(cheap.tolist(), last.tolist(), judge=judge)
    dropped = 0
    judged = []
    for start in range(0, 50, 10):
        found = fitness(PLANS[start : start + 10])
        reached = [one.value for one in found if not one.dropped]
        judged += reached
        left = [one.value for one in found if one.dropped]
        dropped += len(left)
        assert all(value < min(reached or judged) for value in left)
        assert all(math.isfinite(value) for value in left)
        if left:  # they are in the order of the cheap proxy, unless the bound made them equal
            values = [(one.rungs[0], one.value) for one in found if one.dropped]
            assert np.all(np.diff([value for _, value in sorted(values)]) >= 0)
    assert dropped >= 10


@pytest.mark.parametrize("judge", ["paired", "median", "percentile", "successive_halving"])
def test_a_resumed_search_decides_as_if_it_had_not_stopped(judge):
    rng = np.random.default_rng(2)
    columns = [rng.random(50).tolist() for _ in range(3)]
    one, _ = written(*columns, judge=judge)
    for start in (0, 12, 24):
        one(PLANS[start : start + 12])
    saved = json.dumps(one.state_dict(), allow_nan=False)
    other, proxies = written(*columns, judge=judge)
    other.load_state_dict(json.loads(saved))
    assert json.dumps(other.state_dict()) == saved
    late = PLANS[30:50]
    assert one(late) == other(late)
    assert set(proxies[0].asked) == set(range(36, 50))
    assert json.dumps(one.state_dict()) == json.dumps(other.state_dict())


def test_what_the_last_proxy_says_of_a_dropped_plan_is_no_part_of_the_search():
    fitness, proxies = written([0.1, 0.9, 0.5], [0.4, 0.6, 0.5])
    fitness(PLANS[:2])
    before = json.dumps(fitness.state_dict())
    assert fitness.deciding([PLANS[0], PLANS[1], PLANS[2], PLANS[0]]) == [0.4, 0.6, 0.5, 0.4]
    assert proxies[1].asked == [1, 0, 2]
    assert json.dumps(fitness.state_dict()) == before


def test_the_line_is_least_squares_and_never_falls():
    rng = np.random.default_rng(3)
    x = rng.random(20)
    y = 2 * x + 0.1 * rng.random(20)
    slope, offset = np.polyfit(x, y, 1)
    line = rising_line(list(zip(x, y, strict=True)))
    assert [line(value) for value in (-1.0, 0.3)] == pytest.approx([offset - slope, offset + 0.3 * slope])
    # Where the data fall, the best that does not is level, as isotonic regression has it too.
    level = rising_line([(0.1, 0.9), (0.5, 0.6), (0.9, 0.3)])
    flat = IsotonicRegression().fit([0.1, 0.5, 0.9], [0.9, 0.6, 0.3]).predict([0.2])[0]
    assert level(0.2) == level(0.7) == pytest.approx(flat)
    assert rising_line([(0.5, 0.7)])(0.1) == pytest.approx(0.7)
    assert rising_line([(0.5, 0.7), (0.5, 0.9)])(3.0) == pytest.approx(0.8)


def test_one_candidate_is_enough():
    fitness = RungFitness([Written([0.2]), Written([0.3])], Paired([0.5]), None)
    assert fitness(PLANS[:1])[0].value == 0.3
    assert fitness([]) == []
