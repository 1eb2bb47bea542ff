"""The scarce-data scenario: what is drawn, measured and compared; stopped and resumed to the same result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from blendsearch.blending import Blend
from blendsearch.campaigns.curves.draws import draw_images, looks_at_images
from blendsearch.campaigns.curves.run import run_curves
from blendsearch.campaigns.curves.summary import area, compare_families, join_draws, richest_evidence
from blendsearch.cli import app
from blendsearch.config import space_from_dict
from blendsearch.criteria import names
from blendsearch.errors import BlendsearchError, BudgetError, ConfigError, DataError
from blendsearch.experiment import unpruned
from blendsearch.reports.report import write_report
from blendsearch.results.records.curves import CurvesComparison, DrawRecord


def tiny(**changes):
    data = {
        "name": "scarce",
        "data": {"name": "digits", "test": 200, "calibration": 120, "search": 50, "limit": 400},
        "model": {"name": "conv4", "arguments": {"width": 8}},
        "training": {"epochs": 4, "batch_size": 64, "lr": 0.1},
        "criteria": ["l2", "taylor", "lrp_epsilon_plus", "random"],
        "budget": {"filters": 0.5, "min_keep": 0.05},
        "allocation": "global_threshold",
        "retraining": {"epochs": 0},
        "curves": {"samples_per_class": [1, 5], "removed": [0.1, 0.3, 0.5], "draws": 2},
        "compute": {"device": "cpu", "workers": 1},
    }
    return space_from_dict({**data, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_curves(tiny(), tmp_path_factory.mktemp("run") / "scarce")


def test_draws_have_so_many_images_of_each_class_and_small_ones_lie_in_large_ones(digits):
    labels = digits.calibration.labels
    few, many = (draw_images(digits.calibration, samples, 0, 3) for samples in (2, 5))
    assert torch.bincount(few.labels).tolist() == [2] * len(labels.unique())
    assert torch.bincount(many.labels).tolist() == [5] * len(labels.unique())

    def images(split):
        return {one.numpy().tobytes() for one in next(split.batches(100))[0]}

    assert images(few) < images(many)
    assert images(few) != images(draw_images(digits.calibration, 2, 1, 3))
    assert images(few) != images(draw_images(digits.calibration, 2, 0, 4))
    assert images(few) == images(draw_images(digits.calibration, 2, 0, 3))


def test_each_criterion_has_a_curve_for_what_it_looks_at(finished):
    curves = {(curve.criterion, curve.samples): curve for curve in finished.summary.curves}
    looking = {(name, samples) for name in ("taylor", "lrp_epsilon_plus") for samples in (1, 5)}
    assert set(curves) == looking | {("l2", None), ("random", None)}
    assert [len(curves[key].areas) for key in (("l2", None), ("random", None), ("taylor", 5))] == [1, 2, 2]
    for curve in curves.values():
        assert len(curve.mean) == 3
        bounds = zip(curve.low, curve.mean, curve.high, strict=True)
        assert all(0 <= low <= mean <= high <= 1 for low, mean, high in bounds)


def test_accuracy_is_that_of_the_sliced_network(finished):
    """Removing a tenth of the filters by the best criterion hurts less than half of them by chance."""
    curves = {(curve.criterion, curve.samples): curve.mean for curve in finished.summary.curves}
    assert max(curves["taylor", 5][0], curves["lrp_epsilon_plus", 5][0]) > curves["random", None][2] + 0.2
    assert finished.summary.unpruned.test_accuracy > 0.8


def test_areas_are_those_of_numpy():
    removed, accuracies = [0.1, 0.3, 0.6], [0.9, 0.5, 0.2]
    expected = np.trapezoid([0.95, *accuracies], [0.0, *removed]) / 0.6
    assert area(removed, accuracies, 0.95) == pytest.approx(expected)


def test_the_comparison_worked_by_hand():
    def cell(samples, draw, **accuracy):
        accuracy = {name: [value] for name, value in accuracy.items()}
        return DrawRecord(samples=samples, draw=draw, images=10 * samples, accuracy=accuracy, evaluations=1)

    draws = [
        cell(0, 0, l1=0.5),
        cell(1, 0, taylor=0.4, lrp_gamma=0.7),
        cell(1, 1, taylor=0.8, lrp_gamma=0.9),
    ]
    evidence = {name: richest_evidence([name]) for name in ("l1", "taylor", "lrp_gamma")}
    curves = join_draws(draws, evidence, [1.0], 1.0)
    found = compare_families(curves, [1], [1.0], "filters").by_samples["1"]
    assert (found.best, found.baseline) == ("lrp_gamma", "taylor")
    assert found.difference == pytest.approx((0.15 + 0.05) / 2)
    assert found.range == pytest.approx((0.05, 0.15))
    assert (found.ahead, found.draws, found.verdict) == (2, 2, "ahead")
    assert found.families["weights"].area == pytest.approx(0.75)


def test_all_that_keep_as_much_are_named():
    def cell(samples, **accuracy):
        accuracy = {name: [value] for name, value in accuracy.items()}
        return DrawRecord(samples=samples, draw=0, images=10 * samples, accuracy=accuracy, evaluations=1)

    evidence = {name: richest_evidence([name]) for name in ("l1", "taylor", "apoz")}
    curves = join_draws(
        [cell(0, l1=0.5), cell(1, taylor=0.5, apoz=0.4), cell(5, taylor=0.7, apoz=0.6)], evidence, [1.0], 1.0
    )
    found = compare_families(curves, [1, 5], [1.0], "filters")
    assert found.sentence.startswith(
        "l1 and taylor keep most accuracy with 1 image per class; taylor keeps most accuracy with 5 images per class, "
    )
    assert CurvesComparison.model_validate_json(found.model_dump_json(by_alias=True)) == found


def test_what_criteria_look_at():
    assert richest_evidence(["l1"]) == "weights"
    assert richest_evidence(["taylor"]) == "gradients"
    assert richest_evidence(["random"]) == "chance"
    assert richest_evidence(["l1", "apoz"]) == "activations"
    assert not looks_at_images("fpgm")
    assert all(looks_at_images(name) for name in names() if name.startswith("lrp_"))


class Kill(Exception):
    """Stands for a kill."""


def test_a_stopped_run_goes_on_to_the_same_curves(finished, tmp_path):
    def killer(name, done, total, detail=""):
        if name == "curves" and done >= 3:
            raise Kill

    with pytest.raises(Kill):
        run_curves(tiny(), tmp_path / "run", progress=killer)
    again = run_curves(tiny(), tmp_path / "run", resume=True)
    for part in ("curves", "comparison", "unpruned"):
        assert getattr(again.summary, part) == getattr(finished.summary, part)


def test_the_number_of_workers_changes_nothing(finished, tmp_path):
    space = tiny(compute={"device": "cpu", "workers": 2})
    assert run_curves(space, tmp_path / "run").summary.curves == finished.summary.curves


def test_the_page_can_be_written_again(finished):
    text = finished.report.read_text()
    assert finished.summary.comparison.sentence in text
    assert (finished.run_dir / "figures/curves.svg").stat().st_size > 0
    (finished.run_dir / "report.html").unlink()
    assert write_report(finished.run_dir).read_text() == text


def test_wrong_settings_are_one_line(tmp_path):
    wrong = [
        ({"samples_per_class": [50]}, DataError, "curves.samples_per_class: 50 given"),
        ({"removed": [0.99], "samples_per_class": [1]}, BudgetError, "curves.removed: 0.99 given"),
        ({"images": 5000, "samples_per_class": [1]}, DataError, "curves.images: 5000 given"),
    ]
    for number, (settings, kind, words) in enumerate(wrong):
        with pytest.raises(kind, match=words) as error:
            run_curves(tiny(curves=settings), tmp_path / str(number))
        assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ConfigError, match="curves"):
        tiny(curves={"removed": [1.5]})


def test_the_command_prints_a_table_and_the_reports_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(tiny().to_yaml())
    words = ["curves", "space.yaml", "curves.draws=1", "curves.samples_per_class=[1]", "training.epochs=1"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "1 per class" in result.output
    assert "report: runs/scarce-curves/report.html" in result.output
    noted = json.loads(Path("runs/scarce-curves/job.json").read_text())
    assert noted == {"job": "curves", "started_in": str(tmp_path)}


WEIGHTS_ALONE = Blend("network", {"network": {"l1": 1.0, "l2": 0.4}})
WITH_IMAGES = Blend("network", {"network": {"l1": 1.0, "apoz": 0.6}})
OF_ONE = replace(Blend.single("taylor"), keep={"conv1": 1.0, "conv2": 0.5, "conv3": 0.5, "conv4": 0.5})


@pytest.fixture(scope="module")
def with_blends(tmp_path_factory):
    """Curves of found blends: one of weights alone, one that looks at images, and one of a single criterion."""
    folder = tmp_path_factory.mktemp("blends")
    for name, blend in (("plain", WEIGHTS_ALONE), ("mix", WITH_IMAGES), ("alone", OF_ONE)):
        blend.save(folder / f"{name}.json")
    blends = [str(folder / f"{name}.json") for name in ("plain", "mix")]
    space = tiny(blends=[*blends, {"file": str(folder / "alone.json"), "name": "other_name"}])
    return space, folder, run_curves(space, folder / "run")


def test_found_blends_have_curves_like_criteria(with_blends, finished):
    _, folder, run = with_blends
    curves = {(curve.criterion, curve.samples): curve for curve in run.summary.curves}
    looking = {(name, samples) for name in ("taylor", "lrp_epsilon_plus", "mix", "other_name") for samples in (1, 5)}
    assert set(curves) == looking | {("l2", None), ("random", None), ("plain", None)}
    evidence = {curve.criterion: curve.evidence for curve in run.summary.curves}
    assert (evidence["plain"], evidence["mix"], evidence["other_name"]) == ("weights", "activations", "gradients")
    for samples in (1, 5):
        assert curves["other_name", samples].areas == curves["taylor", samples].areas
    assert curves["plain", None].areas != curves["l2", None].areas
    for curve in finished.summary.curves:  # the criteria's own are what they are without blends
        assert curves[curve.criterion, curve.samples] == curve
    assert {name: Blend.from_dict(one["blend"]) for name, one in kept_blends(folder / "run").items()} == {
        "plain": WEIGHTS_ALONE,
        "mix": WITH_IMAGES,
        "other_name": OF_ONE,
    }
    assert set(run.summary.blends) == {"plain", "mix", "other_name"}
    page = run.report.read_text()
    assert "4 criteria and 3 found blends scored" in page
    assert "mix is a found blend; one blend for the whole network" in page
    (note,) = run.summary.notes
    assert note.startswith("The blend 'other_name' also has shares of the layers")
    assert note.replace("'", "&#39;") in page
    assert finished.summary.notes == []


def kept_blends(run_dir):
    return json.loads((run_dir / "records/blends.json").read_text())


def test_a_stopped_run_goes_on_with_the_blends_that_it_began_with(with_blends, tmp_path):
    space, folder, whole = with_blends

    def killer(name, done, total, detail=""):
        if name == "curves" and done >= 2:
            raise Kill

    with pytest.raises(Kill):
        run_curves(space, tmp_path / "run", progress=killer)
    Blend.single("random").save(folder / "mix.json")
    try:
        again = run_curves(space, tmp_path / "run", resume=True)
    finally:
        WITH_IMAGES.save(folder / "mix.json")
    assert again.summary.curves == whole.summary.curves


def test_a_blend_whose_criteria_do_not_apply_is_refused_before_training(tmp_path):
    Blend("network", {"network": {"l1": 1.0, "subjective": 0.6}}).save(tmp_path / "mix.json")
    with pytest.raises(BlendsearchError, match="blends: 'mix': 'subjective': "):
        run_curves(tiny(blends=[str(tmp_path / "mix.json")]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_set_aware_blend_of_criteria_without_images_looks_at_images_all_the_same(tmp_path):
    """Its drop losses do."""
    Blend("network", {"network": {"l1": 1.0}}, alpha={"network": 0.5}).save(tmp_path / "aware.json")
    Blend.elimination().save(tmp_path / "losses.json")
    few = {"samples_per_class": [2], "removed": [0.3], "draws": 1}
    blends = [str(tmp_path / "aware.json"), str(tmp_path / "losses.json")]
    found = run_curves(tiny(criteria=["l2"], blends=blends, curves=few, training={"epochs": 1}), tmp_path / "run")
    curves = {curve.criterion: curve for curve in found.summary.curves}
    assert (curves["aware"].evidence, curves["aware"].samples) == ("gradients", 2)
    assert (curves["losses"].evidence, curves["losses"].samples) == ("gradients", 2)
    assert curves["l2"].samples is None


def test_shares_that_nobody_evolves_are_refused_before_training(tmp_path):
    with pytest.raises(ConfigError, match="'evolved' takes the layers' shares from a blend's file"):
        run_curves(tiny(allocation="evolved"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("classes", "told"), [(2, None), (1, r"has only 0 images of class 'dog', as the network")])
def test_images_that_nobody_labelled_are_drawn_by_what_the_network_says_of_them(classes, told, tmp_path, monkeypatch):
    """Before it has said so they are of no class, so nothing is known of how many there are of each."""
    pixels = np.random.default_rng(0)
    for part, count in (("unlabelled", 60), ("test/cat", 5), ("test/dog", 5)):
        (tmp_path / part).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(pixels.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / part / f"{number}.png")
    data = {"name": "folder", "root": str(tmp_path), "calibration": 24, "search": 10, "labels": "predicted"}
    space = tiny(
        data=data,
        training={"epochs": 0},
        criteria=["l2", "taylor"],
        curves={"samples_per_class": [2], "removed": [0.3], "draws": 1},
    )
    monkeypatch.setattr(
        unpruned,
        "predict",
        lambda network, batches, compute: torch.cat([torch.arange(len(one)) % classes for _, one in batches]),
    )
    if told is None:
        curves = run_curves(space, tmp_path / "run").summary.curves
        assert {(one.criterion, one.samples) for one in curves} == {("l2", None), ("taylor", 2)}
    else:
        with pytest.raises(DataError, match=told):
            run_curves(space, tmp_path / "run")
