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
from blendsearch.proxies import Estimate


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
    "line", ["{}", "[1, 2]", '["all", "0", "x", 1, 1]', "null", "\udcff", '["b", "0", null, 1, 1]']
)
def test_a_line_that_is_no_estimate_is_told(tmp_path, line):
    path = tmp_path / "judged.jsonl"
    path.write_bytes(f'["all", "1", 0.5, 1, 1]\n{line}\n'.encode(errors="surrogateescape"))
    with pytest.raises(RunError, match=r"judged\.jsonl: line 2 is not a plan's estimate, .*; without the file, "):
        Journal(path, "all")


def test_an_estimate_of_a_race_is_not_kept(tmp_path):
    journal = Journal(tmp_path / "judged.jsonl", "all")
    journal.put("a", Estimate(0.5, 1.0, 1, np.zeros(3, np.float32)))
    journal.put("b", Estimate(0.5, 1.0, 1, stopped=True))
    assert journal.get("a") is journal.get("b") is None
    assert not (tmp_path / "judged.jsonl").exists()


def test_no_other_process_writes_it(tmp_path):
    with pytest.raises(TypeError, match="one process"):
        pickle.dumps(Journal(tmp_path / "judged.jsonl", "all"))
