"""Distillation: the formula worked out by hand, and a teacher that stays as it is."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blendsearch.compute import Compute
from blendsearch.config import DistillationConfig, TrainingConfig
from blendsearch.data.augmentation import Augmentation
from blendsearch.data.batches import ImageTensors
from blendsearch.errors import ConfigError
from blendsearch.models.zoo import MODELS
from blendsearch.training import train
from blendsearch.training.losses import distillation_loss, make_objective

STUDENT = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) * 3
TEACHER = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)) * 3
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
DATA = ImageTensors(
    torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)),
    torch.arange(40) % 4,
    (0.5,),
    (0.25,),
    Augmentation(1),
)


def config(**keys) -> TrainingConfig:
    return TrainingConfig(**{"epochs": 2, "batch_size": 16, "distillation": DistillationConfig(), **keys})


def conv4(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = MODELS.get("conv4")(num_classes=4, in_channels=1, image_size=8, width=3)
        network.linear = nn.Sequential(nn.Dropout(0.5), network.linear)
        return network


def softmax(logits: torch.Tensor, temperature: float) -> np.ndarray:
    raised = np.exp(logits.double().numpy() / temperature)
    return raised / raised.sum(1, keepdims=True)


def test_two_classes_by_hand():
    """Teacher 3 : 1, student 1 : 1 at temperature 2: 4 (3/4 ln(3/2) + 1/4 ln(1/2))."""
    teacher = torch.tensor([[2 * np.log(3.0), 0.0]])
    expected = 4 * (0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    assert distillation_loss(torch.zeros(1, 2).double(), teacher.double(), 2.0).item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_the_distance_is_the_mean_divergence_times_the_squared_temperature(temperature):
    p, q = softmax(TEACHER, temperature), softmax(STUDENT, temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    assert distillation_loss(STUDENT, TEACHER, temperature).item() == pytest.approx(expected, rel=1e-4)
    assert distillation_loss(STUDENT, STUDENT, temperature).item() == pytest.approx(0, abs=1e-5)


class Fixed(nn.Module):
    """Answers with TEACHER whatever it sees."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return TEACHER


@pytest.mark.parametrize("weight", [0.25, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_weighs_labels_and_teacher(weight, smoothing):
    settings = DistillationConfig(weight=weight, temperature=3.0)
    objective = make_objective(config(distillation=settings, label_smoothing=smoothing), Fixed(), Compute())
    labels = F.cross_entropy(STUDENT, LABELS, label_smoothing=smoothing)
    expected = (1 - weight) * labels + weight * distillation_loss(STUDENT, TEACHER, 3.0)
    torch.testing.assert_close(objective(torch.zeros(6, 1), STUDENT, LABELS), expected)


def test_without_distillation_the_loss_is_the_cross_entropy_and_a_teacher_is_not_asked():
    objective = make_objective(config(distillation=None), Fixed(), Compute())
    torch.testing.assert_close(objective(torch.zeros(6, 1), STUDENT, LABELS), F.cross_entropy(STUDENT, LABELS))


def test_the_teacher_sees_the_augmented_images_in_evaluation_mode_and_stays_as_it_is(monkeypatch):
    teacher, seen = conv4(5).train(), []
    teacher.bn2.eval()
    flags = [module.training for module in teacher.modules()]
    before = copy.deepcopy(teacher.state_dict())
    forward = type(teacher).forward

    def watched(self, images):
        seen.append((self.training, torch.is_grad_enabled(), images))
        return forward(self, images)

    monkeypatch.setattr(type(teacher), "forward", watched)
    train(conv4(1), DATA, config(), seed=3, teacher=teacher, compute=Compute(channels_last=True))
    students, teachers = seen[::2], seen[1::2]
    assert {one[:2] for one in students} == {(True, True)}
    assert {one[:2] for one in teachers} == {(False, False)}
    assert all(torch.equal(one[2], other[2]) for one, other in zip(students, teachers, strict=True))
    assert [module.training for module in teacher.modules()] == flags
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert teacher.conv2.weight.is_contiguous()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in teacher.parameters())


def test_with_all_the_weight_on_the_teacher_labels_do_not_matter():
    def trained(labels: torch.Tensor) -> nn.Module:
        network = conv4(1)
        data = ImageTensors(DATA.images, labels, (0.5,), (0.25,), Augmentation(1))
        settings = config(distillation=DistillationConfig(weight=1.0))
        train(network, data, settings, seed=3, teacher=conv4(5))
        return network

    one, other = trained(DATA.labels), trained(3 - DATA.labels)
    assert torch.equal(one.conv3.weight, other.conv3.weight)


def test_no_teacher_is_an_error():
    with pytest.raises(ConfigError, match="distillation: no teacher given"):
        train(conv4(1), DATA, config(), seed=3)
