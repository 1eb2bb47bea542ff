"""Stopping after any epoch and going on from the file, and learning rates worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from blendsearch.compute import Compute
from blendsearch.config import DistillationConfig, EarlyStopConfig, TrainingConfig
from blendsearch.data.augmentation import Augmentation
from blendsearch.data.batches import ImageTensors
from blendsearch.models.zoo import MODELS
from blendsearch.training import History, evaluate, recalibrate, train
from blendsearch.training.optimisers import learning_rate

DRAWS = torch.Generator().manual_seed(0)
DATA = ImageTensors(
    torch.randint(0, 256, (50, 1, 8, 8), dtype=torch.uint8, generator=DRAWS),
    torch.arange(50) % 5,
    (0.5,),
    (0.25,),
    Augmentation(1, True),
)


class Files:
    """Keeps every epoch's checkpoint as a file of its own; loads the `start`-th."""

    where = "files"

    def __init__(self, folder: Path, start: int | None = None) -> None:
        self.folder, self.start, self.saved = folder, start, start or 0

    def load(self):
        return None if self.start is None else torch.load(self.folder / f"{self.start}.pt", weights_only=True)

    def save(self, state) -> None:
        self.saved += 1
        torch.save(state, self.folder / f"{self.saved}.pt")


def conv4(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MODELS.get("conv4")(num_classes=5, in_channels=1, image_size=8, width=3)


@pytest.mark.parametrize(
    "keys",
    [
        {"epochs": 3.0, "warmup_epochs": 1.5},
        {"epochs": 2.5, "optimizer": "adamw", "lr": 0.01, "schedule": "one_cycle"},
        {"epochs": 2.5, "distillation": DistillationConfig(), "clip_norm": 1.0},
        {"epochs": 3, "early_stop": EarlyStopConfig(patience=3), "distillation": DistillationConfig()},
        {"epochs": 9, "early_stop": EarlyStopConfig(patience=2, min_delta=0.1)},  # stops after the third
    ],
    ids=["sgd", "adamw", "distilled", "best epoch", "stopped"],
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_from_each_epochs_file_training_goes_on_bit_for_bit(tmp_path, keys, precision):
    config, compute = TrainingConfig(batch_size=16, **{"lr": 0.1, **keys}), Compute("cpu", precision, True)
    whole, store = conv4(0), Files(tmp_path)
    teacher = conv4(77)
    terms = {"seed": 4, "compute": compute, "validation": DATA, "teacher": teacher}
    history = train(whole, DATA, config, checkpoint=store, **terms)
    assert store.saved == 3
    for epoch in (1, 2, 3):
        network = conv4(epoch)  # another start: all must come from the file
        store = Files(tmp_path, epoch)
        resumed = train(network, DATA, config, checkpoint=store, **terms)
        pairs = zip(network.state_dict().values(), whole.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert resumed.loss == history.loss
        assert resumed.validation == history.validation
        assert (resumed.steps, resumed.best_epoch) == (history.steps, history.best_epoch)
        assert resumed.stopped == history.stopped == (config.epochs == 9)


def rate(step: int, total: int = 12, per_epoch: int = 4, **keys) -> float:
    return learning_rate(TrainingConfig(epochs=3, lr=0.8, **keys), step, total, per_epoch)


@pytest.mark.parametrize(
    ("keys", "step", "expected"),
    [
        ({"schedule": "constant"}, 0, 0.8),
        ({"schedule": "constant"}, 11, 0.8),
        ({"schedule": "constant", "warmup_epochs": 1}, 0, 0.8 / 5),  # four steps of warm-up: 1/5, 2/5, 3/5, 4/5
        ({"schedule": "constant", "warmup_epochs": 1}, 3, 0.8 * 4 / 5),
        ({"schedule": "constant", "warmup_epochs": 1}, 4, 0.8),
        ({"schedule": "cosine"}, 0, 0.8),
        ({"schedule": "cosine"}, 3, 0.8 * (1 + math.sqrt(0.5)) / 2),  # a quarter of the way: cos 45 degrees
        ({"schedule": "cosine"}, 6, 0.4),
        ({"schedule": "cosine", "warmup_epochs": 1}, 4, 0.8),  # after the warm-up the whole cosine
        ({"schedule": "cosine", "warmup_epochs": 1}, 8, 0.4),
        ({"schedule": "one_cycle", "total": 30}, 0, 0.8 * 0.04),
        ({"schedule": "one_cycle", "total": 30}, 4, 0.8 * 0.52),  # half of the rise: the mean of 0.04 and 1
        ({"schedule": "one_cycle", "total": 30}, 8, 0.8),
        ({"schedule": "one_cycle", "total": 20}, 12, 0.4 * (1 + 4e-6)),  # half of the fall
        ({"schedule": "one_cycle", "total": 20}, 19, 0.8 * 4e-6),
    ],
)
def test_learning_rates_worked_out_by_hand(keys, step, expected):
    assert rate(step, **keys) == pytest.approx(expected)


def test_a_warm_up_longer_than_the_training_never_reaches_the_schedule():
    assert [rate(step, warmup_epochs=9) for step in (0, 11)] == pytest.approx([0.8 / 13, 0.8 * 12 / 13])


def test_histories_are_joined_end_to_end():
    joined = History.joined([History([1.0], [0.1], [0.5], [0.2], 2.0, 3), History([0.5], [0.6], [0.1], [], 1.0, 4)])
    assert joined == History([1.0, 0.5], [0.1, 0.6], [0.5, 0.1], [0.2], 3.0, 7)


def test_the_best_epoch_of_joined_histories_is_that_of_the_last_counted_from_the_first():
    first, last = History(loss=[1.0, 0.9], best_epoch=1, stopped=True), History(loss=[0.8] * 3, best_epoch=2)
    assert (History.joined([first, last]).best_epoch, History.joined([first, last]).stopped) == (4, True)
    assert (History.joined([first, History()]).best_epoch, History.joined([]).stopped) == (None, False)


def test_recalibration_gives_each_image_the_same_weight_whatever_its_batch():
    network = nn.Sequential(nn.BatchNorm2d(2, momentum=0.1), nn.BatchNorm2d(2, track_running_stats=False))
    data = [(torch.randn(n, 2, 3, 3) * n, torch.zeros(n)) for n in (2, 6, 3)]
    recalibrate(network, data)
    images = torch.cat([images for images, _ in data])
    torch.testing.assert_close(network[0].running_mean, images.mean((0, 2, 3)))
    assert network[0].num_batches_tracked == 3


def test_a_failing_batch_leaves_flags_and_momentum_as_they_were():
    network = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(2, momentum=0.3)).train()
    with pytest.raises(RuntimeError):
        recalibrate(network, [(torch.randn(2, 2, 3, 3), None), (torch.randn(2, 5, 3, 3), None)])
    assert network[0].training
    assert network[1].training
    assert network[1].momentum == 0.3


def test_a_frozen_norm_stays_frozen_through_an_evaluation():
    network = nn.Sequential(nn.BatchNorm2d(1), nn.BatchNorm2d(1).eval(), nn.Flatten(), nn.Linear(64, 5))
    evaluate(network, DATA.batches(25))
    assert [module.training for module in network.modules()] == [True, True, False, True, True]
