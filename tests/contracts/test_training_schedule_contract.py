"""What every registered training schedule must do, also one of another package."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn

from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.data.augmentation import Augmentation
from blendsearch.data.batches import ImageTensors
from blendsearch.models.zoo import MODELS
from blendsearch.schedules import SCHEDULES, TrainingJob, TrainingSchedule
from blendsearch.structure import Structure
from blendsearch.training import train

NAMES = [name for name in SCHEDULES.names() if issubclass(SCHEDULES.get(name), TrainingSchedule)]
DRAWS = torch.Generator().manual_seed(0)
DATA = ImageTensors(
    torch.randint(0, 256, (18, 1, 8, 8), dtype=torch.uint8, generator=DRAWS),
    torch.arange(18) % 4,
    (0.5,),
    (0.25,),
    Augmentation(1, True),
)
TRAINING = TrainingConfig(epochs=100.5, batch_size=9, lr=0.02, warmup_epochs=2)  # two steps an epoch


class Memory:
    """Keeps every state that was saved; loads the last one it is given."""

    where = "memory"

    def __init__(self, state=None):
        self.state, self.saved = state, []

    def load(self):
        return copy.deepcopy(self.state)

    def save(self, state):
        self.saved.append(copy.deepcopy(state))


class Killed(BaseException):
    """The process ends here."""


def conv4(seed=0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MODELS.get("conv4")(num_classes=4, in_channels=1, image_size=8, width=2)


def tensors(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def job() -> TrainingJob:
    structure = Structure.of(conv4(), next(DATA.batches(2))[0])
    return TrainingJob(structure=structure, train=DATA, calibration=DATA.take(8), training=TRAINING, seed=2)


@pytest.fixture(params=NAMES)
def schedule(request):
    return SCHEDULES.get(request.param)()


@pytest.fixture(scope="module", params=NAMES)
def whole(request):
    """A training that is not stopped: the network, its history, and every state that was saved."""
    network, memory = conv4(), Memory()
    structure = Structure.of(network, next(DATA.batches(2))[0])
    job = TrainingJob(
        structure=structure, train=DATA, calibration=DATA.take(8), training=TRAINING, seed=2, checkpoint=memory
    )
    history = SCHEDULES.get(request.param)().train(network, job)
    return request.param, network, history, memory


def test_the_network_stays_at_full_size_and_has_changed(whole):
    _, network, _, _ = whole
    before = tensors(conv4())
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == {
        name: tensor.shape for name, tensor in before.items()
    }
    assert not any(torch.equal(p, before[name]) for name, p in network.named_parameters())
    assert all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())
    assert not network.training
    assert [(m.in_channels, m.out_channels) for m in network.modules() if isinstance(m, nn.Conv2d)] == [
        (m.in_channels, m.out_channels) for m in conv4().modules() if isinstance(m, nn.Conv2d)
    ]


def test_it_trains_exactly_as_long_as_plain_training_at_the_same_learning_rates(whole):
    _, _, history, _ = whole
    plain = train(conv4(), DATA, TRAINING, seed=2)
    assert history.steps == plain.steps
    assert history.lr == plain.lr
    assert len(history.loss) == len(history.accuracy) == len(history.lr)


def test_the_seed_decides(whole, job):
    name, network, history, _ = whole
    again, other = conv4(), conv4()
    assert SCHEDULES.get(name)().train(again, job).loss == history.loss
    SCHEDULES.get(name)().train(other, dataclasses.replace(job, seed=9))
    assert same(tensors(again), tensors(network))
    assert not same(tensors(other), tensors(network))


@pytest.mark.parametrize("epoch", [0, 19, 24, 29, 75, 100])
def test_it_goes_on_bit_for_bit_from_the_checkpoint_of_any_epoch(whole, job, epoch):
    name, network, history, memory = whole
    assert len(memory.saved) == len(history.loss)
    resumed = conv4(seed=7)  # another start: all must come from the checkpoint
    store = Memory(memory.saved[epoch])
    again = SCHEDULES.get(name)().train(resumed, dataclasses.replace(job, checkpoint=store))
    assert same(tensors(resumed), tensors(network))
    assert (again.loss, again.lr, again.steps) == (history.loss, history.lr, history.steps)
    assert len(store.saved) == len(history.loss) - epoch - 1


def test_a_kill_in_the_middle_of_an_epoch_changes_nothing(whole, job):
    name, network, _, _ = whole
    memory = Memory()

    def killer(task, done, total, detail):
        if done == 51:
            raise Killed

    with pytest.raises(Killed):
        SCHEDULES.get(name)().train(conv4(), dataclasses.replace(job, checkpoint=memory, progress=killer))
    resumed = conv4()
    store = Memory(memory.saved[-1])
    SCHEDULES.get(name)().train(resumed, dataclasses.replace(job, checkpoint=store))
    assert same(tensors(resumed), tensors(network))


def test_progress_names_the_task_and_counts_all_steps(schedule, job):
    seen = []
    job = dataclasses.replace(
        job, task="training, seed 1", progress=lambda task, done, total, detail: seen.append((task, done, total))
    )
    steps = schedule.train(conv4(), job).steps
    own = [(done, total) for task, done, total in seen if task == "training, seed 1"]
    assert own == [(step, steps) for step in range(1, steps + 1)]


def test_half_precision_and_channels_last(schedule, job):
    network = conv4()
    schedule.train(network, dataclasses.replace(job, compute=Compute("cpu", "bfloat16", True)))
    assert all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())


def test_every_training_schedule_says_what_it_is():
    for name in NAMES:
        schedule = SCHEDULES.get(name)
        assert schedule.name == name
        assert schedule.__doc__
        assert schedule.source
