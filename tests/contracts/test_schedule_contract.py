"""What every registered schedule that prunes must do, also one of another package."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from small_networks import priced

from blendsearch.allocation import ALLOCATIONS, Allocation, Budget
from blendsearch.compute import Compute
from blendsearch.config import DistillationConfig, EarlyStopConfig, TrainingConfig
from blendsearch.errors import ConfigError
from blendsearch.results.run_folder import Checkpoint
from blendsearch.schedules import SCHEDULES, Job, Schedule
from blendsearch.structure import Structure
from blendsearch.training import evaluate, train

NAMES = [name for name in SCHEDULES.names() if issubclass(SCHEDULES.get(name), Schedule)]
TRAINING = TrainingConfig(epochs=3, batch_size=64, lr=0.02)


def magnitude(network, structure):
    """Scores by the weights as they are now."""
    return {name: network.get_submodule(name).weight.detach().abs().sum((1, 2, 3)) for name in structure.widths}


@pytest.fixture
def job(trained, digits) -> Job:
    structure = priced(Structure.of(trained, next(digits.calibration.batches(2))[0]))
    split = digits.train.take(500)
    return Job(
        structure=structure,
        scorer=magnitude,
        allocation=ALLOCATIONS.get("uniform")(),
        budget=Budget("flops", 0.4),
        train=split,
        training=TRAINING,
        seed=2,
    )


@pytest.fixture(params=NAMES)
def schedule(request):
    return SCHEDULES.get(request.param)()


class EarlyFirst(Allocation):
    """Takes from the first layers all but one filter, then from the next."""

    name = "early_first"
    source = "this test"

    def counts(self, structure, scores, budget, floors):
        counts = dict(structure.widths)
        while not budget.allows(counts, structure.cost):
            counts[next(name for name in counts if counts[name] > floors[name])] -= 1
        return counts


def prepared(name, network, structure, search) -> Allocation:
    """Return an allocation that has measured what it needs."""
    allocation = ALLOCATIONS.get(name)()
    allocation.prepare(network, structure, search, compute=Compute(), seed=0)
    return allocation


def shapes(network) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(("kind", "ratio"), [("flops", 0.4), ("params", 0.3), ("filters", 0.5), ("latency", 0.6)])
@pytest.mark.parametrize("allocation", ALLOCATIONS.names())
def test_the_budget_is_met_from_below(schedule, job, trained, digits, kind, ratio, allocation):
    job = dataclasses.replace(
        job,
        budget=Budget(kind, ratio, 0.01),
        allocation=prepared(allocation, trained, job.structure, digits.search.take(50)),
        training=TRAINING.model_copy(update={"epochs": 0.0}),
    )
    outcome = schedule.run(trained, job)
    reached = job.structure.cost.ratio(kind, outcome.plan.counts)
    assert 0.9 * ratio <= reached <= ratio


def test_the_plan_slices_the_original_to_the_outcome(schedule, job, trained):
    outcome = schedule.run(trained, job)
    assert outcome.plan.widths == job.structure.widths
    assert shapes(job.structure.slice(trained, outcome.plan)) == shapes(outcome.network)


def test_the_plan_is_in_the_indices_of_the_original(schedule, job, trained):
    """Without training in between, the kept filters of the first layer are those of the original, in order."""
    if not schedule.keeps_weights:
        pytest.skip("it gives every weight a new value")
    job = dataclasses.replace(job, training=TRAINING.model_copy(update={"epochs": 0.0}))
    outcome = schedule.run(trained, job)
    kept = list(outcome.plan.keep["conv1"])
    assert torch.equal(outcome.network.conv1.weight, trained.conv1.weight[kept])
    assert torch.equal(outcome.network.bn1.running_mean, trained.bn1.running_mean[kept])


def test_the_given_network_is_left_alone(schedule, job, trained):
    before = copy.deepcopy(trained.state_dict())
    flags = [module.training for module in trained.modules()]
    schedule.run(trained, job)
    assert all(torch.equal(value, before[key]) for key, value in trained.state_dict().items())
    assert [module.training for module in trained.modules()] == flags


def test_the_seed_decides(schedule, job, trained):
    first, again = schedule.run(trained, job), schedule.run(trained, job)
    other = schedule.run(trained, dataclasses.replace(job, seed=9))
    assert first.plan == again.plan
    weights = [outcome.network.linear.weight for outcome in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert first.history.loss == again.history.loss


def test_retraining_helps(schedule, job, trained, digits):
    outcome = schedule.run(trained, job)
    untrained = schedule.run(
        trained, dataclasses.replace(job, training=TRAINING.model_copy(update={"epochs": 0.0}))
    ).network
    before, after = (evaluate(one, digits.search.batches(250)).accuracy for one in (untrained, outcome.network))
    assert after > before + 0.1
    assert not outcome.network.training
    assert all(parameter.requires_grad for parameter in outcome.network.parameters())


def test_all_schedules_train_equally_long(schedule, job, trained):
    expected = SCHEDULES.get("one_shot")().run(trained, job).history.steps
    history = schedule.run(trained, job).history
    assert abs(history.steps - expected) <= 2
    assert len(history.loss) == len(history.accuracy) == len(history.lr) >= job.training.epochs
    assert history.seconds > 0
    assert all(value == value for value in history.loss)


def test_every_training_has_the_jobs_teacher_and_validation_split(schedule, job, trained, digits, monkeypatch):
    given = []

    def watched(network, split, **terms):
        given.append((terms["teacher"], terms["validation"]))
        return train(network, split, **terms)

    monkeypatch.setattr("blendsearch.schedules.base.train", watched)
    terms = {"distillation": DistillationConfig(), "early_stop": EarlyStopConfig(patience=1)}
    job = dataclasses.replace(
        job, teacher=trained, validation=digits.search.take(50), training=TRAINING.model_copy(update=terms)
    )
    history = schedule.run(trained, job).history
    assert given
    assert all(teacher is trained and validation is job.validation for teacher, validation in given)
    assert len(history.validation) == len(history.loss) >= history.best_epoch >= 1


class Stopped(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("step", [2, 10, 15, 24])
def test_a_stopped_run_goes_on_to_the_same_weights(schedule, job, trained, tmp_path, step):
    """Stopped in the first epoch (nothing is kept yet), in the middle, and at the last step."""
    whole = schedule.run(trained, job)
    trained_on = []

    def stop(task, done, total, detail=""):
        trained_on.append(task)
        if len(trained_on) == step:
            raise Stopped

    job = dataclasses.replace(job, checkpoint=Checkpoint(tmp_path / "job.pt"))
    with pytest.raises(Stopped):
        schedule.run(trained, dataclasses.replace(job, progress=stop))
    outcome = schedule.run(trained, dataclasses.replace(job, progress=lambda task, *_: trained_on.append(task)))
    assert outcome.plan == whole.plan
    pairs = zip(outcome.network.state_dict().values(), whole.network.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert (outcome.history.loss, outcome.history.steps) == (whole.history.loss, whole.history.steps)
    assert len(trained_on) < whole.history.steps + 9  # no more than the epoch under way is done again


def test_progress_names_the_task(schedule, job, trained):
    tasks = []
    schedule.run(
        trained,
        dataclasses.replace(job, task="blend, seed 1", progress=lambda task, done, total, detail: tasks.append(task)),
    )
    assert tasks
    assert all(task.startswith("blend, seed 1") for task in tasks)


def test_iterative_scores_anew_at_each_step_and_goes_down_evenly(job, trained):
    sizes = []

    def scorer(network, structure):
        sizes.append(structure.cost.flops(structure.widths))
        return magnitude(network, structure)

    SCHEDULES.get("iterative")(steps=3).run(trained, dataclasses.replace(job, scorer=scorer))
    whole = job.structure.cost.flops(job.structure.widths)
    assert [size / whole for size in sizes] == pytest.approx([1.0, 0.8, 0.6], abs=0.06)


def test_iterative_in_one_step_is_one_shot(job, trained):
    job = dataclasses.replace(job, training=TRAINING.model_copy(update={"epochs": 0.0}))
    once = SCHEDULES.get("one_shot")().run(trained, job)
    assert SCHEDULES.get("iterative")(steps=1).run(trained, job).plan == once.plan


def test_iterative_keeps_to_the_filters_when_groups_shrink_to_one(job, trained):
    """Groups of one filter are no longer groups, but what they hold still counts."""

    job = dataclasses.replace(
        job,
        allocation=EarlyFirst(),
        budget=Budget("filters", 0.25, 0.0),
        training=TRAINING.model_copy(update={"epochs": 0.0}),
    )
    outcome = SCHEDULES.get("iterative")(steps=2).run(trained, job)  # 48 filters, 30, 12
    assert outcome.plan.counts == {"conv1": 1, "conv2": 1, "conv3": 1, "conv4": 9}


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("iterative", {"steps": 0}, "schedule.steps: 0 given"),
        ("iterative", {"between": 1.0}, "schedule.between: 1.0 given"),
        ("iterative", {"share": 1.0}, "schedule.share: 1.0 given"),
        ("iterative", {"share": 0.1, "steps": 2}, "schedule: steps 2 and share 0.1 given"),
        ("progressive", {"final": 1.5}, "schedule.final: 1.5 given"),
        ("from_scratch", {"equal": "images"}, "schedule.equal: 'images' given, allowed: steps, flops"),
    ],
)
def test_impossible_options_are_one_line(name, options, words):
    with pytest.raises(ConfigError, match=words):
        SCHEDULES.get(name)(**options)


def test_every_schedule_says_what_it_is():
    for name in NAMES:
        schedule = SCHEDULES.get(name)
        assert schedule.name == name
        assert schedule.__doc__
        assert schedule.source
