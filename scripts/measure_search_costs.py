"""What one candidate of a search costs in the main process, what travels to a worker, and what images cost.

Usage: .venv/bin/python scripts/measure_search_costs.py [--networks conv4 resnet20 resnet50] [--trials 10000]
           [--turns 5] [--out costs.json]

Everything is the code that a campaign runs, with random weights, images, scores and fitness, on which no time depends:
`plan` genome -> blend -> plan, of a rank blend and of a set-aware one whose eliminations are new; `slice` of that plan;
`propose` and `learn` of the algorithms; `record` in a ledger in a new SQLite file; `save` of a search's state as a
generation ends. A worker's state is pickled. resnet50 is torchvision's at 224 x 224. Prints tables; --out keeps them.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.blending import Clusters
from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.criteria.elimination import NEEDS, drop_losses
from blendsearch.data.batches import ImageTensors
from blendsearch.evolution.algorithms import ALGORITHMS, SearchAlgorithm, Settings
from blendsearch.evolution.fitness import Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.ledger import Ledger
from blendsearch.files import atomic
from blendsearch.models.zoo import MODELS
from blendsearch.proxies import PROXIES, ProxyContext
from blendsearch.statistics import gather
from blendsearch.structure import Structure
from blendsearch.training.evaluation import evaluate

CRITERIA, CLUSTERS = 40, 12
"""As a campaign of all criteria has them; blends of one unit for the whole network."""
MARKS = (10, 100, 1000, 3000, 10000)
SIZES = {"conv4": (1, 8), "resnet20": (3, 32), "resnet50": (3, 224)}
KEPT = 0.3


def seconds_of(work: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> float:
    """Return how long something takes, once: of this process on one core, so that others beside it do not count."""
    start = clock()
    work()
    return clock() - start


def network_of(name: str) -> nn.Module:
    """Return a network with random weights."""
    if name == "resnet50":
        from torchvision.models import resnet50

        return resnet50(weights=None).eval()
    channels, size = SIZES[name]
    return MODELS.get(name)(num_classes=10, in_channels=channels, image_size=size).eval()


def images_of(name: str, count: int) -> Tensor:
    """Return random images, uint8 [count, C, H, W]."""
    channels, size = SIZES[name]
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)


def genomes_of(structure: Structure, *, set_aware: bool) -> GenomeSpace:
    """Return the blends of made-up criteria, evenly in clusters."""
    names = [f"criterion{number}" for number in range(CRITERIA)]
    members = tuple(tuple(names[number::CLUSTERS]) for number in range(CLUSTERS))
    groups = tuple(group.name for group in structure.groups)
    return GenomeSpace(Clusters("network", {"network": groups}, {"network": members}), set_aware=set_aware)


def measure_planning(name: str, turns: int) -> dict[str, float]:
    """Return the seconds from a genome to a plan, and of slicing the network by it; medians, and the first of all."""
    torch.manual_seed(0)
    network, images = network_of(name), images_of(name, 16).float() / 255
    structure = Structure.of(network, images[:2])
    labels = torch.randint(10, (len(images),))
    statistics = gather(network, structure, [(images[:8], labels[:8]), (images[8:], labels[8:])], NEEDS)
    scores = {
        f"criterion{number}": {group.name: torch.rand(group.width) for group in structure.groups}
        for number in range(CRITERIA)
    }
    planner = Planner(
        structure, scores, ALLOCATIONS.get("uniform")(), Budget("flops", KEPT), drop_losses(structure, statistics)
    )
    found: dict[str, float] = {}
    rng = np.random.default_rng(0)
    for kind in ("rank", "set_aware"):
        genomes = genomes_of(structure, set_aware=kind == "set_aware")
        drawn = [genomes.random(rng) for _ in range(1 + turns)]
        for genome in drawn:
            genome[genomes.alpha_genes] = 0.7
        blends = [genomes.decode(genome) for genome in drawn]
        taken = [seconds_of(partial(planner.plan, blend)) for blend in blends]
        found |= {f"plan_{kind}": median(taken[1:]), f"plan_{kind}_first": taken[0]}
        plan = planner.plan(blends[-1])
    found["slice"] = median(seconds_of(lambda: structure.slice(network, plan)) for _ in range(turns))
    return found


def measure_state(name: str, calibration: int, search: int, positions: int = 20_000) -> dict[str, float]:
    """Return the bytes of a prepared proxy's pickle, in all and by part; train: as few images as there are classes.

    targets: what the unpruned network gives at so many positions of each layer. Measured at a tenth of the images
    and positions, to which all but the networks are proportional where layers have that many positions.
    """
    torch.manual_seed(0)
    network = network_of(name)
    channels, size = SIZES[name]
    mean, std = (0.5,) * channels, (0.25,) * channels

    def part(count: int) -> ImageTensors:
        return ImageTensors(images_of(name, count), torch.randint(10, (count,)), mean, std)

    def pickled(calibration: int, search: int, positions: int) -> int:
        proxy = PROXIES.get("compensated")(images=calibration, positions=positions)
        structure = Structure.of(network, torch.zeros(2, channels, size, size))
        context = ProxyContext(
            network, structure, part(calibration), part(search), part(2), TrainingConfig(), Compute()
        )
        proxy.prepare(context)
        return len(pickle.dumps(proxy, protocol=pickle.HIGHEST_PROTOCOL))

    tenth, tenth_searched, few = calibration // 10, search // 10, positions // 10
    base = pickled(tenth, 1, few)
    searched = (pickled(tenth, 1 + tenth_searched, few) - base) * 10
    targets = (base - pickled(tenth, 1, few // 2)) * 20
    both = (pickled(2 * tenth, 1, few) - base) * 10
    networks = base - (both + searched / tenth_searched + targets) / 10
    return {
        "bytes": networks + searched + targets + both,
        "networks": networks,
        "search_images": searched,
        "calibration_images": both,
        "targets": targets,
    }


def measure_image(name: str, count: int) -> float:
    """Return the seconds of one image's forward pass on one core, in batches of up to 64."""
    network, images = network_of(name), images_of(name, count).float() / 255
    labels = torch.zeros(count, dtype=torch.long)
    batches = list(zip(images.split(64), labels.split(64), strict=True))
    compute = Compute()
    evaluate(network, batches[:1], compute)
    return seconds_of(lambda: evaluate(network, batches, compute)) / count


def step(algorithm: SearchAlgorithm) -> None:
    """Tell the oldest genome and ask for another."""
    algorithm.tell([algorithm.pending[0]], [0.5])
    algorithm.ask(1)


def measure_algorithms(trials: int, population: int) -> dict[str, dict[str, float]]:
    """Return seconds a candidate of asking and telling, one by one in a window, after so many were told."""
    structure = Structure.of(network_of("conv4"), torch.zeros(2, 1, 8, 8))
    genomes = genomes_of(structure, set_aware=False)
    rng = np.random.default_rng(0)
    result: dict[str, dict[str, float]] = {}
    for name in ("generational", "mu_plus_lambda", "tpe"):
        result[name] = {}
        for mark in (mark for mark in MARKS if mark <= trials):
            algorithm = ALGORITHMS.get(name)(genomes, seed=0, settings=Settings(population=population))
            drawn = [genomes.random(rng) for _ in range(mark)]
            algorithm.tell(drawn, rng.random(mark).tolist())
            algorithm.ask(population // 2)

            result[name][str(mark)] = median(seconds_of(partial(step, algorithm)) for _ in range(5))
    return result


def measure_ledger(trials: int) -> dict[str, float]:
    """Return seconds a trial of recording, around so many trials, in a new file; 24 genes and what a search notes."""
    result: dict[str, float] = {}
    names = [f"network/cluster{number}/{gene}" for number in range(CLUSTERS) for gene in ("member", "factor")]
    rng = np.random.default_rng(0)
    attrs = {"plan": "0" * 64, "repeated": False, "passes": 1000, "unit": "network"}
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{folder}/trials.db", "measured")
        taken: list[float] = []
        waited: list[float] = []
        for number in range(trials):
            params = dict(zip(names, rng.random(len(names)).tolist(), strict=True))
            record = partial(ledger.record, number, number // 24, params, 0.5, 1.0, attrs=attrs)
            start = time.perf_counter()
            taken.append(seconds_of(record))
            waited.append(time.perf_counter() - start)
            if number + 1 in MARKS:
                result[str(number + 1)] = median(taken[-50:])
                result[f"{number + 1} with the disk"] = median(waited[-50:])
        ledger.close()
    return result


def save(algorithm: SearchAlgorithm, state: dict[str, Any], place: Path) -> None:
    """Write a search's state as a campaign does."""
    with atomic(place) as file:
        file.write_text(json.dumps({**state, "backend": algorithm.state_dict()}, indent=1, allow_nan=False) + "\n")


def measure_saving(trials: int, population: int) -> dict[str, dict[str, float]]:
    """Return seconds and bytes of writing a search's state after so many trials, which a generation ends with."""
    genomes = genomes_of(Structure.of(network_of("conv4"), torch.zeros(2, 1, 8, 8)), set_aware=False)
    rng = np.random.default_rng(0)
    result: dict[str, dict[str, float]] = {}
    for name in ("generational", "tpe"):
        for mark in (mark for mark in MARKS if mark <= trials):
            algorithm = ALGORITHMS.get(name)(genomes, seed=0, settings=Settings(population=population))
            algorithm.tell([genomes.random(rng) for _ in range(mark)], rng.random(mark).tolist())
            state = {"known": {f"{number:064d}": [0.5, 1.0, 1000] for number in range(mark)}}
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder) / "search.json"
                seconds = median(seconds_of(partial(save, algorithm, state, place)) for _ in range(3))
                result[f"{name} {mark}"] = {"seconds": seconds, "bytes": place.stat().st_size}
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"torch": torch.__version__, "load": os.getloadavg()[0]}
    for name in given.networks:
        few = name == "resnet50"
        found[name] = {
            **measure_planning(name, given.turns),
            "image": measure_image(name, 16 if few else 512),
            "state": measure_state(name, *((512, 2000) if few else (512, 1000))),
        }
        print(name, json.dumps(found[name]), flush=True)
    found["ask_and_tell"] = measure_algorithms(given.trials, 24)
    print("ask and tell", json.dumps(found["ask_and_tell"]), flush=True)
    found["saving"] = measure_saving(given.trials, 24)
    print("saving", json.dumps(found["saving"]), flush=True)
    found["record"] = measure_ledger(given.trials)
    print("record", json.dumps(found["record"]), flush=True)
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
