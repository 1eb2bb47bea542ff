"""What one evaluation of a candidate costs, part by part, as ratios to a plain evaluation in the same run.

Usage: .venv/bin/python scripts/bench_evaluation.py [--model resnet20] [--threads 2] [--precision bfloat16]

The candidate keeps half of the FLOPs. Images are random: costs do not depend on what they show.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.compute import Compute
from blendsearch.data.batches import ImageTensors
from blendsearch.models.zoo import MODELS
from blendsearch.structure import Structure
from blendsearch.training import Compensation, evaluate, recalibrate

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def median_seconds(action: Callable[[], object], repeats: int) -> float:
    """Time an action a few times, after one warm-up."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return median(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20", choices=MODELS.names())
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    compute = Compute("cpu", arguments.precision, channels_last=True)
    network = MODELS.get(arguments.model)(num_classes=10, in_channels=3, image_size=32)
    pixels, labels = torch.randint(0, 256, (2000, 3, 32, 32), dtype=torch.uint8), torch.randint(0, 10, (2000,))
    split = ImageTensors(pixels, labels, MEAN, STD)
    structure = Structure.of(network, torch.randn(2, 3, 32, 32))
    scores = {name: torch.rand(width) for name, width in structure.widths.items()}
    plan = ALLOCATIONS.get("uniform")().plan(structure, scores, Budget("flops", 0.5))
    half = compute.place(structure.slice(network, plan))
    images = torch.cat([batch for batch, _ in split.take(512).batches(512)])
    compensation = Compensation(compute.place(network), structure, images, compute=compute)
    calibration = split.take(1000)

    def compensate() -> None:
        compensation.refit(compute.place(structure.slice(network, plan)), plan)

    parts: dict[str, Callable[[], object]] = {
        "accuracy of the full network, 2000 images": lambda: evaluate(network, split.batches(500), compute),
        "accuracy of the candidate, 2000 images": lambda: evaluate(half, split.batches(500), compute),
        "batch norm from 1000 images": lambda: recalibrate(half, calibration.batches(250), compute),
        "slice and compensate, 512 images": compensate,
        "slice": lambda: structure.slice(network, plan),
        "plan (allocation and top scores)": lambda: ALLOCATIONS.get("uniform")().plan(
            structure, scores, Budget("flops", 0.5)
        ),
        "structure (once per network)": lambda: Structure.of(network, torch.randn(2, 3, 32, 32)),
    }
    seconds = {name: median_seconds(action, arguments.repeats) for name, action in parts.items()}
    unit = seconds["accuracy of the candidate, 2000 images"]
    print(f"{arguments.model}, {arguments.precision}, {arguments.threads} threads, half of the FLOPs kept")
    for name, value in seconds.items():
        print(f"{name:45s} {1000 * value:9.1f} ms {value / unit:7.3f} x")


if __name__ == "__main__":
    main()
