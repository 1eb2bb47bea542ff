"""Early stop: when it stops, what is put back, and the last good checkpoint of a training that diverges."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from blendsearch.config import EarlyStopConfig, TrainingConfig
from blendsearch.data.batches import ImageTensors
from blendsearch.errors import ConfigError, TrainingError
from blendsearch.models.zoo import MODELS
from blendsearch.results.run_folder import RunFolder
from blendsearch.training import train
from blendsearch.training.early_stop import EarlyStop, weights_of

DATA = ImageTensors(
    torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)),
    torch.arange(40) % 4,
    (0.5,),
    (0.25,),
)


def conv4() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODELS.get("conv4")(num_classes=4, in_channels=1, image_size=8, width=3)


def config(**keys) -> TrainingConfig:
    return TrainingConfig(**{"epochs": 6, "batch_size": 16, **keys})


@pytest.mark.parametrize(
    ("accuracies", "patience", "min_delta", "stop", "best"),
    [
        ([0.1, 0.2, 0.3, 0.4], 1, 0.0, None, 4),
        ([0.5, 0.5, 0.5], 2, 0.0, 3, 1),  # as good is no gain
        ([0.5, 0.4, 0.6, 0.5, 0.5], 2, 0.0, 5, 3),
        ([0.5, 0.52, 0.56, 0.57, 0.6], 2, 0.05, 5, 3),  # gains count from the best kept
        ([0.0, 0.0, 0.1], 3, 0.0, None, 3),
    ],
)
def test_it_stops_after_so_many_epochs_without_a_gain(accuracies, patience, min_delta, stop, best):
    network = nn.Linear(1, 1)
    watch = EarlyStop(EarlyStopConfig(patience=patience, min_delta=min_delta))
    stops = []
    for epoch, accuracy in enumerate(accuracies, start=1):
        network.weight.data.fill_(epoch)
        stops.append(watch.see(epoch, accuracy, network))
    assert stops == [epoch == stop for epoch in range(1, len(accuracies) + 1)]
    watch.put_back(network)
    assert (watch.best_epoch, network.weight.item()) == (best, best)


def scripted(monkeypatch, accuracies: list[float]) -> list[dict[str, torch.Tensor]]:
    """Let validation return these accuracies; the list fills with the weights that each was read on."""
    weights: list[dict[str, torch.Tensor]] = []

    def score_images(network, split, compute):
        weights.append(weights_of(network))
        return torch.tensor([accuracies[len(weights) - 1]], dtype=torch.float64)

    monkeypatch.setattr("blendsearch.training.loop.score_images", score_images)
    return weights


def same(network: nn.Module, weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def test_the_weights_of_the_best_epoch_are_put_back(monkeypatch):
    weights, network = scripted(monkeypatch, [0.3, 0.5, 0.4, 0.5, 0.9, 0.9]), conv4()
    history = train(network, DATA, config(early_stop=EarlyStopConfig(patience=2)), seed=1, validation=DATA)
    assert (len(history.loss), history.steps, history.best_epoch, history.stopped) == (4, 12, 2, True)
    assert same(network, weights[1])
    assert not same(network, weights[3])
    assert not network.training


def test_the_best_epoch_counts_also_where_nothing_stopped_early(monkeypatch):
    weights, network = scripted(monkeypatch, [0.3, 0.5, 0.4, 0.9, 0.8, 0.7]), conv4()
    history = train(network, DATA, config(early_stop=EarlyStopConfig(patience=2)), seed=1, validation=DATA)
    assert (len(history.loss), history.best_epoch, history.stopped) == (6, 4, False)
    assert same(network, weights[3])


def test_the_learning_rate_moves_as_in_the_whole_training(monkeypatch):
    scripted(monkeypatch, [0.5, 0.4])
    stopped = train(conv4(), DATA, config(early_stop=EarlyStopConfig(patience=1)), seed=1, validation=DATA)
    whole = train(conv4(), DATA, config(), seed=1)
    assert stopped.lr == whole.lr[:2]
    assert stopped.loss == whole.loss[:2]


def test_without_a_validation_split_it_is_refused():
    with pytest.raises(ConfigError, match="early_stop: no validation split given"):
        train(conv4(), DATA, config(early_stop=EarlyStopConfig()), seed=1)


def test_a_checkpoint_of_a_training_without_it_is_refused(tmp_path):
    checkpoint = RunFolder(tmp_path).checkpoint("one")
    train(conv4(), DATA, config(), seed=1, checkpoint=checkpoint)
    settings = config(early_stop=EarlyStopConfig())
    with pytest.raises(TrainingError, match="another early_stop"):
        train(conv4(), DATA, settings, seed=1, checkpoint=checkpoint, validation=DATA)


def spoiling(network: nn.Module, value: float, when: int):
    """Spoil a weight after a step."""

    def progress(task: str, done: int, total: int, detail: str = "") -> None:
        if done == when:
            network.conv2.weight.data.fill_(value)

    return progress


@pytest.mark.parametrize(("when", "what"), [(7, "the loss is nan in epoch 3, step 8 of 18"), (9, "after epoch 3")])
def test_a_training_that_diverges_says_which_checkpoint_is_good_and_where(tmp_path, when, what):
    """Also where the very last update of an epoch did it, which no loss has seen: that epoch is not saved."""
    network, checkpoint = conv4(), RunFolder(tmp_path).checkpoint("training")
    with pytest.raises(TrainingError) as error:
        train(network, DATA, config(), seed=1, checkpoint=checkpoint, progress=spoiling(network, math.nan, when))
    said = f"the last good checkpoint is of epoch 2, in {tmp_path / 'checkpoints' / 'training.pt'};"
    assert what in str(error.value)
    assert said in str(error.value)
    assert "start a new run with a lower lr, a warm-up or clip_norm" in str(error.value)
    assert "\n" not in str(error.value)
    whole = conv4()
    train(whole, DATA, config(), seed=1)
    network.load_state_dict(checkpoint.load()["network"])
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
    train(network, DATA, config(), seed=1, checkpoint=checkpoint)  # the state is good: it goes on to the same end
    assert same(network, whole.state_dict())


def test_a_training_that_diverges_at_once_has_no_checkpoint(tmp_path):
    network = conv4()
    with pytest.raises(TrainingError, match=r"the loss is nan in epoch 1, step 2 .*; no checkpoint of a good epoch"):
        train(network, DATA, config(), seed=1, progress=spoiling(network, math.nan, 1))
