"""Campaigns from coarse to fine, and from given blends; stopped and resumed in every phase."""

from __future__ import annotations

import json

import numpy as np
import optuna
import pytest
from tiny_campaign import tiny_space

from blendsearch.blending import Blend, Clusters
from blendsearch.campaigns.search.phases import share_limit
from blendsearch.campaigns.search.run import run_search
from blendsearch.config import LimitConfig
from blendsearch.errors import ConfigError
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.refine import refine_blend

CRITERIA = ["l1", "taylor", "apoz", "random"]


pytestmark = pytest.mark.usefixtures("without_report")


def tiny(search=None, unit=("network", "stage", "layer"), **changes):
    own = {
        "criteria": CRITERIA,
        "blend": {"unit": unit if isinstance(unit, str) else list(unit)},
        "proxy": "bn_recalibrated",
        "retraining": {"epochs": 0.3, "batch_size": 64, "lr": 0.05},
    }
    return tiny_space({"generations": 4, "random_search": False, **(search or {})}, **{**own, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_search(tiny(), tmp_path_factory.mktemp("run") / "tiny")


def record_of(campaign, name):
    return json.loads((campaign.run_dir / "records" / f"{name}.json").read_text())


def trials_of(campaign):
    return optuna.load_study(study_name="tiny", storage=f"sqlite:///{campaign.run_dir / 'trials.db'}").trials


def test_the_phases_share_the_generations_and_the_last_gets_the_rest(finished):
    evolution = record_of(finished, "evolution")
    assert [one["unit"] for one in evolution] == ["network", "network", "stage", "layer", "layer"]
    assert [one["generation"] for one in evolution] == list(range(5))
    assert [one["evaluations"] for one in evolution] == [6, 12, 18, 24, 30]
    best = [one["best_so_far"] for one in evolution]
    assert best == sorted(best)
    assert [one.to_dict() for one in finished.summary.search.phases] == [
        {"unit": "network", "generations": 2, "evaluations": 12, "best": best[1]},
        {"unit": "stage", "generations": 1, "evaluations": 6, "best": best[2]},
        {"unit": "layer", "generations": 2, "evaluations": 12, "best": best[4]},
    ]


def test_the_ledger_counts_through_and_names_unit_and_genes(finished):
    trials = trials_of(finished)
    assert [trial.number for trial in trials] == list(range(30))
    for trial in trials:
        unit = trial.user_attrs["unit"]
        first = next(iter(trial.params))
        assert first.startswith({"network": "network/", "stage": "stage", "layer": "conv"}[unit])
    assert ["criterion" in trial.user_attrs for trial in trials] == [True] * 4 + [False] * 26


def test_a_phase_starts_from_the_best_of_the_one_before_at_no_cost(finished):
    trials = trials_of(finished)
    network, stage, layer = (
        GenomeSpace(Clusters.from_dict(record_of(finished, name)))
        for name in ("clusters-network", "clusters-stage", "clusters")
    )
    for coarse, fine in ((network, stage), (stage, layer)):
        own, started = (
            [trial for trial in trials if trial.user_attrs["unit"] == space.clusters.unit] for space in (coarse, fine)
        )
        best = max(own, key=lambda trial: trial.value)
        refined, dropped = refine_blend(fine, coarse.decode(np.array([best.params[name] for name in coarse.names])))
        assert started[0].params == fine.params(refined)
        if not dropped:
            assert started[0].value == best.value
            assert started[0].user_attrs["repeated"]
            assert started[0].user_attrs["seconds"] == 0


def test_the_blend_has_the_finest_unit_and_the_best_proxy_of_all(finished):
    assert finished.blend.unit == "layer"
    assert set(finished.blend.weights) == {"conv1", "conv2", "conv3", "conv4"}
    assert finished.summary.blend.proxy == max(trial.value for trial in trials_of(finished))
    assert record_of(finished, "clusters")["unit"] == "layer"
    assert record_of(finished, "clusters-network")["unit"] == "network"


def test_the_blend_file_tells_what_it_was_found_on_and_what_came_of_it(finished):
    noted = finished.blend.found_on
    assert noted["groups"]["conv3"] == {"stage": "stage2", "inner": True, "width": 12}
    assert set(noted["criteria_code"]) == set(CRITERIA)
    assert all(len(code) == 12 for code in noted["criteria_code"].values())
    assert noted["fidelity"] == finished.summary.fidelity.to_dict()
    results = noted["results"]
    assert results["test_accuracy"]["mean"] == finished.summary.blend.test_accuracy
    assert results["best_criterion"]["name"] == finished.summary.comparison.best_criterion
    assert results["verdict"] == finished.summary.comparison.verdict


class Kill(Exception):
    """Stands for the process being killed."""


def stopped_and_resumed(space, folder, at):
    def killer(name, done, total, detail=""):
        if name == "search" and done >= at:
            raise Kill

    with pytest.raises(Kill):
        run_search(space, folder, progress=killer)
    return run_search(space, folder, resume=True)


@pytest.mark.parametrize("at", [8, 12, 15, 25])
def test_stopped_in_any_phase_and_resumed_ends_the_same(finished, tmp_path, at):
    again = stopped_and_resumed(tiny(), tmp_path / "run", at)
    assert again.blend.weights == finished.blend.weights
    assert again.summary.blend.proxy == finished.summary.blend.proxy
    assert again.summary.comparison == finished.summary.comparison
    assert [trial.params for trial in trials_of(again)] == [trial.params for trial in trials_of(finished)]
    assert [trial.value for trial in trials_of(again)] == [trial.value for trial in trials_of(finished)]
    without_time = [{**one, "seconds": 0} for one in record_of(again, "evolution")]
    assert without_time == [{**one, "seconds": 0} for one in record_of(finished, "evolution")]


@pytest.mark.slow
def test_optuna_evolved_shares_and_finals_go_with_phases(tmp_path):
    finals = {"candidates": 3, "rungs": [1.0]}
    space = tiny(
        {"backend": "optuna", "generations": 2, "finals": finals},
        unit=["stage", "layer"],
        allocation="evolved",
    )
    campaign = run_search(space, tmp_path / "run")
    assert campaign.blend.unit == "layer"
    assert set(campaign.blend.keep) == {"conv1", "conv2", "conv3", "conv4"}
    candidates = {one["trial"]: one for one in record_of(campaign, "finals")["candidates"]}
    trials = trials_of(campaign)
    assert all(one["digest"] == trials[number].user_attrs["plan"] for number, one in candidates.items())
    same = stopped_and_resumed(space, tmp_path / "again", 15)
    assert (same.blend.weights, same.blend.keep) == (campaign.blend.weights, campaign.blend.keep)


def test_a_limit_is_shared_out_over_the_phases(tmp_path):
    space = tiny({"generations": 30, "limit": {"evaluations": 14}}, unit=["stage", "layer"])
    campaign = run_search(space, tmp_path / "run")
    evolution = record_of(campaign, "evolution")
    coarse = [one["distinct"] for one in evolution if one["unit"] == "stage"]
    assert coarse[-1] >= 7
    assert all(one < 7 for one in coarse[:-1])
    assert evolution[-1]["distinct"] >= 14
    assert campaign.summary.search.stopped_by == "evaluations"


def test_a_phase_without_share_is_passed_over_and_the_blend_still_has_the_finest_unit(tmp_path):
    space = tiny({"limit": {"evaluations": 1}}, unit=["stage", "layer"])
    campaign = run_search(space, tmp_path / "run")
    assert [one["unit"] for one in record_of(campaign, "evolution")] == ["stage"]
    assert campaign.blend.unit == "layer"
    best = max(trials_of(campaign), key=lambda trial: trial.value)
    assert json.loads((campaign.run_dir / "records/proxies.json").read_text())["blend"] == best.value


def test_shares_of_a_limit():
    assert share_limit(LimitConfig(evaluations=10), 1, 3).evaluations == 3
    assert share_limit(LimitConfig(evaluations=1), 1, 3).evaluations == 1
    assert share_limit(LimitConfig(seconds=9.0), 2, 3).seconds == 6.0
    assert share_limit(LimitConfig(seconds=9.0), 3, 3).seconds == 9.0
    assert share_limit(None, 1, 3) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unit": ["layer", "stage"]}, "blend.unit: expected from coarse to fine, each once: network, stage, layer"),
        ({"unit": ["stage", "stage"]}, "blend.unit: expected from coarse to fine"),
        ({"unit": ["stage", "layers"]}, "blend.unit.1: unknown value .*did you mean 'layer'"),
        ({"unit": "layers"}, "blend.unit: .*'layers'"),
        ({"unit": []}, "blend.unit: not allowed"),
        ({"search": {"generations": 2}}, "blend.unit: 3 units need a generation each .given search.generations 2., "),
    ],
)
def test_mistakes_are_one_line(changes, words):
    with pytest.raises(ConfigError, match=words) as error:
        tiny(**changes)
    assert len(str(error.value).splitlines()) == 1


def test_one_unit_in_a_list_is_that_unit():
    assert tiny(unit=["stage"]).blend.units == tiny(unit="stage").blend.units == ("stage",)


def test_blends_from_files_join_the_first_population(finished, tmp_path):
    layers = {"conv1": {"taylor": 1.0}, "conv2": {"l1": 0.5}, "conv3": {"apoz": 1.0}, "conv4": {"taylor": 0.25}}
    own = Blend("layer", layers, {name: (name,) for name in layers})
    crowded = Blend("network", {"network": dict.fromkeys(CRITERIA, 1.0) | {"taylor": 2.0}})
    files = [str(tmp_path / name) for name in ("own.json", "crowded.json")]
    own.save(files[0])
    crowded.save(files[1])
    space = tiny({"start_from": files, "generations": 2, "random_search": True}, unit=["network", "layer"])
    campaign = run_search(space, tmp_path / "run")
    trials = trials_of(campaign)
    assert [trial.user_attrs.get("start_from") for trial in trials[4:7]] == ["own.json", "crowded.json", None]
    assert campaign.summary.random_search is not None
    assert record_of(campaign, "control")["evaluations"] == len(trials) == 18
    record = record_of(campaign, "start_from")
    assert [entry["path"] for entry in record] == files
    assert record[0]["rule"].startswith("same layers")
    assert len(record[1]["dropped"]["network"]) == 2  # four criteria, two clusters
    assert "taylor" in {one["kept"] for one in record[1]["dropped"]["network"]}
    assert "layer" not in record[1]["dropped"]  # one of the network joins the phase of the network alone
    events = [json.loads(line) for line in (campaign.run_dir / "events.jsonl").read_text().splitlines()]
    told = [event for event in events if event["event"] == "start_from"]
    assert {(event["path"], event["unit"]) for event in told} == {
        (files[0], "network"), (files[0], "layer"), (files[1], "network")
    }  # fmt: skip
    assert told[-1]["dropped"] == record[1]["dropped"]["network"]


def test_a_start_of_the_same_unit_is_exact(tmp_path):
    layers = {"conv1": {"taylor": 1.0}, "conv2": {"l1": 0.5}, "conv3": {"apoz": 1.0}, "conv4": {"taylor": 0.25}}
    Blend("layer", layers, {name: (name,) for name in layers}).save(tmp_path / "own.json")
    space = tiny({"start_from": str(tmp_path / "own.json"), "generations": 0}, unit="layer")
    campaign = run_search(space, tmp_path / "run")
    (trial,) = [trial for trial in trials_of(campaign) if "start_from" in trial.user_attrs]
    factors = {name: value for name, value in trial.params.items() if name.endswith("factor") and value > 0}
    assert sorted(factors.values()) == [0.25, 0.5, 1.0, 1.0]
    assert campaign.summary.blend.proxy >= trial.value


def test_wrong_starts_are_one_line_before_any_work(tmp_path):
    path = tmp_path / "blend.json"
    with pytest.raises(ConfigError, match=r"search\.start_from: .*cannot read the blend") as error:
        tiny({"start_from": str(path)})
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ConfigError, match=r"search\.start_from: wrong type .given the number 4, allowed the path"):
        tiny({"start_from": 4})
    Blend("network", {"network": {"l1": 1.0, "hrank": 0.5}}).save(path)
    with pytest.raises(ConfigError, match=r"search\.start_from\.0: .* the blend uses hrank, .*add to criteria: hrank"):
        tiny({"start_from": [str(path)]})
    assert tiny({"start_from": [str(path)]}, criteria="all").search.start_from == [str(path)]
