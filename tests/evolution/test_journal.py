"""Trials written down one by one: what a stopped run judged is neither judged again nor ever misread."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from blendsearch.errors import RunError
from blendsearch.evolution.fitness import FitnessFunction
from blendsearch.evolution.journal import Journal
from blendsearch.evolution.leaders import Leaders
from blendsearch.proxies import Estimate
from blendsearch.proxies.racing import Racing


@dataclass(frozen=True)
class FakePlan:
    digest: str
    value: float


class CountingProxy:
    """Estimates what a plan says, and keeps count of which plans it was asked about."""

    def __init__(self):
        self.asked = []

    def prepare(self, context) -> None:
        self.context = context

    def estimate(self, network, plan):
        self.asked.append(plan.digest)
        return Estimate(plan.value, 0.1 + plan.value, 10)


PLANS = [FakePlan(str(number), 1 / (number + 3)) for number in range(6)]


def fitness_of(path, judge="all"):
    context = SimpleNamespace(network=None, structure=SimpleNamespace(slice=lambda network, plan: network), racing=None)
    proxy = CountingProxy()
    return FitnessFunction(proxy, context, journal=Journal(path, judge)), proxy


def test_what_was_judged_is_read_and_counts_as_new(tmp_path):
    path = tmp_path / "records" / "judged.jsonl"
    before, _ = fitness_of(path)
    first = before(PLANS[:4])
    after, proxy = fitness_of(path)
    told = []
    found = after(PLANS, lambda count, value: told.append(value))
    assert proxy.asked == ["4", "5"]
    assert [one.value for one in found] == [plan.value for plan in PLANS]
    assert found[:4] == first
    assert [one.repeated for one in found] == [False] * 6
    assert sorted(told) == sorted(plan.value for plan in PLANS)
    assert after.tried == 6


def test_a_stream_takes_up_what_was_judged_in_its_place(tmp_path):
    path = tmp_path / "judged.jsonl"
    before, _ = fitness_of(path)
    before([PLANS[1], PLANS[3]])
    after, proxy = fitness_of(path)
    with after.stream() as stream:
        for plan in [*PLANS, PLANS[1]]:
            stream.put(plan)
        found = [stream.take() for _ in range(7)]
    assert proxy.asked == ["0", "2", "4", "5"]
    assert [one.value for one in found] == [plan.value for plan in [*PLANS, PLANS[1]]]
    assert [one.repeated for one in found] == [False] * 6 + [True]
    assert set(Journal(path, "all").known) == {plan.digest for plan in PLANS}


def test_judges_share_a_file_and_not_what_they_say(tmp_path):
    path = tmp_path / "judged.jsonl"
    seen, _ = fitness_of(path, "seen")
    seen(PLANS[:2])
    fresh, proxy = fitness_of(path, "fresh")
    fresh(PLANS[:2])
    assert proxy.asked == ["0", "1"]
    assert len(path.read_text().splitlines()) == 4


@pytest.mark.parametrize("cut", range(1, 12))
def test_half_a_line_counts_as_not_written_and_spoils_no_other(tmp_path, cut):
    path = tmp_path / "judged.jsonl"
    before, _ = fitness_of(path)
    before(PLANS[:3])
    path.write_bytes(path.read_bytes()[:-cut])
    again, proxy = fitness_of(path)
    again(PLANS)
    assert proxy.asked == ["2", "3", "4", "5"]
    last, proxy = fitness_of(path)
    assert [one.value for one in last(PLANS)] == [plan.value for plan in PLANS]
    assert proxy.asked == []


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[1, 2]",
        '["all", "0", "x", 1, 1]',
        "null",
        "\udcff",
        '["b", "0", null, 1, 1]',
        '["all", "0", 1, 1, 1, "a", 1]',
    ],
)
def test_a_line_that_is_no_estimate_is_told(tmp_path, line):
    path = tmp_path / "judged.jsonl"
    path.write_bytes(f'["all", "1", 0.5, 1, 1]\n{line}\n'.encode(errors="surrogateescape"))
    with pytest.raises(RunError, match=r"judged\.jsonl: line 2 is not a plan's estimate, .*; without the file, "):
        Journal(path, "all")


def test_an_estimate_of_a_race_stands_with_whom_it_lost_to(tmp_path):
    path = tmp_path / "judged.jsonl"
    written = Journal(path, "all")
    written.put("a", Estimate(0.5, 1.0, 1, np.zeros(3, np.float32)), "rival")
    written.put("b", Estimate(0.3, 1.0, 1, stopped=True), "rival")
    written.put("b", Estimate(0.4, 2.0, 3))
    for journal in (written, Journal(path, "all")):
        assert journal.get("a") == journal.get("a", "rival") == Estimate(0.5, 1.0, 1)
        assert journal.get("b", "rival") == Estimate(0.3, 1.0, 1, stopped=True)
        assert journal.get("b") == journal.get("b", "another") == Estimate(0.4, 2.0, 3)
    assert len(path.read_text().splitlines()) == 3


class RacingProxy(CountingProxy):
    """Stops plans that are worth less than the rival after one of two images."""

    def race(self, network, plan, rival):
        self.asked.append(plan.digest)
        if rival is not None and plan.value < rival.mean():
            return Estimate(plan.value - 0.01, 0.1, 5, stopped=True)
        return Estimate(plan.value, 0.2, 10, np.full(2, plan.value, np.float32))


def racing_fitness(path):
    context = SimpleNamespace(
        network=None, structure=SimpleNamespace(slice=lambda network, plan: network), racing=Racing(1)
    )
    proxy = RacingProxy()
    return FitnessFunction(proxy, context, leaders=Leaders(1, Racing(1)), journal=Journal(path, "all")), proxy


def test_of_a_stopped_race_those_who_lead_alone_are_read_again(tmp_path):
    path = tmp_path / "judged.jsonl"
    plans = [FakePlan("first", 0.5), FakePlan("worse", 0.4), FakePlan("better", 0.6), FakePlan("between", 0.55)]
    outcomes = []
    for asked in (["first", "worse", "better", "between"], ["first", "better"]):
        fitness, proxy = racing_fitness(path)
        found = [*fitness.race(plans[:1]), *fitness.race(plans[1:3]), *fitness.race(plans[3:])]
        assert proxy.asked == asked
        assert fitness.leaders.rival.plan == "better"
        outcomes.append([(one.value, one.passes, one.stopped, one.repeated) for one in found])
    assert outcomes[0] == outcomes[1]
    assert [stopped for _, _, stopped, _ in outcomes[0]] == [False, True, False, True]


def test_a_climb_races_against_where_it_is_and_takes_no_other_races_word(tmp_path):
    fitness, proxy = racing_fitness(tmp_path / "judged.jsonl")
    fitness.race([FakePlan("best", 0.9)])
    fitness.race([FakePlan("lost", 0.8)])
    assert "lost" in fitness.stopped
    proxy.asked.clear()
    climb = fitness.racing_from(FakePlan("start", 0.7))
    assert climb.leaders.rival.plan == "start"
    (found,) = climb.race([FakePlan("lost", 0.8)])
    assert (found.value, found.stopped) == (0.8, False)
    assert climb.leaders.rival.plan == "lost"
    (found,) = climb.race([FakePlan("worse", 0.75)])
    assert found.stopped
    assert proxy.asked == ["start", "lost", "worse"]
    assert fitness.leaders.rival.plan == "best"
    assert not fitness.knows(FakePlan("worse", 0.75))


def test_a_climb_from_a_leader_takes_its_scores_and_reads_nothing(tmp_path):
    fitness, proxy = racing_fitness(tmp_path / "judged.jsonl")
    fitness.race([FakePlan("best", 0.9)])
    proxy.asked.clear()
    climb = fitness.racing_from(FakePlan("best", 0.9))
    assert proxy.asked == []
    assert climb.leaders.rival.scores.tolist() == fitness.leaders.rival.scores.tolist()
    climb.race([FakePlan("better", 0.95)])
    assert (climb.leaders.rival.plan, fitness.leaders.rival.plan) == ("better", "best")


def test_a_climb_is_no_race_where_candidates_do_not_race(tmp_path):
    fitness, proxy = fitness_of(tmp_path / "judged.jsonl")
    assert fitness.racing_from(PLANS[0]) is fitness
    assert proxy.asked == []


def test_no_other_process_writes_it(tmp_path):
    with pytest.raises(TypeError, match="one process"):
        pickle.dumps(Journal(tmp_path / "judged.jsonl", "all"))
