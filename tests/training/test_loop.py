"""The training loop: what it learns, how it stops and goes on, how the learning rate moves."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import GoogLeNetOutputs

from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.data.augmentation import Augmentation
from blendsearch.data.batches import GivenBatches, ImageTensors
from blendsearch.errors import DataError, TrainingError
from blendsearch.models.zoo import MODELS
from blendsearch.training import evaluate, train
from blendsearch.training.loop import steps_per_epoch
from blendsearch.training.losses import OwnLoss
from blendsearch.training.optimisers import make_optimizer


class Stopped(Exception):
    """Stands for Ctrl-C or a killed process."""


class File:
    """A checkpoint store that goes through torch.save and a safe torch.load, as a file does."""

    where = "a file"

    def __init__(self) -> None:
        self.content: bytes | None = None

    def load(self):
        return None if self.content is None else torch.load(io.BytesIO(self.content), weights_only=True)

    def save(self, state) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.content = buffer.getvalue()


class Memory:
    """A checkpoint store that keeps the very state it is given."""

    where = "memory"
    state = None

    def load(self):
        return self.state

    def save(self, state) -> None:
        self.state = state


def squares(count: int = 70) -> ImageTensors:
    """Noise with a bright corner: the corner is the class."""
    torch.manual_seed(0)
    labels = torch.arange(count) % 4
    images = torch.randint(0, 120, (count, 1, 8, 8), dtype=torch.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        y, x = 4 * (label // 2), 4 * (label % 2)
        image[0, y : y + 4, x : x + 4] += 100
    return ImageTensors(images, labels, (0.5,), (0.25,), Augmentation(1))


def conv4() -> nn.Module:
    torch.manual_seed(3)
    network = MODELS.get("conv4")(num_classes=4, in_channels=1, image_size=8, width=4)
    network.linear = nn.Sequential(nn.Dropout(0.2), network.linear)  # so that the dropout's seed matters too
    return network


def config(**keys) -> TrainingConfig:
    return TrainingConfig(**{"epochs": 3, "batch_size": 16, "lr": 0.1, **keys})


def run(network=None, data=None, seed=0, compute=None, **keys):
    network = conv4() if network is None else network
    data = squares() if data is None else data  # an empty split is false
    options = {key: keys.pop(key) for key in ("checkpoint", "progress", "task", "validation") if key in keys}
    history = train(network, data, config(**keys), seed=seed, compute=compute or Compute(), **options)
    return network, history


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def stopping_at(step: int):
    def progress(task: str, done: int, total: int, detail: str = "") -> None:
        if done == step:
            raise Stopped

    return progress


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"optimizer": "adamw", "lr": 0.01},
        {"schedule": "one_cycle"},
        {"schedule": "constant", "warmup_epochs": 1, "label_smoothing": 0.1, "clip_norm": 1.0},
    ],
    ids=["sgd", "adamw", "one_cycle", "constant"],
)
def test_it_learns(keys):
    network, history = run(epochs=12, **keys)
    assert evaluate(network, squares().batches(70)).accuracy > 0.9
    assert history.loss[-1] < history.loss[0]
    assert len(history.loss) == len(history.accuracy) == len(history.lr) == 12
    assert not network.training


def test_half_precision_in_channels_last_learns_too():
    network, _ = run(epochs=12, compute=Compute(precision="bfloat16", channels_last=True))
    assert evaluate(network, squares().batches(70)).accuracy > 0.9
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_your_own_batches_train_a_network():
    data = squares()
    network, _ = run(data=GivenBatches(data.batches(10)), epochs=12)
    assert evaluate(network, data.batches(70)).accuracy > 0.9


def test_one_seed_gives_one_network():
    assert same(run(seed=5)[0], run(seed=5)[0])
    assert not same(run(seed=5)[0], run(seed=6)[0])


def test_training_leaves_the_global_generator_alone():
    network, data = conv4(), squares()
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    run(network, data)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("store", [File, Memory])
@pytest.mark.parametrize("keys", [{}, {"optimizer": "adamw", "epochs": 2.5}, {"schedule": "one_cycle"}])
@pytest.mark.parametrize("step", [5, 8])
def test_a_stopped_training_goes_on_to_the_same_weights_bit_for_bit(store, keys, step):
    whole, history = run(**keys)
    checkpoint = store()
    with pytest.raises(Stopped):
        run(checkpoint=checkpoint, progress=stopping_at(step), **keys)
    torch.rand(11)  # another process has another global generator
    continued, again = run(checkpoint=checkpoint, **keys)
    assert same(whole, continued)
    assert (history.loss, history.accuracy, history.lr) == (again.loss, again.accuracy, again.lr)


def test_a_finished_training_is_not_done_again():
    checkpoint = File()
    whole, _ = run(checkpoint=checkpoint)
    again, history = run(checkpoint=checkpoint, progress=stopping_at(1))
    assert same(whole, again)
    assert history.steps == 15


def test_a_checkpoint_of_a_training_of_another_length_is_refused():
    checkpoint = File()
    run(checkpoint=checkpoint)
    with pytest.raises(TrainingError, match="checkpoint: it is of a training of 15 steps, this one has 20"):
        run(checkpoint=checkpoint, epochs=4)


@pytest.mark.parametrize(("epochs", "steps", "parts"), [(0, 0, 0), (0.4, 2, 1), (0.01, 1, 1), (1, 5, 1), (1.6, 8, 2)])
def test_epochs_may_be_fractions(epochs, steps, parts):
    _, history = run(epochs=epochs)
    assert history.steps == steps
    assert len(history.loss) == parts


def test_no_epochs_leave_the_network_as_it_is():
    assert same(run(epochs=0)[0], conv4())


def test_progress_tells_every_step_with_the_loss():
    calls = []
    run(epochs=1, task="baseline", progress=lambda *call: calls.append(call))
    assert [call[:3] for call in calls] == [("baseline", step, 5) for step in range(1, 6)]
    assert calls[0][3].startswith("loss ")


def test_validation_is_read_after_each_epoch():
    data = squares()
    network, history = run(validation=data)
    assert len(history.validation) == 3
    assert history.validation[-1] == evaluate(network, data.batches(70)).accuracy
    assert same(network, run()[0])


def test_an_infinite_loss_names_epoch_and_step_and_spoils_nothing():
    checkpoint = File()

    def spoil(task, done, total, detail=""):
        if done == 7:
            network.conv2.weight.data.fill_(math.nan)

    network = conv4()
    said = r"retraining: the loss is nan in epoch 2, step 8 of 15 .*checkpoint is of epoch 1, in a file; .* lower lr"
    with pytest.raises(TrainingError, match=said):
        run(network, checkpoint=checkpoint, progress=spoil, task="retraining")
    assert checkpoint.load()["epoch"] == 1
    assert network.conv1.weight.isfinite().all()


def test_no_image_is_an_error():
    with pytest.raises(DataError, match="training: no image given"):
        run(data=squares().subset(torch.arange(0)))


def test_a_lone_last_image_is_left_out():
    assert [steps_per_epoch(count, 16) for count in (1, 16, 17, 18, 32, 33)] == [1, 1, 1, 2, 2, 2]
    assert steps_per_epoch(5, 1) == 5
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4))  # fails on a batch of one image
    assert run(network, data=squares(33))[1].steps == 6


def test_weight_decay_spares_norms_and_biases():
    network = conv4()
    decayed, spared = make_optimizer(network, config(weight_decay=0.01)).param_groups
    assert decayed["weight_decay"] == 0.01
    assert spared["weight_decay"] == 0
    assert len(decayed["params"]) == 5  # four convolutions and the classifier
    assert len(spared["params"]) == 9
    assert all(parameter.dim() == 1 for parameter in spared["params"])


def test_frozen_parameters_stay():
    network = conv4()
    network.conv1.weight.requires_grad_(False)
    before = copy.deepcopy(network.conv1.weight)
    run(network)
    assert torch.equal(network.conv1.weight, before)


class WithAuxiliary(nn.Module):
    """Gives a second answer while it trains, as GoogLeNet does."""

    def __init__(self, pack):
        super().__init__()
        self.main, self.pack = conv4(), pack

    def forward(self, x):
        answer = self.main(x)
        return self.pack(answer, answer.detach() * 0) if self.training else answer


def named(answer, auxiliary):
    return GoogLeNetOutputs(answer, auxiliary, auxiliary)


@pytest.mark.parametrize("pack", [named, lambda *both: both, lambda *both: list(both)], ids=["named", "tuple", "list"])
def test_a_network_with_auxiliary_answers_is_trained_on_its_main_one(pack):
    found, history = run(WithAuxiliary(pack), epochs=1)
    expected, plain = run(epochs=1)
    assert same(found.main, expected)
    assert history.accuracy == plain.accuracy


def test_an_answer_in_which_no_logits_are_to_be_found_is_told_in_one_line():
    with pytest.raises(TrainingError, match=r"the network gives a dict while it trains, allowed: logits, or a tuple"):
        run(WithAuxiliary(lambda *both: dict(enumerate(both))))


@pytest.mark.parametrize("outputs", [lambda x: x, lambda x: {"maps": x, "count": 3}, lambda x: (x, x)])
def test_a_loss_of_ones_own_gets_outputs_of_any_form_in_full_precision(outputs):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = conv4()

        def forward(self, x):
            return outputs(self.net(x))

    def loss(given, labels):
        given = given["maps"] if isinstance(given, dict) else given[0] if isinstance(given, tuple) else given
        return F.huber_loss(given, F.one_hot(labels, 4).float())

    training, compute = config(epochs=1), Compute(precision="bfloat16")
    assert train(Net(), squares(), training, seed=0, compute=compute, objective=OwnLoss(loss)).steps == 5
