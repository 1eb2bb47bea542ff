"""What scripts/gpu_engine.py measures on: a network, its images as files and on the device, candidates, whole loops."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
import torchvision
from in_flight import Passes
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision import transforms

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.data.batches import ImageTensors
from blendsearch.data.resident import resident
from blendsearch.models.zoo import CifarResNet, ProjectionBlock
from blendsearch.proxies import PROXIES, Proxy, ProxyContext
from blendsearch.structure import Plan, Structure
from blendsearch.training.compensation import effective_weight, patches
from blendsearch.training.evaluation import evaluate, recalibrate
from blendsearch.training.moments import RowSquares
from blendsearch.training.windows import WindowSquares, windows_for

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHARE = 0.5
"""Of the FLOPs stays."""
PRUNING_RATIO = 0.294
"""Of every layer's filters Torch-Pruning removes, which leaves half of the FLOPs."""
REFITTED = PROXIES.get("compensated")().images
"""Calibration images of a refit."""


class ProjectedResNet(CifarResNet):
    """The ResNet for CIFAR with 1 x 1 convolutions as shortcuts where the shape changes (option B)."""

    @staticmethod
    def _stage(inside: int, out: int, blocks: int, stride: int) -> nn.Sequential:
        first = ProjectionBlock(inside, out, stride)
        return nn.Sequential(first, *(ProjectionBlock(out, out, 1) for _ in range(blocks - 1)))


@dataclass(frozen=True)
class Sizes:
    """How much is measured. blocks: of each stage of the ResNet. turn: seconds that a thing is repeated for."""

    small: bool = False
    blocks: int = 9
    calibration: int = 1000
    search: int = 2000
    larger: tuple[int, ...] = (2000, 10_000)
    stacks: tuple[int, ...] = (4, 8, 16, 32)
    refit_widths: tuple[int, ...] = (64, 128, 256, 512)
    turn: float = 1.5
    candidates: int = 48

    @classmethod
    def small_ones(cls) -> Sizes:
        """Return sizes with which everything runs once on a CPU."""
        return cls(True, 1, 60, 100, (100,), (2,), (64,), 0.0, 4)


class Case:
    """One network, its candidates under half of the FLOPs at equal shares, and its images.

    images: class folders. device: where everything runs, in bfloat16, channels last.
    """

    def __init__(self, images: Path, device: str, sizes: Sizes, build: type[CifarResNet] = ProjectedResNet) -> None:
        torch.manual_seed(0)
        self.folder, self.device, self.sizes = images, device, sizes
        self.compute = Compute(device, "bfloat16", True)
        self.network: nn.Module = build(sizes.blocks, num_classes=10, in_channels=3).eval()
        self.structure = Structure.of(self.network, torch.randn(2, 3, 32, 32))
        self.first = self.structure.trace.order[0]
        self.described = f"ResNet-{6 * sizes.blocks + 2} ({build.__name__}), {SHARE:.0%} of the FLOPs"
        self.allocation, self.budget = ALLOCATIONS.get("uniform")(), Budget("flops", SHARE)
        resize = [transforms.Resize((32, 32)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        files = torchvision.datasets.ImageFolder(str(images), transforms.Compose(resize))
        order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0)).tolist()
        cut = sizes.calibration, sizes.calibration + sizes.search
        self.files = [Subset(files, order[: cut[0]]), Subset(files, order[cut[0] : cut[1]])]
        calibration, search = (in_memory(part) for part in self.files)
        self.from_host = Passes(calibration, search, self.compute)
        self.passes = Passes(resident(calibration, self.compute), resident(search, self.compute), self.compute)
        recalibrate(self.network, calibration.batches(250))  # so that no activation grows without bound
        self.placed = self.compute.place(copy.deepcopy(self.network))
        self.draws = itertools.count(1000)

    def with_plain_shortcuts(self) -> Case:
        """Return the same with shortcuts that have no parameters (option A)."""
        return Case(self.folder, self.device, self.sizes, CifarResNet)

    # What is computed, in multiply-accumulates.

    def work_of(self, images: int, *, eights: bool = False) -> float:
        """Return what a candidate computes for so many images."""
        return float(images * self.structure.cost.flops(self.counts(eights=eights)))

    @property
    def recalibration(self) -> float:
        return self.work_of(self.sizes.calibration)

    @property
    def accuracy(self) -> float:
        return self.work_of(self.sizes.search)

    @property
    def work(self) -> float:
        return self.recalibration + self.accuracy

    # Candidates.

    def counts(self, *, eights: bool = False) -> dict[str, int]:
        """Return how many filters every group keeps, the same for all candidates; eights: rounded up to whole ones."""
        counts = dict(self._counts)
        if eights:
            widths = self.structure.widths
            counts = {group: min(widths[group], -(-count // 8) * 8) for group, count in counts.items()}
        return counts

    @cached_property
    def _counts(self) -> dict[str, int]:
        return dict(self.allocation.allocate(self.structure, self._scores(0), self.budget))

    def _scores(self, seed: int) -> dict[str, Tensor]:
        draws = torch.Generator().manual_seed(seed)
        return {group: torch.rand(width, generator=draws) for group, width in self.structure.widths.items()}

    def plans(self, count: int, seed: int = 0, *, eights: bool = False) -> list[Plan]:
        """Return so many different plans."""
        return [Plan.top(self._scores(100 * seed + k), self.counts(eights=eights)) for k in range(count)]

    def candidates(self, count: int, seed: int = 0, *, eights: bool = False) -> list[nn.Module]:
        """Return so many different candidates on the device, in evaluation mode."""
        plans = self.plans(count, seed, eights=eights)
        return [self.compute.place(self.structure.slice(self.placed, plan)).eval() for plan in plans]

    def _next_plan(self) -> Plan:
        return self.allocation.plan(self.structure, self._scores(next(self.draws)), self.budget)

    def slice_on_host(self) -> nn.Module:
        """Cut the next candidate on the host and copy it to the device."""
        return self.compute.place(self.structure.slice(self.network, self._next_plan()))

    def slice_on_device(self) -> nn.Module:
        """Cut the next candidate where it runs."""
        return self.compute.place(self.structure.slice(self.placed, self._next_plan()))

    # Whole evaluations.

    def context(self) -> ProxyContext:
        """Return what proxies work with; they put their images onto the device themselves."""
        network, host = copy.deepcopy(self.network), self.from_host
        splits = host.calibration, host.search, host.calibration
        return ProxyContext(network, self.structure, *splits, TrainingConfig(), self.compute)

    def proxy(self, kind: str) -> Proxy:
        """Return a proxy with its default settings."""
        proxy: Proxy = PROXIES.get(kind)()
        proxy.prepare(self.context())
        return proxy

    def estimate(self, kind: str) -> Callable[[], float]:
        """Return what evaluates the next candidate by a proxy: plan, slice, estimate."""
        proxy = self.proxy(kind)

        def evaluated() -> float:
            plan = self._next_plan()
            return proxy.estimate(self.structure.slice(proxy.context.network, plan), plan).value

        return evaluated

    def estimated_work(self, kind: str) -> float:
        """Return what the forward passes of an evaluation by a proxy compute."""
        refitted = min(REFITTED, self.sizes.calibration)
        return self.work if kind == "bn_recalibrated" else self.accuracy + self.work_of(refitted)

    def from_files(self) -> list[Iterable[Any]]:
        """Return loaders of both parts, as one writes them."""
        workers = 4 if self.device.startswith("cuda") else 0
        return [DataLoader(part, batch_size=500, num_workers=workers, pin_memory=workers > 0) for part in self.files]

    def on_device(self) -> list[Iterable[Any]]:
        """Return the batches of both parts from tensors on the device."""
        return [part.batches(500) for part in (self.passes.calibration, self.passes.search)]

    def usual(self, read: Callable[[], list[Iterable[Any]]]) -> float:
        """Return a candidate's accuracy as in the loop that everyone writes."""
        compute = Compute(self.device)
        network = compute.place(copy.deepcopy(self.network))
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        tp.pruner.MagnitudePruner(
            network,
            torch.randn(1, 3, 32, 32, device=self.device),
            importance=tp.importance.MagnitudeImportance(p=1),
            pruning_ratio=PRUNING_RATIO,
            ignored_layers=[last],
        ).step()
        calibration, search = read()
        recalibrate(network, calibration, compute)
        return evaluate(network, search, compute).accuracy

    def larger(self) -> dict[int, Passes]:
        """Return passes over more search images, of noise."""
        draws, found = torch.Generator().manual_seed(0), {}
        for count in self.sizes.larger:
            pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=draws)
            images = ImageTensors(pixels, torch.arange(count) % 10, MEAN, STD)
            found[count] = replace(self.passes, search=resident(images, self.compute))
        return found

    def refits(self, width: int) -> dict[str, Callable[[], object]]:
        """Return the least squares of a layer of `width` channels on maps of 8 x 8, by patches and by windows."""
        torch.manual_seed(0)
        layer = nn.Conv2d(width, width, 3, padding=1, bias=False).to(self.device)
        x = torch.randn(REFITTED if not self.sizes.small else 16, width, 8, 8, device=self.device).relu()
        windows = windows_for(layer, len(x), (8, 8), 20_000, torch.Generator().manual_seed(0))
        assert windows is not None
        windows = windows.to(x.device)
        index = windows.index(8, 8)
        wanted, start = torch.randn(len(index), width, device=self.device), effective_weight(layer, None)
        return {
            "patches": lambda: RowSquares(patches(layer, x, index), wanted, True).solve(start, 1e-3),
            "windows": lambda: WindowSquares(layer, x, windows, wanted, True).solve(start, 1e-3),
        }

    # Time.

    def synchronise(self) -> None:
        """Wait for all that was begun on the device."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def seconds_of(self, action: Callable[[], Any], candidates: int = 1) -> float:
        """Return how long an action takes for each of so many candidates: repeated for a turn, at least twice."""
        self._finish(action)
        start, count = time.perf_counter(), 0
        while count < 2 or time.perf_counter() - start < self.sizes.turn:
            self._finish(action)
            count += 1
        return (time.perf_counter() - start) / count / candidates

    def _finish(self, action: Callable[[], Any]) -> None:
        """Do something to its end, as a search does: it goes by the value of each."""
        action()
        self.synchronise()


def in_memory(part: Subset[Any]) -> ImageTensors:
    """Return files decoded, 32 x 32."""
    samples: Any = part.dataset
    pixels = [np.array(Image.open(samples.imgs[k][0]).convert("RGB").resize((32, 32))) for k in part.indices]
    labels = torch.tensor([samples.targets[k] for k in part.indices])
    return ImageTensors(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(), labels, MEAN, STD)
