"""Compensation after each cut: as refitting by hand, better than slicing alone, and refused where it is void."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
import torch
from safetensors.torch import load_file

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.campaigns.single import run_prune
from blendsearch.config import ReconstructionConfig, TrainingConfig, load_space
from blendsearch.data.batches import UnlabelledImages
from blendsearch.errors import ConfigError, DataError
from blendsearch.experiment.experiment import take_unlabelled
from blendsearch.schedules import SCHEDULES, Job, Refit
from blendsearch.schedules import refit as refit_module
from blendsearch.structure import Plan, Structure
from blendsearch.training import Compensation, Reconstruction, evaluate
from blendsearch.training.reconstruction import Imitation, mean_loss
from blendsearch.validation.space import checked_from_dict

SPACE = {
    "name": "refit",
    "data": {"name": "digits", "test": 200, "calibration": 100, "search": 100},
    "model": {"name": "conv4", "arguments": {"width": 8}},
    "training": {"epochs": 2, "batch_size": 64, "lr": 0.1},
    "budget": {"flops": 0.4},
    "retraining": {"epochs": 0},
    "compute": {"device": "cpu", "workers": 1},
}


def magnitude(network, structure):
    return {name: network.get_submodule(name).weight.detach().abs().sum((1, 2, 3)) for name in structure.widths}


@pytest.fixture
def job(trained, digits) -> Job:
    structure = Structure.of(trained, next(digits.train.batches(2))[0])
    training = TrainingConfig(epochs=0, batch_size=64, lr=0.02)
    refit = Refit(next(digits.calibration.batches(200))[0], positions=3000)
    allocation = ALLOCATIONS.get("uniform")()
    return Job(
        structure=structure,
        scorer=magnitude,
        allocation=allocation,
        budget=Budget("flops", 0.5),
        train=digits.train.take(300),
        training=training,
        compensation=refit,
    )


def test_one_shot_is_the_sliced_network_refitted_by_hand(trained, job):
    job = dataclasses.replace(job, compensation=dataclasses.replace(job.compensation, positions=10**6))
    outcome = SCHEDULES.get("one_shot")().run(trained, job)
    by_hand = job.structure.slice(trained, outcome.plan)
    Compensation(trained, job.structure, job.compensation.images, positions=10**6).refit(by_hand, outcome.plan)
    pairs = zip(outcome.network.state_dict().values(), by_hand.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def by_hand(network, job, plan):
    """Refit a sliced copy of a network with a compensation of its own; return its weights."""
    pruned = job.structure.slice(network, plan)
    refit = job.compensation
    Compensation(network, job.structure, refit.images, positions=refit.positions, seed=3).refit(pruned, plan)
    return pruned.state_dict()


def test_what_is_kept_of_the_uncut_network_serves_every_plan_and_never_another_network(trained, job):
    network = copy.deepcopy(trained)
    for changed in (False, True):
        if changed:  # in place, as training does
            torch.nn.init.normal_(network.conv2.weight, generator=torch.Generator().manual_seed(0))
        for first in (0, 1):
            plan = Plan(
                {g: tuple(range(first, width, 2)) for g, width in job.structure.widths.items()}, job.structure.widths
            )
            pruned = job.structure.slice(network, plan)
            job.compensation(network, job.structure, pruned, plan, job.compute, 3)
            assert len(job.compensation.kept) == 1
            wanted = by_hand(network, job, plan)
            assert all(torch.equal(one, wanted[name]) for name, one in pruned.state_dict().items())


def test_the_uncut_network_is_recorded_once_for_all_plans(trained, job, monkeypatch):
    made = []
    monkeypatch.setattr(refit_module, "Compensation", lambda *a, **k: made.append(1) or Compensation(*a, **k))
    for ratio in (0.3, 0.5, 0.7):
        SCHEDULES.get("one_shot")().run(trained, dataclasses.replace(job, budget=Budget("flops", ratio)))
    assert len(made) == 1
    assert pickle.loads(pickle.dumps(job.compensation)).kept == {}
    assert len(job.compensation.kept) == 1


@pytest.mark.parametrize("name", [name for name in SCHEDULES if getattr(SCHEDULES.get(name), "keeps_weights", False)])
def test_every_schedule_is_better_with_it_where_nothing_trains(trained, job, digits, name):
    schedule = SCHEDULES.get(name)()
    plain = schedule.run(trained, dataclasses.replace(job, compensation=None)).network
    refitted = schedule.run(trained, job).network
    before, after = (evaluate(one, digits.search.batches(250)).accuracy for one in (plain, refitted))
    assert after > before + 0.1


@pytest.mark.parametrize("name", [name for name in SCHEDULES if getattr(SCHEDULES.get(name), "keeps_weights", False)])
def test_every_schedule_reconstructs_what_it_cuts(trained, job, digits, name):
    schedule = SCHEDULES.get(name)()
    settings = ReconstructionConfig(steps=40, batch_size=32, lr=1e-2)
    images = UnlabelledImages(next(digits.calibration.batches(200))[0])
    further = dataclasses.replace(job, reconstruction=Reconstruction(images, settings))
    reached = []
    for one in (job, further):
        outcome = schedule.run(trained, one)
        objective = Imitation(trained, job.structure, outcome.network, outcome.plan, settings, job.compute)
        reached.append(mean_loss(outcome.network, objective, digits.search.batches(250), job.compute))
    assert reached[1] < 0.9 * reached[0]


def test_images_come_from_the_first_split_as_far_as_it_goes(digits):
    parts = (digits.calibration.take(20), digits.train.take(30))
    images = take_unlabelled(parts, 50, seed=3)
    known = [{one.numpy().tobytes() for one in next(part.batches(100))[0]} for part in parts]
    given = [one.numpy().tobytes() for one in images]
    assert set(given[:20]) == known[0]
    assert set(given[20:]) == known[1]
    assert torch.equal(take_unlabelled(parts, 5, seed=3), images[:5])
    with pytest.raises(DataError, match=r"compensation.images: 51 given, at most 50 allowed"):
        take_unlabelled(parts, 51, seed=3)


def test_a_space_with_compensation_prunes_without_training(tmp_path):
    accuracy = {}
    for images in (None, 60):
        space = checked_from_dict({**SPACE, "compensation": images and {"images": images}})
        accuracy[images] = run_prune(space, "l2", tmp_path / str(images)).summary.pruned.test_accuracy
    assert accuracy[60] > accuracy[None]


def test_too_few_images_show_before_any_training(tmp_path):
    space = checked_from_dict({**SPACE, "compensation": {"images": 5000}})
    with pytest.raises(DataError, match=r"compensation.images: 5000 given"):
        run_prune(space, "l2", tmp_path / "run")
    assert not (tmp_path / "run" / "baseline.safetensors").exists()


@pytest.mark.parametrize("key", ["compensation", "reconstruction"])
@pytest.mark.parametrize("schedule", ["from_scratch", {"name": "from_scratch", "equal": "flops"}])
def test_it_is_refused_where_no_weights_are_kept(schedule, key):
    with pytest.raises(ConfigError, match=rf"{key}: schedule 'from_scratch' keeps no weights"):
        checked_from_dict({**SPACE, "compensation": None, key: {}, "schedule": schedule})


def test_a_reconstruction_that_was_stopped_begins_anew_to_the_same_network(tmp_path):
    space = checked_from_dict({**SPACE, "reconstruction": {"steps": 12, "batch_size": 32}})

    def stop(task, done, total, detail=""):
        if task == "reconstruction" and done == 9:
            raise KeyboardInterrupt

    whole = run_prune(space, "l2", tmp_path / "whole").summary
    with pytest.raises(KeyboardInterrupt):
        run_prune(space, "l2", tmp_path / "stopped", progress=stop)
    resumed = run_prune(space, "l2", tmp_path / "stopped", resume=True).summary
    assert resumed.pruned == whole.pruned
    weights = [load_file(tmp_path / name / "network.safetensors") for name in ("whole", "stopped")]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_reconstruction_comes_before_retraining_and_counts_no_steps_of_it(tmp_path):
    retraining = {"epochs": 0.5, "batch_size": 64}
    pruned = {}
    for steps in (None, 60):
        section = {"reconstruction": steps and {"steps": steps, "batch_size": 32, "lr": 1e-2}}
        space = checked_from_dict({**SPACE, "compensation": None, **section, "retraining": retraining})
        pruned[steps] = run_prune(space, "l2", tmp_path / str(steps)).summary.pruned
    assert pruned[60].steps == pruned[None].steps
    assert pruned[60].pruned_test_accuracy > pruned[None].pruned_test_accuracy + 0.1


def test_without_anything_to_compare_nothing_is_reconstructed():
    with pytest.raises(ConfigError, match=r"reconstruction: features and logits are both 0"):
        checked_from_dict({**SPACE, "reconstruction": {"features": 0.0}})


def test_too_few_images_for_reconstruction_are_told_by_its_key(tmp_path):
    space = checked_from_dict({**SPACE, "reconstruction": {"images": 5000}})
    with pytest.raises(DataError, match=r"reconstruction.images: 5000 given, at most 1497 allowed"):
        run_prune(space, "l2", tmp_path / "run")


def test_the_key_may_be_overridden_part_by_part():
    space = load_space("search_spaces/digits.yaml", ["compensation.images=300"])
    assert space.compensation is not None
    assert (space.compensation.images, space.compensation.positions, space.compensation.ridge) == (300, 20_000, 1e-3)
    assert load_space("search_spaces/digits.yaml").compensation is None
    with pytest.raises(ConfigError, match=r"compensation.ridge: out of range \(given 0"):
        load_space("search_spaces/digits.yaml", ["compensation.ridge=0"])
