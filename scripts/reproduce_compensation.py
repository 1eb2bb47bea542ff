"""Least-squares compensation instead of retraining: accuracy against the number of images, no labels needed.

Usage: .venv/bin/python scripts/reproduce_compensation.py [--space FILE] [--by l2,taylor] [--out FOLDER] [KEY=VALUE ...]

Prunes the space's network (default search_spaces/digits.yaml) by each criterion in one shot and reads the test
accuracy of: the sliced network, batch norm recalibrated on the calibration images, compensation on 100 to 10,000
images (calibration first, then training images, as many as there are), and retraining on the space's terms.
Prints a table and writes compensation.json. No choice is made on the numbers: they are all reported.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from blendsearch.compute import child_seed, threads
from blendsearch.criteria import score_groups
from blendsearch.errors import BlendsearchError
from blendsearch.experiment.experiment import (
    Experiment,
    calibration_statistics,
    prepare_allocation,
    train_unpruned,
    unlabelled,
)
from blendsearch.progress import silent
from blendsearch.results.run_folder import RunFolder
from blendsearch.results.versions import versions
from blendsearch.schedules import Refit
from blendsearch.structure import Plan
from blendsearch.training import evaluate, recalibrate, train
from blendsearch.validation.space import load_checked

COUNTS = (100, 300, 1000, 3000, 10_000)


class Measured:
    """Rows of the table: what was done to the pruned network, how many images it saw, seconds, test accuracy."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.rows: list[dict[str, Any]] = []

    def add(self, by: str, what: str, images: int, network: nn.Module, action: Callable[[], object]) -> None:
        """Do something to a network and read its test accuracy."""
        start = time.perf_counter()
        action()
        seconds = time.perf_counter() - start
        experiment = self.experiment
        accuracy = evaluate(
            experiment.compute.place(network), experiment.splits.test.batches(500), experiment.compute
        ).accuracy
        row = {"by": by, "what": what, "images": images, "test_accuracy": accuracy, "seconds": round(seconds, 2)}
        self.rows.append(row)
        print(f"{by:20s} {what:14s} {images:7d} {100 * accuracy:8.2f} % {seconds:9.1f} s", flush=True)


def measure(measured: Measured, by: str, plan: Plan, counts: list[int], positions: int) -> None:
    """Fill the rows of one criterion."""
    experiment = measured.experiment
    structure, splits, compute, seed = (
        experiment.structure,
        experiment.splits,
        experiment.compute,
        experiment.space.seed,
    )

    def cut() -> nn.Module:
        return compute.place(structure.slice(experiment.network, plan)).eval()

    measured.add(by, "sliced", 0, cut(), lambda: None)
    one = cut()
    calibration = splits.calibration
    measured.add(by, "recalibrated", len(calibration), one, lambda: recalibrate(one, calibration.batches(250), compute))
    images = unlabelled((calibration, splits.train), max(counts), child_seed(seed, "compensation"))
    for count in counts:
        pruned = cut()
        refit = Refit(images[:count], positions)
        arguments = (experiment.network, structure, pruned, plan, compute, seed)
        measured.add(by, "compensated", count, pruned, lambda refit=refit, given=arguments: refit(*given))
    trained = cut()
    config = experiment.space.retraining
    shown = round(config.epochs * len(splits.train))
    measured.add(
        by, "retrained", shown, trained,
        lambda: train(trained, splits.train, config, seed=child_seed(seed, "retraining", 0), compute=compute),
    )  # fmt: skip


def main() -> None:
    """Print the table of all criteria."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", type=Path, default=Path("search_spaces/digits.yaml"))
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--by", default="l2,taylor", help="criteria, with commas between")
    parser.add_argument("--positions", type=int, default=20_000, help="output positions per layer")
    parser.add_argument("--out", type=Path, help="folder for compensation.json (default runs/compensation/NAME)")
    arguments = parser.parse_args()
    space = load_checked(arguments.space, arguments.overrides)
    names = arguments.by.split(",")
    folder = RunFolder(arguments.out or Path("runs") / "compensation" / space.name)
    experiment = Experiment(space, silent)
    with threads(space.compute.threads):
        baseline = train_unpruned(experiment, folder)
        experiment.compute.place(experiment.network)
        unpruned = evaluate(experiment.network, experiment.splits.test.batches(500), experiment.compute).accuracy
        scores = score_groups(experiment.structure, calibration_statistics(experiment, names), names)
        allocation = prepare_allocation(experiment, folder)
        available = len(experiment.splits.calibration) + len(experiment.splits.train)
        counts = [count for count in COUNTS if count < available] + ([available] if available < COUNTS[-1] else [])
        print(
            f"{space.name}: {100 * unpruned:.2f} % before pruning, {experiment.budget.ratio:g} of {experiment.budget.kind} kept"
        )
        print(f"{'criterion':20s} {'what':14s} {'images':>7s} {'test accuracy':>10s}")
        measured = Measured(experiment)
        for name in names:
            plan = allocation.plan(experiment.structure, scores[name], experiment.budget)
            measure(measured, name, plan, counts, arguments.positions)
    folder.write_json(
        "compensation.json",
        {
            "space": space.to_dict(),
            "unpruned": {"test_accuracy": unpruned, **baseline},
            "positions": arguments.positions,
            "rows": measured.rows,
            "versions": versions(),
        },
    )


if __name__ == "__main__":
    try:
        main()
    except BlendsearchError as error:
        sys.exit(str(error))
