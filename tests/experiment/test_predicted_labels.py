"""Labels that the unpruned network predicts in the place of given ones: where they are used, kept, and needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from blendsearch.campaigns.single import run_prune, run_train
from blendsearch.errors import DataError
from blendsearch.experiment import unpruned
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.open_run import open_run
from blendsearch.experiment.unpruned import LABELS, RELABELLED, train_unpruned
from blendsearch.results.run_folder import RunFolder
from blendsearch.validation.space import checked_from_dict

SPACE = {
    "name": "unlabelled",
    "data": {"name": "digits", "test": 100, "calibration": 60, "search": 50, "limit": 200, "labels": "predicted"},
    "model": {"name": "conv4", "arguments": {"width": 4}},
    "training": {"epochs": 1, "batch_size": 64},
    "budget": {"flops": 0.5},
    "retraining": {"epochs": 0},
    "compute": {"device": "cpu", "workers": 1},
}


def opened(folder, **changes) -> Experiment:
    return Experiment(checked_from_dict({**SPACE, **changes})).at(RunFolder(folder))


def test_every_label_but_the_tests_is_what_the_network_says(tmp_path):
    experiment = opened(tmp_path)
    given = experiment.splits
    record = train_unpruned(experiment)
    for name in RELABELLED:
        split = getattr(experiment.splits, name)
        images = torch.cat([images for images, _ in split.batches(64)])
        with torch.no_grad():
            said = experiment.network.eval()(images).argmax(1)
        assert torch.equal(split.labels, said), name
        assert torch.equal(images, torch.cat([images for images, _ in getattr(given, name).batches(64)]))
    assert not torch.equal(experiment.splits.train.labels, given.train.labels)  # after one epoch some are wrong
    assert experiment.splits.test is given.test
    assert record.search_accuracy == 1.0
    assert experiment.data_record.labels == "predicted"


def test_given_labels_stay(tmp_path):
    experiment = opened(tmp_path, data={**SPACE["data"], "labels": "given"})
    given = experiment.splits
    train_unpruned(experiment)
    assert experiment.splits is given
    assert not (tmp_path / LABELS).exists()


def test_a_resumed_run_goes_on_with_the_labels_of_the_folder(tmp_path, monkeypatch):
    first = opened(tmp_path)
    train_unpruned(first)

    def never(*given):
        raise AssertionError("predicted again")

    monkeypatch.setattr(unpruned, "predict", never)
    again = opened(tmp_path)
    train_unpruned(again)
    for name in RELABELLED:
        assert torch.equal(getattr(again.splits, name).labels, getattr(first.splits, name).labels)


def test_the_parts_of_a_choice_have_the_predicted_labels_too(tmp_path):
    """They are there before the network is trained, when it is seen whether both have images."""
    changed = {**SPACE, "search": {"choice": {"share": 0.5, "candidates": 2}}}
    with open_run(
        Experiment(checked_from_dict(changed)), "search", name="x", run_dir=tmp_path / "run", resume=False
    ) as experiment:
        before = experiment.search_parts
        train_unpruned(experiment)
        for part, given in zip(experiment.search_parts, before, strict=True):
            images = torch.cat([images for images, _ in part.batches(64)])
            assert torch.equal(images, torch.cat([images for images, _ in given.batches(64)]))
            with torch.no_grad():
                assert torch.equal(part.labels, experiment.network.eval()(images).argmax(1))
            assert not torch.equal(part.labels, given.labels)


@pytest.fixture
def photographs(tmp_path):
    draw = np.random.default_rng(0)
    for part, count in (("unlabelled", 40), ("test/cat", 5), ("test/dog", 5)):
        (tmp_path / part).mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / part / f"{number}.png")
    return {"name": "folder", "root": str(tmp_path), "calibration": 24, "search": 10, "labels": "predicted"}


def test_a_network_is_pruned_from_images_that_nobody_labelled(photographs, tmp_path):
    space = checked_from_dict({**SPACE, "data": photographs, "training": {"epochs": 0}})
    summary = run_prune(space, "taylor", tmp_path / "run").summary
    assert summary.unpruned.search_accuracy == 1.0
    assert 0 < summary.pruned.search_accuracy <= 1
    assert summary.pruned.flops_ratio <= 0.5


def test_images_without_labels_train_nothing_and_ask_for_predicted_ones(photographs, tmp_path):
    trained = checked_from_dict({**SPACE, "data": photographs})
    with pytest.raises(DataError, match=r"training.epochs: 1 given, but the images have no labels"):
        run_train(trained, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    given = checked_from_dict({**SPACE, "data": {**photographs, "labels": "given"}, "training": {"epochs": 0}})
    with pytest.raises(DataError, match=r"data.labels: 'given', but .* have no labels; allowed here: predicted"):
        open_run(Experiment(given), "train", name="x", run_dir=tmp_path / "run", resume=False).__enter__()
