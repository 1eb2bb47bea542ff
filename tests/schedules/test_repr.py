"""RePr: which filters go, when, and what is refused."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from small_networks import images, randomised, resnet20

from blendsearch.config import TrainingConfig
from blendsearch.errors import BlendsearchError, ConfigError, TrainingError, UnknownNameError
from blendsearch.models.zoo import MODELS
from blendsearch.schedules import SCHEDULES, TrainingJob, TrainingSchedule
from blendsearch.schedules.repr import RePr, without_lowest
from blendsearch.structure import Structure

TRAINING = TrainingConfig(epochs=7, batch_size=64, lr=0.05)


def conv4(width=4):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODELS.get("conv4")(num_classes=10, in_channels=1, image_size=8, width=width)


@pytest.fixture
def job(digits):
    structure = Structure.of(conv4(), next(digits.calibration.batches(2))[0])
    return TrainingJob(
        structure=structure,
        train=digits.train.take(130),
        calibration=digits.calibration.take(50),
        training=TRAINING,
        seed=3,
    )


class Watched(TrainingJob):
    """Notes the width of each trained network, and its terms."""

    def fit(self, network, **changes):
        self.__dict__.setdefault("seen", []).append(
            (network.conv2.out_channels, changes["window"], changes["training"])
        )
        return super().fit(network, **changes)


def watched(job, schedule, network=None):
    spy = Watched(**{field.name: getattr(job, field.name) for field in dataclasses.fields(job)})
    schedule.train(network or conv4(), spy)
    return spy.seen


def test_the_overlap_worked_out_by_hand(job):
    """Rows at 0, 60 and 90 degrees: |F F^T - I| has 1/2, 0 and cos 30 off its diagonal; sums over three filters."""
    network = conv4()
    half, cosine = 0.5, math.sqrt(3) / 2
    with torch.no_grad():
        rows = torch.zeros(4, 9)
        rows[0, 0], rows[1, :2], rows[2, 1] = 5.0, torch.tensor([half, cosine]), -2.0
        network.conv1.weight.copy_(rows.view(4, 1, 3, 3))
    score = job.score(network, "orthogonality", 0)["conv1"]
    expected = torch.tensor([half, half + cosine, cosine, 0.0]) / 4
    torch.testing.assert_close(-score, expected)


def test_coupled_convolutions_are_scored_by_their_mean_overlap(digits):
    network = randomised(resnet20())
    structure = Structure.of(network, images(size=16))
    job = TrainingJob(structure=structure, train=digits.train, calibration=digits.calibration, training=TRAINING)
    group = structure.groups[0]
    assert len(group.convolutions) > 1
    overlaps = []
    for name in group.convolutions:
        rows = torch.nn.functional.normalize(network.get_submodule(name).weight.detach().flatten(1), dim=1)
        overlaps.append((rows @ rows.T - torch.eye(len(rows))).abs().sum(1) / len(rows))
    torch.testing.assert_close(-job.score(network, "orthogonality", 0)[group.name], torch.stack(overlaps).mean(0))


def test_filters_are_ranked_over_the_whole_network_and_one_stays_in_each_group():
    scores = {"a": torch.tensor([0.1, 0.2, 0.3]), "b": torch.tensor([0.9, 0.15, 0.8, 0.7, 0.35])}
    assert without_lowest(scores, 0.5, 0.0).keep == {"a": (2,), "b": (0, 2, 3)}  # a's third is safe
    assert without_lowest(scores, 0.375, 0.0).keep == {"a": (2,), "b": (0, 2, 3, 4)}
    assert without_lowest(scores, 0.375, 0.5).keep == {"a": (1, 2), "b": (0, 2, 3)}


def test_so_many_that_cannot_go_are_refused_with_the_most_that_can():
    scores = {"a": torch.zeros(2), "b": torch.zeros(8)}
    with pytest.raises(ConfigError, match=r"schedule.drop: 0.9 given, at most 0.8 of the filters can go"):
        without_lowest(scores, 0.9, 0.0)
    with pytest.raises(ConfigError, match=r"at most 0.5 of the filters .* \(schedule.min_keep 0.5\)"):
        without_lowest(scores, 0.8, 0.5)


def test_the_phases_take_turns_and_the_small_network_is_really_small(job):
    seen = watched(job, RePr(cycles=2, full=2, sub=1, drop=0.5, min_keep=0.5))
    assert [width for width, _, _ in seen] == [4, 2, 4, 2, 4]
    assert [before for _, (before, _), _ in seen] == [0, 6, 9, 15, 18]  # three steps an epoch
    assert {total for _, (_, total), _ in seen} == {21}
    assert [training.epochs for _, _, training in seen] == [2, 1, 2, 1, 1]


def test_cycles_that_fill_the_training_end_with_the_filters_back(job):
    network = conv4()
    seen = watched(
        dataclasses.replace(job, training=TRAINING.model_copy(update={"epochs": 3.0})), RePr(1, 2, 1, 0.5), network
    )
    assert len(seen) == 2
    assert network.conv2.weight.shape == (4, 4, 3, 3)


@pytest.mark.parametrize("options", [{"criterion": "l1", "compare": "mean"}, {"criterion": "taylor"}])
def test_any_criterion_chooses(job, options):
    schedule = RePr(cycles=1, full=1, sub=1, **options)
    assert schedule.train(conv4(), job).steps == 21


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cycles": 0}, "schedule.cycles: 0 given, a whole number"),
        ({"full": 1.5}, "schedule.full: 1.5 given, a whole number"),
        ({"sub": 0}, "schedule.sub: 0 given"),
        ({"drop": 0.0}, "schedule.drop: 0.0 given"),
        ({"drop": 1}, "schedule.drop: 1 given"),
        ({"min_keep": 1.0}, "schedule.min_keep: 1.0 given"),
        (
            {"criterion": "orthogonal"},
            "schedule.criterion: unknown criterion 'orthogonal'; did you mean 'orthogonality'",
        ),
        ({"compare": "man"}, "schedule.compare: unknown normalisation 'man'"),
    ],
)
def test_impossible_options_are_one_line(options, words):
    with pytest.raises((ConfigError, UnknownNameError), match=words) as caught:
        RePr(**options)
    assert "\n" not in str(caught.value)


def test_a_training_that_is_too_short_says_what_fits(job):
    with pytest.raises(ConfigError, match=r"needs 90 epochs, training.epochs is 7 \(not one such cycle fits"):
        RePr().train(conv4(), job)
    with pytest.raises(ConfigError, match=r"3 cycles of 2 \+ 1 epochs needs 9 .*\(at most 2 such cycles fit"):
        RePr(full=2, sub=1).train(conv4(), job)


def test_a_criterion_that_cannot_score_is_refused_before_training(job):
    def never(*anything):
        raise AssertionError("trained")

    with pytest.raises(BlendsearchError, match="subjective"):
        RePr(1, 1, 1, criterion="subjective").train(conv4(), dataclasses.replace(job, progress=never))


def test_a_checkpoint_of_another_training_is_refused(job):
    class Store:
        state = None
        where = "the store"

        def load(self):
            return self.state

        def save(self, state):
            self.state = state

    store = Store()
    job = dataclasses.replace(job, checkpoint=store)
    RePr(1, 1, 1).train(conv4(), job)
    with pytest.raises(TrainingError, match="checkpoint: it is of another training"):
        RePr(1, 2, 1).train(conv4(), job)


def test_repr_is_listed_as_a_training_schedule():
    assert issubclass(SCHEDULES.get("repr"), TrainingSchedule)
