"""Passes of each proxy against what its options say, and against the images that layers really saw."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from blendsearch.config import DistillationConfig, TrainingConfig
from blendsearch.proxies import PROXIES, Bench
from blendsearch.proxies.passes import counted
from blendsearch.structure import Plan, Structure

TRAINING = TrainingConfig(epochs=1, batch_size=64, lr=0.02, distillation=DistillationConfig())


@pytest.fixture(scope="module")
def bench(trained, digits) -> Bench:
    structure = Structure.of(trained, next(digits.calibration.batches(2))[0])
    return Bench(trained, structure, digits.calibration, digits.search, digits.train, TRAINING, seed=3)


@pytest.fixture(scope="module")
def half(bench) -> Plan:
    widths = bench.structure.widths
    return Plan({name: tuple(range(width // 2)) for name, width in widths.items()}, dict(widths))


def passes(name, bench, half, **options):
    proxy = PROXIES.get(name)(**options)
    proxy.prepare(bench)
    return proxy.estimate(bench.structure.slice(bench.network, half), half).passes


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("zero_shot", {"search_images": 70}, 70),
        ("bn_recalibrated", {"images": 60, "search_images": 70}, 60 + 70),
        ("compensated", {"images": 60, "search_images": 70}, 60 + 70),
        ("agreement", {"images": 60, "search_images": 70}, 60 + 70),
    ],
)
def test_proxies_without_training_run_calibration_and_search_images(bench, half, name, options, expected):
    assert passes(name, bench, half, **options) == expected
    everything = {"zero_shot": 0, "bn_recalibrated": 250, "compensated": 250, "agreement": 250}[name] + 250
    assert passes(name, bench, half) == everything


@pytest.mark.parametrize("name", ["short_finetune", "compensated_finetune"])
def test_a_training_image_counts_three_and_the_teacher_nothing(bench, half, name):
    one, three = (passes(name, bench, half, steps=steps, search_images=70) for steps in (1, 3))
    assert three - one == 3 * 2 * 64
    assert one - 3 * 64 >= 70
    # The last batch of an epoch is smaller: 998 images are 15 batches of 64 and one of 38.
    size = len(bench.train)
    whole = passes(name, bench, half, steps=-(-size // 64), search_images=70)
    assert whole - one == 3 * (size - 64)


def test_an_unchanged_network_needs_no_refit(bench):
    widths = bench.structure.widths
    whole = Plan({name: tuple(range(width)) for name, width in widths.items()}, dict(widths))
    assert passes("compensated", bench, whole, search_images=70) == 70


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
