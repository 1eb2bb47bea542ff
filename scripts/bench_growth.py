"""How time and memory grow with filters, layers, criteria, samples and trials; prints the table, draws the figure.

    python scripts/bench_growth.py [--axes filters layers criteria samples trials] [--turns 3] [--out docs/pictures]

Each point is measured in a process of its own, on one thread: seconds of CPU time, the median of some turns, and by how
much the memory at its highest is above that before, as Linux counts it. The power is that of size with which time grew
over the last two points: 1 is a straight line. Weights, images, scores and fitness are random.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.blending import Clusters, cluster, rank_all
from blendsearch.criteria import CRITERIA, ScoringSetup, drop_losses, score_network
from blendsearch.criteria.elimination import NEEDS
from blendsearch.evolution.algorithms import ALGORITHMS
from blendsearch.evolution.fitness import Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.ledger import Ledger
from blendsearch.models.zoo import MODELS, CifarResNet
from blendsearch.progress import silent
from blendsearch.statistics import gather
from blendsearch.structure import Structure

AXES: dict[str, tuple[int, ...]] = {
    "filters": (96, 192, 384, 768, 1536),
    "layers": (20, 56, 110, 218),
    "criteria": (5, 10, 20, 40),
    "samples": (64, 128, 256, 512, 1024),
    "trials": (10, 100, 1000, 10_000),
}
CHEAP = ("l1", "taylor", "apoz")
Point = tuple[str, float, float]
"""What was measured, seconds of CPU time, megabytes."""


class Meter:
    """Measures actions: CPU seconds, and megabytes above what the process had before."""

    def __init__(self, turns: int) -> None:
        self.turns, self.found = turns, list[Point]()

    def __call__(self, what: str, action: Callable[[], object], turns: int | None = None) -> None:
        """Measure an action, after one turn that warms up unless only one is asked for."""
        turns = turns or self.turns
        before, seconds = _reset_peak(), []
        if turns > 1:
            action()
        for _ in range(turns):
            start = time.process_time()
            action()
            seconds.append(time.process_time() - start)
        self.found.append((what, median(seconds), max(0.0, _memory("VmHWM") - before)))


def _memory(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def _reset_peak() -> float:
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before is given back, so that it is not used unseen
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _planner(structure: Structure, criteria: int = 6, losses: object = None) -> tuple[Planner, GenomeSpace]:
    names = [f"criterion{number}" for number in range(criteria)]
    scores = {name: {group: torch.rand(width) for group, width in structure.widths.items()} for name in names}
    clusters = Clusters("network", {"network": tuple(structure.widths)}, {"network": tuple((one,) for one in names)})
    genomes = GenomeSpace(clusters, set_aware=losses is not None)
    return Planner(structure, scores, ALLOCATIONS.get("uniform")(), Budget("flops", 0.5), losses or {}), genomes


def _plan(planner: Planner, genomes: GenomeSpace, draws: np.random.Generator) -> object:
    genome = genomes.random(draws)
    genome[genomes.alpha_genes] = 0.7
    return planner.plan(genomes.decode(genome))


def _machinery(network: nn.Module, size: int, meter: Meter) -> None:
    """Measure all that a candidate costs beside its passes."""
    images, labels = torch.randn(64, 3, size, size), torch.randint(10, (64,))
    Structure.of(
        MODELS.get("conv4")(num_classes=2, in_channels=3, image_size=8), images[:2], progress=silent
    )  # imports
    meter("structure, once", lambda: Structure.of(network, images[:2], progress=silent), turns=1)
    structure = Structure.of(network, images[:2], progress=silent)
    draws = np.random.default_rng(0)
    planner, genomes = _planner(structure)
    plan = _plan(planner, genomes, draws)
    meter("plan of a rank blend", lambda: _plan(planner, genomes, draws))
    meter("slice", lambda: structure.slice(network, plan))
    losses = drop_losses(structure, gather(network, structure, [(images, labels)], NEEDS))
    aware, genomes_of_aware = _planner(structure, losses=losses)
    meter("plan of a set-aware blend", lambda: _plan(aware, genomes_of_aware, draws))
    meter("forward pass of 64 images", lambda: _forward(structure.slice(network, plan), images))


def _forward(network: nn.Module, images: Tensor) -> object:
    with torch.no_grad():
        return network(images)


def measure_filters(filters: int, meter: Meter) -> None:
    """A network of four convolutions, wider and wider."""
    network = MODELS.get("conv4")(num_classes=10, in_channels=3, image_size=16, width=filters // 6)
    _machinery(network.eval(), 16, meter)


def measure_layers(layers: int, meter: Meter) -> None:
    """ResNets for CIFAR, deeper and deeper."""
    _machinery(CifarResNet((layers - 2) // 6, 10, 3).eval(), 32, meter)


def measure_criteria(count: int, meter: Meter) -> None:
    """ResNet-20: passes and scores of the first criteria of the list; made-up scores clustered, a blend of all."""
    network = MODELS.get("resnet20")(num_classes=10, in_channels=3, image_size=32).eval()
    images, labels = torch.randn(64, 3, 32, 32), torch.arange(64) % 10
    structure = Structure.of(network, images[:2], progress=silent)
    names = [name for name in CRITERIA.names() if "ratings" not in CRITERIA.get(name).needs][:count]
    batches = [(images[:32], labels[:32]), (images[32:], labels[32:])]
    meter("passes and scores", lambda: score_network(network, structure, batches, names, ScoringSetup()), turns=1)
    made_up = {f"c{number}": {g: torch.rand(w) for g, w in structure.widths.items()} for number in range(count)}
    ranked = rank_all(made_up)
    meter("clusters", lambda: cluster(ranked, structure.units("network"), unit="network"))
    planner, genomes = _planner(structure, count)
    draws = np.random.default_rng(0)
    meter("plan of a rank blend", lambda: _plan(planner, genomes, draws))


def measure_samples(samples: int, meter: Meter) -> None:
    """ResNet-20, three criteria."""
    network = MODELS.get("resnet20")(num_classes=10, in_channels=3, image_size=32).eval()
    structure = Structure.of(network, torch.randn(2, 3, 32, 32), progress=silent)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        draws = torch.Generator().manual_seed(0)
        for _ in range(samples // 32):
            yield torch.randn(32, 3, 32, 32, generator=draws), torch.randint(10, (32,), generator=draws)

    meter("passes and scores", lambda: score_network(network, structure, batches(), CHEAP, ScoringSetup()), turns=1)


def measure_trials(trials: int, meter: Meter) -> None:
    """A trial of 26 genes, after so many: recording it, and asking for it and telling its fitness."""
    members = tuple((f"c{number}",) for number in range(13))
    genomes = GenomeSpace(Clusters("network", {"network": ("g",)}, {"network": members}))
    draws = np.random.default_rng(0)
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # the wait for a disk is the disk's
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        ledger, number = Ledger(f"sqlite:///{folder}/trials.db", "bench"), 0

        def record() -> None:
            nonlocal number
            attrs = {"plan": "0" * 16, "repeated": False, "passes": 2512, "unit": "network"}
            ledger.record(number, 0, genomes.params(genomes.random(draws)), 0.5, 1.0, attrs)
            number += 1

        while number < trials - 10:
            record()
        meter("recording one", record, turns=9)
        ledger.close()
        meter("reading the ledger, once", lambda: Ledger(f"sqlite:///{folder}/trials.db", "bench").trials(), turns=1)
    algorithm = ALGORITHMS.get("generational")(genomes, seed=0)

    def generation() -> None:
        asked = algorithm.ask(24)
        algorithm.tell(asked, [(float(value),) for value in draws.random(24)])

    for _ in range(max(0, trials // 24 - 5)):
        generation()
    meter("asking and telling 24", generation, turns=3)


MEASURES = {
    "filters": measure_filters,
    "layers": measure_layers,
    "criteria": measure_criteria,
    "samples": measure_samples,
    "trials": measure_trials,
}
Found = dict[str, dict[int, tuple[float, float]]]
"""What -> size -> seconds and megabytes."""


def measure(axis: str, turns: int) -> Found:
    """Return what was measured along an axis, each point in a process of its own."""
    found: Found = {}
    for size in AXES[axis]:
        command = [sys.executable, __file__, "--point", axis, str(size), "--turns", str(turns)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for what, seconds, megabytes in json.loads(done.stdout.splitlines()[-1]):
            found.setdefault(what, {})[size] = (seconds, megabytes)
    return found


def power(sizes: dict[int, tuple[float, float]]) -> float:
    """Return the power of the size with which the time grew over the last two points."""
    (one, (before, _)), (other, (after, _)) = list(sizes.items())[-2:]
    return math.log(after / before) / math.log(other / one)


def table(axis: str, found: Found) -> str:
    """Return the table of an axis in Markdown: milliseconds, and megabytes where they are some."""
    head = [axis, *(f"{size:,}" for size in AXES[axis]), "power", "MB at the last"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for what, sizes in found.items():
        numbers = [f"{1000 * seconds:.3g}" for seconds, _ in sizes.values()]
        lines.append(
            "| " + " | ".join([what, *numbers, f"{power(sizes):.1f}", f"{list(sizes.values())[-1][1]:.0f}"]) + " |"
        )
    return "\n".join(lines)


def draw(found: dict[str, Found], folder: Path) -> Path:
    """Draw all axes beside each other, time above memory, and return the file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, rows = pyplot.subplots(2, len(found), figsize=(3.3 * len(found), 6), squeeze=False)
    for column, (axis, measured) in enumerate(found.items()):
        for row, unit in enumerate(("CPU seconds", "MB above what was there")):
            axes = rows[row][column]
            for what, sizes in measured.items():
                heights = [max(one[row], 1e-6 if row == 0 else 0.1) for one in sizes.values()]
                axes.loglog(list(sizes), heights, marker="o", markersize=3, label=what)
            low, high = axes.get_ylim()
            low, high = min(low, (low * high) ** 0.5 / 10), max(high, (low * high) ** 0.5 * 10)
            ends = np.array([AXES[axis][0], AXES[axis][-1]], dtype=float)
            axes.loglog(ends, ends / ends[0] * (low * high) ** 0.5 / 3, color="0.7", linestyle="--", zorder=0)
            axes.set_ylim(low, high)
            axes.set_xticks(AXES[axis], [f"{size:,}" for size in AXES[axis]])
            axes.minorticks_off()
            axes.set_xlabel(axis)
            axes.set_ylabel(unit if column == 0 else "")
            if row == 0:
                axes.legend(fontsize=6, frameon=False)
    figure.tight_layout()
    file = folder / "growth.png"
    figure.savefig(file, dpi=110)
    return file


def machine() -> str:
    """Return what it was measured on, in words."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    model = cpu.partition(":")[2].strip() or platform.processor()
    return f"{model}, {os.cpu_count()} cores, one thread; Python {platform.python_version()}, torch {torch.__version__}"


def main() -> None:
    """Print a table for each axis and draw the figure, or measure one point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", nargs="*", default=list(AXES), choices=list(AXES))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, help="the folder of growth.png; nothing is drawn without it")
    parser.add_argument("--point", nargs=2, metavar=("AXIS", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if given.point:
        meter = Meter(given.turns)
        MEASURES[given.point[0]](int(given.point[1]), meter)
        print(json.dumps(meter.found))
        return
    print(machine())
    found = {}
    for axis in given.axes:
        found[axis] = measure(axis, given.turns)
        print(f"\n{table(axis, found[axis])}", flush=True)
    if given.out is not None:
        print(f"\nwrote {draw(found, given.out)}")


if __name__ == "__main__":
    main()
