"""Measures what Dask and Ray cost beside processes of this machine: small candidates, a round of each in turn.

Usage: .venv/bin/python scripts/bench_engines.py [--workers 2] [--candidates 60] [--rounds 5]
Prints a Markdown table: seconds until the first result, milliseconds a candidate, and the ratio to the engine local.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np
import torch

from blendsearch.config import ComputeConfig, DataConfig, ExecutionConfig, RetrainingConfig
from blendsearch.data.splits import load_splits
from blendsearch.evolution.engines.base import Engine
from blendsearch.evolution.engines.connecting import leave_all, make_engine
from blendsearch.evolution.fitness import FitnessFunction
from blendsearch.models.zoo import MODELS
from blendsearch.proxies import PROXIES, ProxyContext
from blendsearch.structure import Plan, Structure


def draw_plans(structure: Structure, count: int, rng: np.random.Generator) -> list[Plan]:
    """Return random plans that keep half of each group."""
    widths = structure.widths
    return [
        Plan(
            {
                name: tuple(sorted(rng.choice(width, width // 2, replace=False).tolist()))
                for name, width in widths.items()
            },
            dict(widths),
        )
        for _ in range(count)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"workers": 2, "candidates": 60, "rounds": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    splits = load_splits(DataConfig(name="digits", calibration=250, search=250, test=300), 0)
    torch.manual_seed(0)
    network = MODELS.get("conv4")(num_classes=10, in_channels=1, image_size=8, width=16)
    structure = Structure.of(network, next(splits.calibration.batches(2))[0])
    context = ProxyContext(
        network, structure, splits.calibration, splits.search, splits.train, RetrainingConfig(epochs=1)
    )
    compute = ComputeConfig(device="cpu", workers=given.workers)
    engines: dict[str, Engine | None] = {}
    fitness, first, seconds = {}, {}, {}
    rng = np.random.default_rng(0)
    for name in ("local", "dask", "ray"):
        start = time.perf_counter()
        workers = None if name == "local" else given.workers
        engines[name] = make_engine(ExecutionConfig(engine=name, workers=workers), compute, "cpu")
        fitness[name] = FitnessFunction(PROXIES.get("compensated")(images=100), context, engine=engines[name])
        fitness[name](draw_plans(structure, given.workers, rng))
        first[name], seconds[name] = time.perf_counter() - start, []
    for _ in range(given.rounds):
        for name, evaluate in fitness.items():
            plans = draw_plans(structure, given.candidates, rng)
            start = time.perf_counter()
            evaluate(plans)
            seconds[name].append((time.perf_counter() - start) / given.candidates)
    print("| engine | first result, s | a candidate, ms | to local |\n|---|---|---|---|")
    for name, times in seconds.items():
        ratio = median(one / local for one, local in zip(times, seconds["local"], strict=True))
        print(f"| {name} | {first[name]:.1f} | {1000 * median(times):.1f} | {ratio:.2f} |")
    leave_all()


if __name__ == "__main__":
    main()
