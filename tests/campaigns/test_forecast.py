"""What is counted beforehand is what a campaign then does."""

from __future__ import annotations

import json

import pytest
from tiny_campaign import tiny_space

from blendsearch.blending import Blend
from blendsearch.campaigns.foresight.forecast import Counts, forecast_search
from blendsearch.campaigns.foresight.unit_costs import Stopwatch
from blendsearch.campaigns.search.run import run_search
from blendsearch.experiment import Experiment

pytestmark = pytest.mark.usefixtures("without_report")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"allocation": "evolved"},
        {"search": {"random_search": False, "rivals": False}},
        {"search": {"generations": 3, "limit": {"evaluations": 8}, "swaps": 6}},
        {"search": {"generations": 1, "rivals": ["tilted", "mean_of_ranks"]}, "blend": {"set_aware": True}},
    ],
    ids=["plain", "evolved", "bare", "limited", "some rivals"],
)
def test_contenders_and_evaluations(tmp_path, changes):
    space = tiny_space(search=changes.pop("search", None), **changes, retraining={"epochs": 0.1, "batch_size": 64})
    counts = Counts(Experiment(space))
    campaign = run_search(space, tmp_path / "run")
    names = {(one["name"], one["kind"]) for one in json.loads((tmp_path / "run/records/retrained.json").read_text())}
    assert counts.contenders == len(names)
    assert counts.criteria == len(campaign.summary.criteria)
    generations = json.loads((tmp_path / "run/records/evolution.json").read_text())
    done = generations[-1]["evaluations"]
    assert abs(counts.evaluations - done) < space.search.population


def test_only_the_rivals_that_are_wanted_are_counted():
    def counts(rivals):
        search = {"random_search": False, "layer_by_layer": 2, "swaps": 6, "rivals": rivals}
        return Counts(Experiment(tiny_space(search=search, blend={"set_aware": True})))

    none, every = counts(False), counts(True)
    assert every.other_evaluations > counts(["swapped"]).other_evaluations == none.other_evaluations + 6
    assert counts(["hesso", "tilted"]).other_evaluations == none.other_evaluations
    assert none.sequential == counts(["hesso"]).sequential == 2
    assert (counts(["elimination"]).sequential, counts(["tilted"]).sequential) == (3, 6)


def test_forecasts_of_swaps_are_counted_where_the_proxy_has_some():
    def others(proxy, swaps):
        return Counts(Experiment(tiny_space({"rivals": False, "swaps": swaps}, proxy=proxy))).other_evaluations

    assert others("compensated", 25) == others("compensated", None) + 25
    assert others("agreement", 25) == others("agreement", None) + 25 + 3 * 3


@pytest.mark.parametrize(("candidates", "trainings"), [(5, 5 + 3 + 2), (4, 4 + 2 + 1)])
def test_of_an_odd_number_of_finalists_the_better_half_is_the_larger(candidates, trainings):
    finals = {"candidates": candidates, "rungs": [0.1, 0.2, 0.4]}
    counts = Counts(Experiment(tiny_space({"random_search": False, "finals": finals})))
    inside = [candidates, (candidates + 1) // 2, ((candidates + 1) // 2 + 1) // 2]
    assert sum(inside) == trainings
    assert counts.finals == pytest.approx(sum(n * share for n, share in zip(inside, finals["rungs"], strict=True)))


def test_given_blends_and_the_front_at_full_budget_count_too(tmp_path):
    file = tmp_path / "mean.json"
    Blend.mean_of_ranks(["l1", "taylor"]).save(file)
    few = {"population": 2, "elite": 1, "random_search": False}
    plain = Counts(Experiment(tiny_space(few)))
    assert Counts(Experiment(tiny_space({**few, "start_from": str(file)}))).evaluations == plain.evaluations + 1
    front = {"objectives": ["flops"], "lowest": 0.1}
    assert Counts(Experiment(tiny_space({**few, **front}))).evaluations == plain.evaluations + 2


def test_of_a_front_the_first_point_is_the_blend_which_is_retrained_anyway():
    def contenders(**search):
        return Counts(Experiment(tiny_space(search))).contenders

    front = {"objectives": ["flops"], "lowest": 0.1}
    assert contenders(**front, front=1) == contenders()
    assert contenders(**front, front=3) == contenders() + 4


def test_memory_counts_what_each_process_keeps_of_candidates():
    plain, several = (
        forecast_search(Experiment(tiny_space(proxy=proxy))).gigabytes
        for proxy in ("short_finetune", {"name": "average", "proxies": ["compensated", "agreement"]})
    )
    assert several - plain > 0.5


def test_the_forecast_is_the_sum_of_its_work():
    forecast = forecast_search(Experiment(tiny_space()))
    assert forecast.seconds == pytest.approx(sum(one.seconds for one in forecast.work))
    assert all(one.seconds >= 0 for one in forecast.work)
    assert 0.1 < forecast.gigabytes < 8
    longer = forecast_search(Experiment(tiny_space(retraining={"epochs": 50, "batch_size": 64, "seeds": 4})))
    assert longer.seconds > 2 * forecast.seconds


@pytest.mark.parametrize(
    "proxy",
    [
        "zero_shot",
        {"name": "short_finetune", "steps": 20},
        {"name": "average", "proxies": ["compensated", {"name": "compensated_finetune", "steps": 5}]},
    ],
)
def test_every_kind_of_proxy_is_timed(proxy, monkeypatch):
    """On few images, too: what they stand for is then more than what was timed."""
    whole = Stopwatch(Experiment(tiny_space(proxy=proxy))).proxy()
    assert 0 < whole.estimate < 20
    watch = Stopwatch(Experiment(tiny_space(proxy=proxy)))
    watch.images = 16
    assert watch.proxy().estimate > 0


def test_timing_changes_neither_the_network_nor_what_is_drawn():
    import torch

    made, plain = Experiment(tiny_space()), Experiment(tiny_space())
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    forecast_search(made)
    assert torch.rand(1) == expected
    assert all(one.equal(made.network.state_dict()[name]) for name, one in plain.network.state_dict().items())
