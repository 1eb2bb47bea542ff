"""What one candidate costs here and in the loop that everyone writes, side by side and by turns in one run.

    python scripts/bench_engine.py [--networks resnet20 vgg16_bn] [--turns 3] [--images CLASS_FOLDER]
    python scripts/bench_engine.py --networks resnet50:224 --calibration 100 --search 200 --precisions float32

(a) the usual loop: deepcopy, Torch-Pruning's pruner, a DataLoader over image files, float32, batch norm recalibrated on
the calibration images (1,000), accuracy on the search images (2,000); (b) the same with images as tensors;
(c) the floor: the forward passes alone of a network that is sliced already. Beside them whole evaluations of this
engine: genome, blend, plan, slice, proxy, ledger. Random weights, half of the FLOPs; images are random too where no
folder is given. CPU seconds of one thread: candidates are what is worth doing side by side.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch_pruning as tp
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision import transforms

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.blending import Clusters
from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.data.batches import ImageTensors
from blendsearch.evolution.fitness import Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.ledger import Ledger
from blendsearch.models.zoo import MODELS
from blendsearch.proxies import PROXIES, Proxy, ProxyContext
from blendsearch.structure import Structure
from blendsearch.training.evaluation import evaluate, recalibrate

BATCH = 500
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RATIOS = {"vgg16_bn": 0.294, "resnet18": 0.294, "resnet50": 0.294}
"""Share of every layer's filters that Torch-Pruning removes to leave half of the FLOPs."""
PRECISIONS = ("bfloat16", "float32")
CRITERIA = ("l1", "l2", "fpgm", "taylor", "apoz", "fisher")


def random_images(folder: Path, size: int, count: int) -> Path:
    """Write as many JPEG files as are needed, in ten class folders."""
    draws = np.random.default_rng(0)
    for number in range(count):
        file = folder / str(number % 10) / f"{number}.jpg"
        file.parent.mkdir(exist_ok=True)
        coarse = draws.integers(0, 256, (4, 4, 3), dtype=np.uint8)  # files of the usual size, not of noise
        Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(file)
    return folder


class Bench:
    """One network, its images as files and as tensors, and everything that is timed.

    counts: of calibration and of search images.
    """

    def __init__(
        self,
        name: str,
        size: int,
        images: Path,
        ledger: Ledger,
        counts: tuple[int, int],
        precisions: Sequence[str],
    ) -> None:
        torch.manual_seed(0)
        self.name, self.ledger, self.recorded = name, ledger, 0
        self.computes = [Compute("cpu", precision, True) for precision in precisions]
        torch_names = ("resnet18", "resnet50")
        build = getattr(torchvision.models, name) if name in torch_names else None
        self.network: nn.Module = (
            build(num_classes=10) if build else MODELS.get(name)(num_classes=10, in_channels=3, image_size=size)
        ).eval()
        self.example = torch.randn(2, 3, size, size)
        resize = [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        files = torchvision.datasets.ImageFolder(str(images), transforms.Compose(resize))
        order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0)).tolist()
        calibration, search = counts
        self.files = [Subset(files, order[:calibration]), Subset(files, order[calibration : calibration + search])]
        self.tensors = [self._in_memory(part) for part in self.files]
        self.structure = Structure.of(self.network, self.example)
        budget, allocation = Budget("flops", 0.5), ALLOCATIONS.get("uniform")()
        scores = {c: {g: torch.rand(width) for g, width in self.structure.widths.items()} for c in CRITERIA}
        self.planner = Planner(self.structure, scores, allocation, budget)
        groups = {"network": tuple(self.structure.widths)}
        self.genomes = GenomeSpace(Clusters("network", groups, {"network": tuple((c,) for c in CRITERIA)}))
        self.draws = np.random.default_rng(0)
        plan = self.planner.plan(self.genomes.decode(self.draws.random(self.genomes.size)))
        self.sliced = self.structure.slice(self.network, plan)
        self.proxies = {
            (kind, compute.precision): self._proxy(kind, compute)
            for kind in ("bn_recalibrated", "compensated")
            for compute in self.computes
        }

    def _in_memory(self, part: Subset) -> ImageTensors:
        pixels = [torch.from_numpy(np.array(Image.open(part.dataset.imgs[i][0]).convert("RGB"))) for i in part.indices]
        size = self.example.shape[-1]
        pixels = [transforms.functional.resize(one.permute(2, 0, 1), [size, size]) for one in pixels]
        return ImageTensors(
            torch.stack(pixels), torch.tensor([part.dataset.targets[i] for i in part.indices]), MEAN, STD
        )

    def _proxy(self, kind: str, compute: Compute) -> Proxy:
        proxy = PROXIES.get(kind)()
        calibration, search = self.tensors
        network = compute.place(copy.deepcopy(self.network))
        proxy.prepare(
            ProxyContext(network, self.structure, calibration, search, calibration, TrainingConfig(), compute)
        )
        return proxy

    def contenders(self) -> dict[str, Callable[[], object]]:
        """Return what is timed, by name."""
        found: dict[str, Callable[[], object]] = {}
        for compute in self.computes:
            found[f"(c) forward passes alone, {compute.precision}"] = lambda c=compute: self._passes(c)
            found[f"accuracy pass alone, {compute.precision}"] = lambda c=compute: self._accuracy(c)
            for kind in ("bn_recalibrated", "compensated"):
                key = (kind, compute.precision)
                found[f"engine, {kind}, {compute.precision}"] = lambda k=key: self._evaluation(*k)
        if self.name in RATIOS:
            found["(b) Torch-Pruning, tensors, float32"] = lambda: self._usual(self._from_memory)
            found["(a) Torch-Pruning, DataLoader, float32"] = lambda: self._usual(self._from_files)
        found["all but the passes: genome, plan, slice, ledger"] = self._all_but_passes
        found["slice"] = lambda: self.structure.slice(self.network, self._plan())
        return found

    def _plan(self) -> object:
        return self.planner.plan(self.genomes.decode(self.draws.random(self.genomes.size)))

    def _passes(self, compute: Compute) -> None:
        network = compute.place(self.sliced)
        for part in self.tensors:
            evaluate(network, part.batches(BATCH), compute)

    def _accuracy(self, compute: Compute) -> None:
        evaluate(compute.place(self.sliced), self.tensors[1].batches(BATCH), compute)

    def _record(self, genome: np.ndarray, value: float) -> None:
        self.ledger.record(self.recorded, 0, self.genomes.params(genome), value, 1.0)
        self.recorded += 1

    def _evaluation(self, kind: str, precision: str) -> None:
        genome = self.draws.random(self.genomes.size)
        plan = self.planner.plan(self.genomes.decode(genome))
        proxy = self.proxies[kind, precision]
        found = proxy.estimate(self.structure.slice(proxy.context.network, plan), plan)
        self._record(genome, found.value)

    def _all_but_passes(self) -> None:
        genome = self.draws.random(self.genomes.size)
        plan = self.planner.plan(self.genomes.decode(genome))
        self.structure.slice(self.network, plan)
        self._record(genome, 0.5)

    def _from_memory(self) -> list[Iterator[tuple[Tensor, Tensor]]]:
        return [part.batches(BATCH) for part in self.tensors]

    def _from_files(self) -> list[Iterator[tuple[Tensor, Tensor]]]:
        return [iter(DataLoader(part, batch_size=BATCH)) for part in self.files]

    def _usual(self, read: Callable[[], list[Iterator[tuple[Tensor, Tensor]]]]) -> None:
        network = copy.deepcopy(self.network)
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        pruner = tp.pruner.MagnitudePruner(
            network,
            self.example[:1],
            importance=tp.importance.MagnitudeImportance(p=1),
            pruning_ratio=RATIOS[self.name],
            ignored_layers=[last],
        )
        pruner.step()
        calibration, search = read()
        recalibrate(network, calibration, Compute())
        evaluate(network, search, Compute())


def bench(name: str, size: int, images: Path, turns: int, counts: tuple[int, int], precisions: Sequence[str]) -> None:
    """Time everything by turns and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{folder}/trials.db", "bench")
        found = Bench(name, size, images, ledger, counts, precisions)
        contenders = found.contenders()
        taken: dict[str, list[float]] = {key: [] for key in contenders}
        for turn in range(turns + 1):
            for key, action in contenders.items():
                start = time.process_time()
                action()
                if turn:  # the first one warms up
                    taken[key].append(time.process_time() - start)
        ledger.close()
    seconds = {key: median(times) for key, times in taken.items()}
    floor, accuracy = (seconds[f"{key} alone, {precisions[0]}"] for key in ("(c) forward passes", "accuracy pass"))
    usual = seconds.get("(a) Torch-Pruning, DataLoader, float32")
    print(f"\n{name}, {size} pixels, {counts[0]} and {counts[1]} images, {turns} turns\n")
    print("| | seconds | x floor (c) | x accuracy pass | (a) / this |\n|---|---|---|---|---|")
    for key, value in seconds.items():
        faster = f"{usual / value:.2f}" if usual else "-"
        print(f"| {key} | {value:.3f} | {value / floor:.3f} | {value / accuracy:.2f} | {faster} |", flush=True)


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["resnet20", "resnet56", "vgg16_bn", "resnet18:64"])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--images", type=Path, help="class folders of enough images; random ones else")
    parser.add_argument("--calibration", type=int, default=1000)
    parser.add_argument("--search", type=int, default=2000)
    parser.add_argument("--precisions", nargs="*", choices=PRECISIONS, default=PRECISIONS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for one in arguments.networks:
        name, _, size = one.partition(":")
        with tempfile.TemporaryDirectory() as folder:
            pixels, counts = int(size or 32), (arguments.calibration, arguments.search)
            images = arguments.images or random_images(Path(folder), pixels, sum(counts))
            bench(name, pixels, images, arguments.turns, counts, arguments.precisions)


if __name__ == "__main__":
    main()
