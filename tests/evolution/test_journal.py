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
from blendsearch.evolution.parallel import Failed
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

    @classmethod
    def can_race(cls):
        return False

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
        '["all", "0", 1, 1, 1, "a", "x", false]',
    ],
)
def test_a_line_that_is_no_estimate_is_told(tmp_path, line):
    path = tmp_path / "judged.jsonl"
    path.write_bytes(f'["all", "1", 0.5, 1, 1]\n{line}\n'.encode(errors="surrogateescape"))
    with pytest.raises(RunError, match=r"judged\.jsonl: line 2 is not a plan's estimate, .*; without the file, "):
        Journal(path, "all")


def test_an_estimate_of_a_comparison_stands_with_whom_it_was_compared_with(tmp_path):
    path = tmp_path / "judged.jsonl"
    written = Journal(path, "all")
    written.put("a", Estimate(0.5, 1.0, 1, np.zeros(3, np.float32), error=0.1), "rival")
    written.put("b", Estimate(0.3, 1.0, 1, stopped=True, error=0.2), "rival")
    written.put("b", Estimate(0.4, 2.0, 3))
    written.put("b", Estimate(0.9, 9.0, 9))
    written.put("c", Estimate(0.6, 1.0, 1), "rival")
    for journal in (written, Journal(path, "all")):
        assert journal.get("a") == journal.compared("a", "rival") == Estimate(0.5, 1.0, 1, error=0.1)
        assert journal.compared("b", "rival") == Estimate(0.3, 1.0, 1, stopped=True, error=0.2)
        assert journal.compared("b", "another") is None
        assert journal.get("b") == Estimate(0.4, 2.0, 3)
        assert journal.compared("c", "rival") == Estimate(0.6, 1.0, 1)
    assert len(path.read_text().splitlines()) == 4


class RacingProxy(CountingProxy):
    """Stops plans that are worth less than the rival after one of two images."""

    @classmethod
    def can_race(cls):
        return True

    def race(self, network, plan, rival):
        self.asked.append(plan.digest)
        if rival is not None and plan.value < rival.mean():
            return Estimate(plan.value - 0.01, 0.1, 5, stopped=True, error=0.5)
        error = None if rival is None else 0.25
        return Estimate(plan.value, 0.2, 10, np.full(2, plan.value, np.float32), error=error)


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


def test_a_comparison_is_with_one_plan_and_takes_no_other_races_word(tmp_path):
    fitness, proxy = racing_fitness(tmp_path / "judged.jsonl")
    fitness.race([FakePlan("best", 0.9)])
    fitness.race([FakePlan("lost", 0.8)])
    assert "lost" in fitness.stopped
    proxy.asked.clear()
    start = FakePlan("start", 0.7)
    lost, worse = fitness.compare([FakePlan("lost", 0.8), FakePlan("worse", 0.6)], start)
    assert (lost.value, lost.stopped, lost.error) == (0.8, False, 0.25)
    assert (worse.stopped, worse.error) == (True, 0.5)
    assert proxy.asked == ["start", "lost", "worse"]  # the first for its scores
    assert fitness.knows(FakePlan("lost", 0.8))
    assert "lost" not in fitness.stopped
    assert not fitness.knows(FakePlan("worse", 0.6))
    assert fitness.leaders.rival.plan == "best"


def test_whoever_was_compared_last_or_leads_has_its_scores(tmp_path):
    fitness, proxy = racing_fitness(tmp_path / "judged.jsonl")
    fitness.race([FakePlan("best", 0.9)])
    proxy.asked.clear()
    better = FakePlan("better", 0.95)
    fitness.compare([better], FakePlan("best", 0.9))
    fitness.compare([FakePlan("another", 0.96)], better)
    assert proxy.asked == ["better", "another"]


def test_all_that_stood_against_one_rival_in_turn_have_their_scores(tmp_path):
    fitness, proxy = racing_fitness(tmp_path / "judged.jsonl")
    start, one, other, both = (FakePlan(*given) for given in (("s", 0.5), ("a", 0.6), ("b", 0.6), ("ab", 0.55)))
    fitness.compare([one, other], start)
    fitness.compare([both], start)
    fitness.compare([FakePlan("next", 0.7)], one)
    assert proxy.asked == ["s", "a", "b", "ab", "next"]


def test_a_stopped_run_compares_no_plan_again_and_reads_whom_it_goes_on_from(tmp_path):
    path = tmp_path / "judged.jsonl"
    start, better, worse, last = (FakePlan(*one) for one in (("s", 0.5), ("b", 0.6), ("w", 0.4), ("l", 0.7)))
    outcomes = []
    for asked in (["s", "b", "w", "l"], []):
        fitness, proxy = racing_fitness(path)
        outcomes.append([*fitness.compare([better, worse], start), *fitness.compare([last], better)])
        assert proxy.asked == asked
    assert outcomes[0] == outcomes[1]
    fitness.compare([FakePlan("n", 0.8)], last)
    assert proxy.asked == ["l", "n"]


def test_a_plan_whose_comparison_failed_is_known_to_have_failed(tmp_path):
    fitness, _ = racing_fitness(tmp_path / "judged.jsonl")
    start, known, dead = FakePlan("s", 0.5), FakePlan("k", 0.6), FakePlan("d", 0.7)
    fitness([known])
    outcomes = fitness.pool.outcomes
    why = Failed("died", 2)
    fitness.pool.outcomes = lambda tasks: (
        (place, why if task.plan in (known, dead) and task.scored else one)
        for (place, one), task in zip(outcomes(tasks), tasks, strict=True)
    )
    assert [one.failure for one in fitness.compare([known, dead], start)] == [why, why]
    assert fitness.failures == {"d": why}  # of the other one there is a value
    assert fitness([dead])[0].failure == why
    fitness.pool.outcomes = outcomes
    assert fitness.compare([dead], start)[0].value == 0.7  # it was the worker's fault
    assert fitness.failures == {}
    assert (fitness([dead])[0].value, fitness.tried) == (0.7, 2)


def test_of_a_long_climb_the_last_plan_and_those_that_stood_against_it_have_their_scores(tmp_path):
    fitness, _ = racing_fitness(tmp_path / "judged.jsonl")
    plan = FakePlan("start", 0.5)
    for step in range(5):
        beside = [FakePlan(f"{step}.{number}", 0.6) for number in range(4)]
        fitness.compare(beside[:2], plan)
        fitness.compare(beside[2:], plan)
        assert set(fitness.scores) == {plan.digest, *(one.digest for one in beside)}
        plan = beside[step % 4]


def test_without_scores_a_comparison_is_a_call(tmp_path):
    fitness, proxy = fitness_of(tmp_path / "judged.jsonl")
    found = fitness.compare(PLANS[:2], PLANS[2])
    assert [one.value for one in found] == [plan.value for plan in PLANS[:2]]
    assert [one.error for one in found] == [None, None]
    assert proxy.asked == ["0", "1"]


def test_no_other_process_writes_it(tmp_path):
    with pytest.raises(TypeError, match="one process"):
        pickle.dumps(Journal(tmp_path / "judged.jsonl", "all"))
