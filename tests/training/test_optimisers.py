"""Learning rates against torch's own schedulers, and steps that are clipped, scaled or refused."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.errors import ConfigError
from blendsearch.training.optimisers import LEAST_SCALE, NotFiniteError, Steps, learning_rate


def config(**keys) -> TrainingConfig:
    return TrainingConfig(**{"epochs": 1, "lr": 0.5, "weight_decay": 0, **keys})


def rates(total: int = 100, per_epoch: int = 10, **keys) -> list[float]:
    return [learning_rate(config(lr=1.0, **keys), step, total, per_epoch) for step in range(total)]


def of_torch(scheduler, total: int, **options) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    schedule = scheduler(optimizer, **options)
    taken = []
    for step in range(total):
        taken.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < total - 1:
            schedule.step()
    return taken


@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_cosine_is_that_of_torch(total):
    expected = of_torch(torch.optim.lr_scheduler.CosineAnnealingLR, total, T_max=total)
    assert rates(total) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("total", [1, 2, 3, 4, 7, 10, 100])
def test_one_cycle_is_that_of_torch(total):
    expected = of_torch(torch.optim.lr_scheduler.OneCycleLR, total, max_lr=1.0, total_steps=total)
    assert rates(total, schedule="one_cycle") == pytest.approx(expected, abs=1e-12)


def test_one_cycle_after_a_warm_up_is_a_whole_one():
    assert rates(110, schedule="one_cycle", warmup_epochs=1)[10:] == pytest.approx(rates(100, schedule="one_cycle"))


def test_constant_stays_and_warm_up_rises_in_even_steps():
    assert set(rates(schedule="constant")) == {1.0}
    warm = rates(schedule="constant", warmup_epochs=0.4)
    assert warm[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(warm[4:]) == {1.0}


def linear() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(3, 2)


IMAGES = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


def loss_of(network: nn.Module) -> torch.Tensor:
    return F.cross_entropy(network(IMAGES) * 9, torch.tensor([0, 1, 1, 0, 1]))


@pytest.mark.parametrize("clip_norm", [None, 0.1, 100.0])
def test_a_step_is_that_of_torch(clip_norm):
    ours, theirs = linear(), linear()
    steps = Steps(ours, config(clip_norm=clip_norm), Compute())
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.5, momentum=0.9, nesterov=True)
    for rate in (0.5, 0.25):
        steps.step(loss_of(ours), rate)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss_of(theirs).backward()
        if clip_norm is not None:
            length = math.sqrt(sum(p.grad.square().sum().item() for p in theirs.parameters()))
            for parameter in theirs.parameters():
                parameter.grad *= min(1.0, clip_norm / length)
        optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


class Spoiled(torch.autograd.Function):
    """A finite loss whose gradient is infinite."""

    @staticmethod
    def forward(ctx, loss):
        return loss.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * math.inf


def test_a_finite_loss_with_an_infinite_gradient_is_refused_where_its_norm_is_known():
    network = linear()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(NotFiniteError, match=r"the gradient's norm is (nan|inf)"):
        Steps(network, config(clip_norm=1.0), Compute()).step(Spoiled.apply(loss_of(network)), 0.5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def scaled(network: nn.Module, **keys) -> Steps:
    """Steps with the scaling of float16, on the CPU, where gradients need none."""
    steps = Steps(network, config(**keys), Compute())
    steps.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    return steps


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_scaling_by_a_power_of_two_changes_no_step(clip_norm):
    one, other = linear(), linear()
    plain, steps = Steps(one, config(clip_norm=clip_norm), Compute()), scaled(other, clip_norm=clip_norm)
    for _ in range(3):
        plain.step(loss_of(one), 0.5)
        steps.step(loss_of(other), 0.5)
    torch.testing.assert_close(one.weight, other.weight, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_a_scaled_gradient_that_overflows_takes_no_step_and_halves_the_scale(clip_norm):
    network = linear()
    before, steps = copy.deepcopy(network.state_dict()), scaled(network, clip_norm=clip_norm)
    steps.step(Spoiled.apply(loss_of(network)), 0.5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert steps.scaler.get_scale() == 2.0**9
    continued = scaled(linear())
    continued.load_state_dict(steps.state_dict())
    assert continued.scaler.get_scale() == 2.0**9
    while steps.scaler.get_scale() > LEAST_SCALE:
        steps.step(Spoiled.apply(loss_of(network)), 0.5)
    with pytest.raises(NotFiniteError, match="not finite in float16"):
        steps.step(Spoiled.apply(loss_of(network)), 0.5)


def test_without_float16_the_scaler_does_nothing():
    state = Steps(linear(), config(), Compute(precision="bfloat16")).state_dict()
    assert state["scaler"] == {}


def test_float16_is_refused_where_there_is_no_cuda():
    with pytest.raises(ConfigError, match=r"precision float16 needs a CUDA device .given cpu, allowed there"):
        Compute.resolve("cpu", "float16")
    assert Compute("cuda:1", "float16").scales_gradients
    assert Compute("cuda:1", "float16").kind == "cuda"
