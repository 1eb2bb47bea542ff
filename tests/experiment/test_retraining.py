"""Distillation, early stop and precision from the space file to the trainings of a campaign."""

from __future__ import annotations

import dataclasses

import pytest

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.campaigns.single import run_train
from blendsearch.compute import Compute
from blendsearch.config import DistillationConfig, EarlyStopConfig, RetrainingConfig
from blendsearch.errors import ConfigError
from blendsearch.experiment import retraining
from blendsearch.experiment.retraining import Pruning, Repetition, RetrainingSetup, retrain
from blendsearch.schedules import SCHEDULES
from blendsearch.structure import Plan, Structure
from blendsearch.training import evaluate
from blendsearch.training.loop import History
from blendsearch.validation.space import checked_from_dict

SPACE = {
    "name": "terms",
    "data": {"name": "digits", "test": 100, "calibration": 50, "search": 100, "limit": 400},
    "model": {"name": "conv4", "arguments": {"width": 4}},
    "training": {"epochs": 4, "batch_size": 64},
    "budget": {"flops": 0.5},
    "retraining": {"epochs": 1},
    "compute": {"device": "cpu", "workers": 1},
}


def space(**changes):
    return checked_from_dict({**SPACE, **changes})


@pytest.fixture
def setup(trained, digits, tmp_path) -> RetrainingSetup:
    def magnitude(network, structure):
        return {name: network.get_submodule(name).weight.detach().abs().sum((1, 2, 3)) for name in structure.widths}

    return RetrainingSetup(
        network=trained,
        structure=Structure.of(trained, next(digits.calibration.batches(2))[0]),
        prunings={"l1": Pruning(magnitude, ALLOCATIONS.get("uniform")(), Budget("flops", 0.3))},
        schedule=SCHEDULES.get("one_shot")(),
        training=RetrainingConfig(epochs=2, batch_size=64),
        compensation=None,
        splits=dataclasses.replace(digits, train=digits.train.take(200)),
        compute=Compute(),
        seed=1,
        checkpoints=tmp_path,
    )


@pytest.fixture
def jobs(monkeypatch):
    made = []

    def job(*given, **keys):
        made.append(keys)
        return Job(*given, **keys)

    Job = retraining.Job
    monkeypatch.setattr(retraining, "Job", job)
    return made


def test_retraining_learns_from_the_unpruned_network_and_counts_its_steps(setup, jobs):
    plain, _ = retrain(setup, Repetition("l1", "criterion", 0))
    taught = dataclasses.replace(
        setup,
        training=setup.training.model_copy(update={"distillation": DistillationConfig()}),
        checkpoints=setup.checkpoints / "taught",
    )
    other, _ = retrain(taught, Repetition("l1", "criterion", 0))
    assert plain.steps == other.steps == 2 * 4
    assert plain.best_epoch is None
    assert plain.plan == other.plan
    assert plain.loss != other.loss
    assert all(job["teacher"] is setup.network and job["validation"] is None for job in jobs)


def test_the_accuracy_before_retraining_is_that_of_the_cut_network(setup):
    result, _ = retrain(setup, Repetition("l1", "criterion", 0))
    cut = setup.structure.slice(setup.network, Plan.from_dict(result.plan))
    assert result.pruned_test_accuracy == evaluate(cut, setup.splits.test.batches(500)).accuracy
    assert result.test_accuracy > result.pruned_test_accuracy + 0.1


def test_where_nothing_is_trained_or_in_turns_there_is_no_accuracy_before_retraining(setup):
    untrained = setup.training.model_copy(update={"epochs": 0.0})
    result, _ = retrain(dataclasses.replace(setup, training=untrained), Repetition("l1", "criterion", 0))
    assert result.pruned_test_accuracy is None
    in_turns = dataclasses.replace(
        setup, schedule=SCHEDULES.get("iterative")(steps=2), checkpoints=setup.checkpoints / "turns"
    )
    assert retrain(in_turns, Repetition("l1", "criterion", 0))[0].pruned_test_accuracy is None


def test_retraining_stops_early_on_the_search_split_never_on_the_test_split(setup, jobs):
    early = setup.training.model_copy(update={"epochs": 40.0, "lr": 1e-6, "early_stop": EarlyStopConfig(patience=1)})
    result, _ = retrain(dataclasses.replace(setup, training=early), Repetition("l1", "criterion", 0))
    assert jobs[0]["validation"] is setup.splits.search
    assert result.steps == 4 * len(result.loss) < 4 * 40
    assert result.best_epoch == len(result.loss) - 1


def test_the_unpruned_network_stops_early_on_the_search_split(tmp_path, monkeypatch):
    seen = []

    def noted(*given, **keys):
        seen.append(keys["validation"])
        return History()

    monkeypatch.setattr("blendsearch.experiment.unpruned.train", noted)
    run_train(space(training={"epochs": 4, "early_stop": {}}), tmp_path / "early")
    run_train(space(), tmp_path / "whole")
    assert [split and len(split) for split in seen] == [100, None]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"training": {"epochs": 1, "distillation": {}}},
            "training.distillation: the unpruned network has no teacher (allowed null; pruned ones have one: "
            "retraining.distillation)",
        ),
        (
            {"compute": {"device": "cpu", "precision": "float16"}},
            "compute.precision: precision float16 needs a CUDA device (given cpu, allowed there: float32 or bfloat16)",
        ),
        ({"compute": {"device": "cpu", "precision": "half"}}, "compute.precision: unknown value"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changes, expected):
    with pytest.raises(ConfigError) as error:
        space(**changes)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"space: {expected}")


def test_float16_on_a_gpu_is_allowed():
    assert space(compute={"device": "cuda", "precision": "float16", "workers": 1}).compute.precision == "float16"
