"""A choice on fresh search images: who sees which images, what is chosen, stopped and resumed."""

from __future__ import annotations

import json

import numpy as np
import optuna
import pytest
import torch
from tiny_campaign import tiny_space

from blendsearch.campaigns.search import choice as module
from blendsearch.campaigns.search.run import run_search
from blendsearch.errors import ConfigError, DataError
from blendsearch.evolution.fitness import Evaluation
from blendsearch.evolution.two_parts import TwoParts
from blendsearch.experiment import Experiment
from blendsearch.experiment.experiment import part_split
from blendsearch.proxies import PROXIES
from blendsearch.structure import Plan

pytestmark = pytest.mark.usefixtures("without_report")
CHOICE = {"choice": {"candidates": 4, "share": 0.4}}


def tiny(search=None, **changes):
    return tiny_space({**CHOICE, "rivals": False, **(search or {})}, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_search(tiny(), tmp_path_factory.mktemp("run") / "tiny")


def record_of(campaign, name="choice"):
    return json.loads((campaign.run_dir / "records" / f"{name}.json").read_text())


def test_the_parts_are_disjoint_seeded_and_all_there_is(digits):
    seen, fresh = part_split(digits.search, 0.4, 7)
    again, _ = part_split(digits.search, 0.4, 7)
    other, _ = part_split(digits.search, 0.4, 8)

    def images(split):
        return [tuple(image.flatten().tolist()) for batch, _ in split.batches(100) for image in batch]

    assert (len(seen), len(fresh)) == (100, 150)
    assert sorted(images(seen) + images(fresh)) == sorted(images(digits.search))
    assert images(seen) == images(again) != images(other)
    order = {image: place for place, image in enumerate(images(digits.search))}
    places = [order[image] for image in images(seen)]
    assert places == sorted(places)


def test_a_part_without_an_image_is_told_before_any_work(tmp_path):
    with pytest.raises(DataError) as error:
        run_search(tiny({"choice": {"share": 0.001}}), tmp_path / "run")
    assert str(error.value) == (
        "search.choice.share: 0.001 given, which leaves 0 of 150 search images to the search; allowed a share that "
        "leaves both parts one at least"
    )
    assert not (tmp_path / "run").exists()


class Told:
    """A fitness that is told the value of each plan."""

    def __init__(self, **values):
        self.values = values

    def __call__(self, plans, done=lambda n, v: None):
        return [Evaluation(plan, self.values[next(iter(plan.keep))], 1.0, 3, repeated=False) for plan in plans]


def test_each_image_counts_alike_in_the_mean_of_both_parts():
    both = TwoParts(Told(a=0.9, b=0.8), Told(a=0.5, b=0.6), share=0.25)
    found = both([Plan({name: (0,)}, {name: 1}) for name in "ab"])
    assert [one.value for one in found] == pytest.approx([0.25 * 0.9 + 0.75 * 0.5, 0.25 * 0.8 + 0.75 * 0.6])
    assert [(one.seconds, one.passes) for one in found] == [(2.0, 6)] * 2


def test_the_mean_over_parts_is_the_proxy_on_all_search_images(finished):
    space = tiny()
    experiment = Experiment(space)
    network = experiment.network
    network.load_state_dict(
        {
            k: torch.as_tensor(v)
            for k, v in __import__("safetensors.torch")
            .torch.load_file(finished.run_dir / "baseline.safetensors")
            .items()
        }
    )
    proxy = PROXIES.get("compensated")(images=64, positions=1000)
    proxy.prepare(experiment.proxy_context)
    for one in record_of(finished)["candidates"]:
        plan = Plan.from_dict(one["plan"])
        value = proxy.estimate(experiment.structure.slice(network, plan), plan).value
        assert one["proxy"] == pytest.approx(value)


@pytest.mark.parametrize("name", ["choice", "choice-control"])
def test_the_best_few_by_the_seen_images_are_judged_on_fresh_ones(finished, name):
    record = record_of(finished, name)
    assert (record["seen"], record["fresh"]) == (60, 90)
    found = record["candidates"]
    assert [one["seen"] for one in found] == sorted((one["seen"] for one in found), reverse=True)
    assert len({one["digest"] for one in found}) == len(found) == 4
    for one in found:
        assert one["proxy"] == pytest.approx(0.4 * one["seen"] + 0.6 * one["fresh"])
        assert one["fresh"] * 90 == pytest.approx(round(one["fresh"] * 90))  # a share of the fresh images
    (chosen,) = [one for one in found if one["chosen"]]
    assert chosen["proxy"] == max(one["proxy"] for one in found)
    outcome = finished.summary.blend if name == "choice" else finished.summary.random_search
    assert outcome.proxy == chosen["proxy"]
    if name == "choice":
        assert json.loads((finished.run_dir / "blend-plan.json").read_text()) == chosen["plan"]
    study = optuna.load_study(study_name=f"tiny-{name}", storage=f"sqlite:///{finished.run_dir / 'trials.db'}")
    assert [trial.value for trial in study.trials] == [one["proxy"] for one in found]
    assert [trial.params for trial in study.trials] == [one["genome"] for one in found]


def test_a_plan_that_was_improved_takes_the_last_ones_place(tmp_path):
    campaign = run_search(tiny({"random_search": False, "swaps": 6}), tmp_path / "run")
    improved = json.loads((campaign.run_dir / "records/swaps-blend.json").read_text())
    found = record_of(campaign)["candidates"]
    assert len({one["digest"] for one in found}) == len(found) == 4
    assert found[0]["plan"] == improved["plan"]


def test_the_search_sees_the_first_part_alone(finished):
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{finished.run_dir / 'trials.db'}")
    values = {trial.user_attrs["plan"]: trial.value for trial in study.trials}
    best = sorted(values.values(), reverse=True)[:4]
    assert [one["seen"] for one in record_of(finished)["candidates"]] == best
    shares = np.array(list(values.values())) * 60
    assert shares == pytest.approx(shares.round())


def test_the_summary_tells_what_fresh_images_showed(finished):
    told, record = finished.summary.choice, record_of(finished)
    assert told.candidates == 4
    assert told.fresh == pytest.approx(np.mean([one["fresh"] for one in record["candidates"]]))
    assert told.proxy_was_right == record["candidates"][0]["chosen"]
    assert "The search saw 60 search images" in told.sentence
    assert " on 90 fresh ones" in told.sentence
    criteria = [one.proxy for one in finished.summary.criteria.values()]
    assert np.mean(criteria) == pytest.approx(0.4 * record["criteria_seen"] + 0.6 * record["criteria_fresh"])
    expected = told.seen - told.fresh - record["criteria_seen"] + record["criteria_fresh"]
    assert told.optimism == pytest.approx(expected)
    assert f"it flatters itself by {100 * expected:+.2f} points" in told.sentence


def test_criteria_have_their_proxy_on_all_search_images_too(finished):
    for one in finished.summary.criteria.values():
        assert one.proxy * 150 == pytest.approx(round(one.proxy * 150))
    first = finished.summary.comparison.without_search.name
    assert finished.summary.criteria[first].proxy == max(one.proxy for one in finished.summary.criteria.values())


class Kill(Exception):
    """Stands for the process being killed."""


def test_killed_in_the_choice_and_resumed_ends_the_same(finished, tmp_path, monkeypatch):
    def killer(name, done, total, detail=""):
        if name == "choice":
            raise Kill

    with pytest.raises(Kill):
        run_search(tiny(), tmp_path / "run", progress=killer)
    again = run_search(tiny(), tmp_path / "run", resume=True)
    assert again.blend.weights == finished.blend.weights
    assert again.summary.comparison == finished.summary.comparison
    assert [one["proxy"] for one in record_of(again)["candidates"]] == [
        one["proxy"] for one in record_of(finished)["candidates"]
    ]
    monkeypatch.setattr(module, "_judge", None)  # what was chosen is not chosen again
    assert run_search(tiny(), tmp_path / "run", resume=True).summary.choice == finished.summary.choice


def test_rivals_are_chosen_as_the_blend_is(tmp_path):
    campaign = run_search(tiny({"rivals": True, "random_search": False}), tmp_path / "run")
    rival = campaign.summary.rivals["criterion per layer"]
    assert rival.proxy * 150 == pytest.approx(round(rival.proxy * 150))


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({"choice": {"candidates": 1}}, "search.choice.candidates: out of range (given 1, allowed"),
        ({"choice": {"share": 1.0}}, "search.choice.share: out of range (given 1.0, allowed"),
        (
            {"choice": {}, "finals": {}},
            "search: choice and finals both decide what is found; set choice: null or finals: null",
        ),
        (
            {"choice": {}, "objectives": ["flops"], "lowest": 0.1},
            "search: choice and objectives both decide what is found; set choice: null or objectives: []",
        ),
    ],
)
def test_mistakes_are_one_line(search, expected):
    with pytest.raises(ConfigError) as error:
        tiny(search)
    (line,) = str(error.value).splitlines()
    assert expected in line


def test_there_is_no_choice_by_default():
    assert tiny({"choice": None}).search == tiny_space({"rivals": False}).search
