"""Proxies that give batch norms their statistics anew: what they say does not depend on how the images are cut."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.data.batches import ImageTensors
from blendsearch.proxies import PROXIES, ProxyContext
from blendsearch.structure import Plan, Structure


def split(count, seed):
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 4, 4), generator=draws, dtype=torch.uint8)
    return ImageTensors(images, torch.arange(count) % 3, (0.5,), (0.25,))


def test_a_small_rest_of_the_calibration_images_weighs_as_little_as_it_is():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 1), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )
    structure = Structure.of(network.eval(), torch.zeros(2, 1, 4, 4))
    calibration = split(512, 1)  # as many as there are by default, in batches of 250, 250 and 12
    context = ProxyContext(
        network=network, structure=structure, calibration=calibration, search=split(20, 2), train=split(20, 3),
        training=TrainingConfig(), compute=Compute(),
    )  # fmt: skip
    proxy = PROXIES.get("bn_recalibrated")()
    proxy.prepare(context)
    plan = Plan.full(structure.widths)
    candidate = structure.slice(network, plan)
    proxy.adapt(candidate, plan)
    with torch.no_grad():
        features = network[0](next(calibration.batches(512))[0])
    assert candidate[1].running_mean.tolist() == pytest.approx(features.mean((0, 2, 3)).tolist(), abs=1e-6)
