"""Passes of each proxy against what its options say, and against the images that layers really saw."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from blendsearch.config import DistillationConfig, TrainingConfig
from blendsearch.proxies import PROXIES, ProxyContext
from blendsearch.proxies.passes import counted
from blendsearch.structure import Plan, Structure

TRAINING = TrainingConfig(epochs=1, batch_size=64, lr=0.02, distillation=DistillationConfig())


@pytest.fixture(scope="module")
def context(trained, digits) -> ProxyContext:
    structure = Structure.of(trained, next(digits.calibration.batches(2))[0])
    return ProxyContext(trained, structure, digits.calibration, digits.search, digits.train, TRAINING, seed=3)


@pytest.fixture(scope="module")
def half(context) -> Plan:
    widths = context.structure.widths
    return Plan({name: tuple(range(width // 2)) for name, width in widths.items()}, dict(widths))


def passes(name, context, half, **options):
    proxy = PROXIES.get(name)(**options)
    proxy.prepare(context)
    return proxy.estimate(context.structure.slice(context.network, half), half).passes


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("zero_shot", {"search_images": 70}, 70),
        ("bn_recalibrated", {"images": 60, "search_images": 70}, 60 + 70),
        ("compensated", {"images": 60, "search_images": 70}, 60 + 70),
        ("agreement", {"images": 60, "search_images": 70}, 60 + 70),
    ],
)
def test_proxies_without_training_run_calibration_and_search_images(context, half, name, options, expected):
    assert passes(name, context, half, **options) == expected
    everything = {"zero_shot": 0, "bn_recalibrated": 250, "compensated": 250, "agreement": 250}[name] + 250
    assert passes(name, context, half) == everything


@pytest.mark.parametrize("name", ["short_finetune", "compensated_finetune"])
def test_a_training_image_counts_three_and_the_teacher_nothing(context, half, name):
    one, three = (passes(name, context, half, steps=steps, search_images=70) for steps in (1, 3))
    assert three - one == 3 * 2 * 64
    assert one - 3 * 64 >= 70
    # The last batch of an epoch is smaller: 998 images are 15 batches of 64 and one of 38.
    size = len(context.train)
    whole = passes(name, context, half, steps=-(-size // 64), search_images=70)
    assert whole - one == 3 * (size - 64)


def test_an_unchanged_network_needs_no_refit(context):
    widths = context.structure.widths
    whole = Plan({name: tuple(range(width)) for name, width in widths.items()}, dict(widths))
    assert passes("compensated", context, whole, search_images=70) == 70


def test_copies_count_too_and_nothing_is_left_behind():
    network = nn.Sequential(nn.Linear(2, 2))
    with counted(network) as total:
        network(torch.zeros(4, 2))
        with torch.no_grad():
            network(torch.zeros(5, 2))
            copy.deepcopy(network)(torch.zeros(6, 2))
        assert total() == 3 * 4 + 5 + 6
    network(torch.zeros(7, 2))
    assert total() == 23
    assert not network._forward_pre_hooks
