"""Evaluations on a device: the CPU's numbers, hardly anything copied there, hardly ever waited for.

The device is pretended (tests/pretended_device.py): what crosses is counted, and a tensor left behind is an error.
"""

from __future__ import annotations

import copy

import pytest
import torch
from pretended_device import pretended_device
from small_networks import randomised, resnet20

from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.data.batches import ImageTensors
from blendsearch.models.zoo import MODELS
from blendsearch.proxies import PROXIES, Proxy, ProxyContext
from blendsearch.structure import Plan, Structure
from blendsearch.training import windows as windows_module

IMAGES = 300
DRAWS = torch.Generator().manual_seed(0)
DATA = ImageTensors(
    torch.randint(0, 256, (IMAGES, 3, 16, 16), dtype=torch.uint8, generator=DRAWS),
    torch.randint(0, 3, (IMAGES,), generator=DRAWS),
    (0.5, 0.4, 0.6),
    (0.2, 0.3, 0.25),
)
NETWORKS = {
    "additions": resnet20,
    "plain, wide": lambda: MODELS.get("vgg16_bn")(num_classes=3, in_channels=3, image_size=16),
}


def options(kind: str) -> dict[str, int]:
    return {"images": 100} | ({} if kind == "bn_recalibrated" else {"positions": 1000})


class Case:
    """A network, half of its filters, and proxies prepared for it."""

    def __init__(self, name: str) -> None:
        self.network = randomised(NETWORKS[name]())
        self.structure = Structure.of(self.network, torch.randn(2, 3, 16, 16))
        draws = torch.Generator().manual_seed(1)
        widths = self.structure.widths
        scores = {group: torch.rand(width, generator=draws) for group, width in widths.items()}
        self.plan = Plan.top(scores, {group: width // 2 for group, width in widths.items()})

    def proxy(self, kind: str, device: str, images: int = IMAGES) -> Proxy:
        proxy: Proxy = PROXIES.get(kind)(**options(kind))
        compute, search = Compute(device, "float32", True), DATA.subset(torch.arange(images))
        network = copy.deepcopy(self.network)
        proxy.prepare(ProxyContext(network, self.structure, DATA, search, search, TrainingConfig(), compute))
        return proxy

    def value(self, proxy: Proxy) -> float:
        network = self.structure.slice(proxy.context.network, self.plan)
        return proxy.estimate(network, self.plan).value


@pytest.fixture(scope="module", params=NETWORKS)
def case(request) -> Case:
    return Case(request.param)


@pytest.mark.parametrize("kind", ["bn_recalibrated", "compensated", "agreement"])
def test_a_device_gives_what_the_cpu_gives(case, kind):
    expected = case.value(case.proxy(kind, "cpu"))
    with pretended_device():
        found = case.value(case.proxy(kind, "cuda:0"))
    assert found == pytest.approx(expected, abs=1e-3 if kind == "agreement" else 1 / IMAGES)


@pytest.mark.parametrize("kind", ["bn_recalibrated", "compensated", "agreement"])
def test_what_is_copied_and_waited_for_does_not_grow_with_the_images(case, kind):
    crossings = []
    for images in (100, 300):
        with pretended_device() as device:
            proxy = case.proxy(kind, "cuda:0", images)
            device.reads = device.copies = 0
            case.value(proxy)
            crossings.append((device.reads, device.copies))
    layers = len(case.structure.trace.order)
    assert crossings[0] == crossings[1]
    assert crossings[0][1] <= 3  # the plan's indices, for cutting and for refitting
    assert crossings[0][0] <= {"bn_recalibrated": 1, "compensated": 1 + layers, "agreement": 43 + layers}[kind]


def test_the_callers_network_stays_where_it_is(case):
    with pretended_device():
        proxy = case.proxy("agreement", "cuda:0")
        assert proxy.context.network.linear.weight.device.type == "cuda"
    again = case.proxy("agreement", "cpu")
    assert again.context.network.linear.weight.device.type == "cpu"


def test_a_device_forms_patches_where_the_cpu_takes_windows(monkeypatch):
    monkeypatch.setattr(windows_module, "WIDE", 1)
    case = Case("additions")
    expected = case.value(case.proxy("compensated", "cpu"))
    with pretended_device() as device:
        proxy = case.proxy("compensated", "cuda:0")
        device.operations.clear()
        assert case.value(proxy) == pytest.approx(expected, abs=1 / IMAGES)
    assert device.operations["aten.mm.default"] < 4 * len(case.structure.trace.order)
