"""Fewer criteria retrained beside the blend: those that the proxy puts first; told, and added later at their cost."""

from __future__ import annotations

import json

import pytest
from tiny_campaign import tiny_space

from blendsearch.campaigns.foresight.forecast import Counts
from blendsearch.campaigns.search.run import run_search
from blendsearch.config import space_from_dict
from blendsearch.errors import ConfigError
from blendsearch.experiment import Experiment
from blendsearch.results.verdicts import limits_of_search

CRITERIA = ["l1", "l2", "taylor", "random"]


def space(count, **changes):
    search = {"retrained_criteria": count, "random_search": False, "rivals": False}
    return tiny_space(search, criteria=CRITERIA, retraining={"epochs": 0.5, "batch_size": 64, "lr": 0.05}, **changes)


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    return run_search(space("all"), tmp_path_factory.mktemp("run") / "all")


def retrained(campaign):
    found = json.loads((campaign.run_dir / "records/retrained.json").read_text())
    return {one["name"]: one["test_accuracy"] for one in found}


def test_the_first_by_the_proxy_are_retrained_and_it_is_said(every, tmp_path):
    some = run_search(space(2), tmp_path / "two")
    proxies = {name: one.proxy for name, one in every.summary.criteria.items()}
    first = sorted(CRITERIA, key=lambda name: -proxies[name])[:2]
    assert set(some.summary.criteria) == set(first)
    assert sorted(some.summary.not_retrained) == sorted(set(CRITERIA) - set(first))
    assert retrained(some) == {name: value for name, value in retrained(every).items() if name in ("blend", *first)}
    assert some.summary.comparison.among == 2
    (said,) = [one for one in limits_of_search(some.summary) if "retrained_criteria" in one]
    assert said.startswith("Of 4 criteria the 2 that the proxy puts first were retrained")
    assert "the 2 that the proxy puts first" in (some.run_dir / "report.html").read_text()
    assert Counts(Experiment(space(2))).contenders == 3


def test_the_others_come_later_at_their_own_cost(every, tmp_path, monkeypatch):
    run_search(space(1), tmp_path / "run")
    original = __import__("blendsearch.experiment.retraining", fromlist=["retrain"]).retrain
    again = []

    def noted(setup, repetition):
        again.append(repetition.name)
        return original(setup, repetition)

    monkeypatch.setattr("blendsearch.experiment.retraining.retrain", noted)
    whole = run_search(space("all"), tmp_path / "run", resume=True)
    assert len(again) == 3
    assert "blend" not in again
    assert retrained(whole) == retrained(every)
    assert whole.summary.not_retrained == []
    assert whole.summary.comparison == every.summary.comparison


def test_nothing_is_said_where_all_are_retrained(every):
    assert not any("retrained_criteria" in one for one in limits_of_search(every.summary))


def test_none_is_one_line():
    data = {"name": "x", "data": {"name": "digits"}, "model": {"name": "conv4"}, "search": {"retrained_criteria": 0}}
    with pytest.raises(ConfigError) as caught:
        space_from_dict(data)
    assert "search.retrained_criteria: " in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
