"""What speaks against a search is said before it, once, and with the remedy."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from blendsearch.blending import Blend
from blendsearch.campaigns.foresight.notes import notes_before_search, tell_before_search
from blendsearch.campaigns.foresight.unit_costs import ProxyCost, UnitCosts
from blendsearch.experiment import Experiment
from blendsearch.results.run_folder import RunFolder
from blendsearch.training import train
from blendsearch.validation.space import checked_from_dict

SPACE = {
    "name": "noted",
    "data": {"name": "digits", "calibration": 100, "search": 200, "test": 200},
    "model": {"name": "conv4", "arguments": {"width": 4}},
    "training": {"epochs": 1, "batch_size": 64, "lr": 0.1},
    "retraining": {"epochs": 1, "batch_size": 64},
    "criteria": ["l1", "taylor"],
    "compute": {"device": "cpu", "workers": 1},
}
CHEAP = UnitCosts(0.001, 0.001, 0.1, 0.1, ProxyCost(0.1, 0.01, 0.5))


def experiment(**changes) -> Experiment:
    return Experiment(checked_from_dict({**SPACE, **changes}))


def with_weights(path, seen: str):
    """Return an experiment of given weights, trained for long on the training images or on the search images too."""
    made = experiment(training={"epochs": 30, "batch_size": 64, "lr": 0.1})
    splits = made.splits
    part = splits.train.subset(torch.arange(200))
    if seen == "both":
        part = type(part)(
            torch.cat([part.images, splits.search.images]),
            torch.cat([part.labels, splits.search.labels]),
            part.mean,
            part.std,
        )
    train(made.network, part, made.space.training, seed=0)
    torch.save(made.network.state_dict(), path)
    return {"name": "conv4", "arguments": {"width": 4}, "weights": str(path)}


def test_nothing_is_said_where_nothing_is_amiss():
    assert notes_before_search(experiment(), CHEAP) == []


def test_a_training_that_is_all_warm_up_is_told():
    (note,) = notes_before_search(experiment(retraining={"epochs": 2, "batch_size": 64, "warmup_epochs": 2}), CHEAP)
    assert note.startswith("retraining.warmup_epochs, 2, takes all of retraining.epochs, 2: the learning rate ")
    half = {"epochs": 2, "batch_size": 64, "warmup_epochs": 1}
    assert notes_before_search(experiment(training=half, retraining=half), CHEAP) == []
    none = {"epochs": 0, "batch_size": 64, "warmup_epochs": 5}
    assert notes_before_search(experiment(training=none), CHEAP) == []


def test_a_recipe_is_named_where_nothing_is_retrained_and_nobody_said_how_to_search():
    (note,) = notes_before_search(experiment(retraining={"epochs": 0}), CHEAP)
    assert "recipe=post_training" in note
    said = {"allocation": "uniform", "search": {"generations": 3}}
    for changes in ({"recipe": "post_training"}, said):
        assert notes_before_search(experiment(retraining={"epochs": 0}, **changes), CHEAP) == []


def test_an_estimate_that_costs_more_than_a_retraining():
    dear = UnitCosts(0.001, 0.001, 0.1, 0.001, ProxyCost(0.1, 3.0, 0.5))
    (note,) = notes_before_search(experiment(), dear)
    assert note.startswith("an estimate by the proxy compensated takes about 3.0 s, a whole retraining ")
    assert "cheaper: proxy={name: compensated, search_images: 100, positions: 5000}" in note


def test_estimates_that_cost_more_than_all_retrainings():
    dear = UnitCosts(0.001, 0.001, 0.1, 0.1, ProxyCost(0.1, 1.0, 0.5))
    (note,) = notes_before_search(experiment(), dear)
    assert "estimates by the proxy compensated take about " in note
    assert "all 6 retrainings " in note
    assert "search.random_search=false" in note
    assert notes_before_search(experiment(retraining={"epochs": 0}, recipe="post_training"), dear) == []
    finetune = {"name": "short_finetune", "steps": 5}
    assert "fewer proxy.steps" in notes_before_search(experiment(proxy=finetune), dear)[0]


@pytest.mark.parametrize("proxy", ["zero_shot", "bn_recalibrated"])
def test_a_proxy_that_goes_by_widths_where_all_are_equal(proxy):
    (note,) = notes_before_search(experiment(proxy=proxy), CHEAP)
    assert note.startswith(f"the proxy {proxy} orders networks of different widths")
    assert notes_before_search(experiment(proxy=proxy, allocation="evolved"), CHEAP) == []


def test_weights_that_may_have_seen_the_search_images(tmp_path):
    model = with_weights(tmp_path / "both.pt", "both")
    given = {"model": model, "training": {"epochs": 0}}
    seen = experiment(**given)
    notes = notes_before_search(seen, CHEAP)
    assert [note[:66] for note in notes] == ["the weights may have been trained on the search images, which come"]
    assert "a validation part" in notes[0]


def test_weights_that_know_the_training_images_better_are_left_in_peace(tmp_path):
    model = with_weights(tmp_path / "train.pt", "train")
    made = experiment(model=model, training={"epochs": 0})
    part = made.splits.train.subset(torch.arange(200))
    made.splits = type(made.splits)(**{**vars(made.splits), "train": part})
    assert notes_before_search(made, CHEAP) == []


def test_they_are_told_once_in_the_life_of_a_folder(tmp_path):
    told = []
    made = experiment(proxy="zero_shot").at(RunFolder(tmp_path))
    made.progress = lambda task, done, total, detail="": told.append((task, detail))
    notes = tell_before_search(made)
    assert [("note", note) for note in notes] == [one for one in told if one[0] == "note"]
    assert len(notes) == 1
    assert '"event": "note"' in (tmp_path / "events.jsonl").read_text()
    assert tell_before_search(made) == []


def test_marks_that_no_criterion_reads(tmp_path):
    file = tmp_path / "ratings.json"
    file.write_text('{"schema": 1, "groups": {"conv1": {"0": "keep"}}}')
    (note,) = notes_before_search(experiment(ratings=str(file)), CHEAP)
    assert note == "ratings are given, and none of the criteria reads them; add subjective to criteria"
    assert notes_before_search(experiment(ratings=str(file), criteria=["l1", "subjective"]), CHEAP) == []


def test_shares_of_a_found_blend_that_nobody_uses(tmp_path):
    blend = Blend("network", {"network": {"l1": 1.0}}, keep={"conv1": 1.0, "conv2": 0.5, "conv3": 0.5, "conv4": 0.5})
    for name, one in (("without", replace(blend, keep={})), ("with", blend)):
        one.save(tmp_path / f"{name}.json")
    assert notes_before_search(experiment(blends=[str(tmp_path / "without.json")]), CHEAP) == []
    (note,) = notes_before_search(experiment(blends=[str(tmp_path / "with.json")]), CHEAP)
    assert note.startswith("The blend 'with' also has shares of the layers, found in its search; here every allocation")
