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
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from blendsearch.compute import threads
from blendsearch.errors import BlendsearchError
from blendsearch.experiment.experiment import Experiment, take_unlabelled
from blendsearch.experiment.scoring import score_calibration
from blendsearch.experiment.unpruned import prepare_allocation, read_test_accuracy, train_unpruned
from blendsearch.progress import silent
from blendsearch.results.run_folder import RunFolder, versions
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
        compute = self.experiment.compute
        accuracy = evaluate(compute.place(network), self.experiment.splits.test.batches(500), compute).accuracy
        row = {"by": by, "what": what, "images": images, "test_accuracy": accuracy, "seconds": round(seconds, 2)}
        self.rows.append(row)
        print(f"{by:20s} {what:14s} {images:7d} {100 * accuracy:8.2f} % {seconds:9.1f} s", flush=True)


def measure(measured: Measured, by: str, plan: Plan, counts: list[int], positions: int) -> None:
    """Fill the rows of one criterion."""
    experiment = measured.experiment
    structure, splits, compute = experiment.structure, experiment.splits, experiment.compute

    def cut() -> nn.Module:
        return compute.place(structure.slice(experiment.network, plan)).eval()

    measured.add(by, "sliced", 0, cut(), lambda: None)
    one = cut()
    calibration = splits.calibration
    measured.add(by, "recalibrated", len(calibration), one, lambda: recalibrate(one, calibration.batches(250), compute))
    images = take_unlabelled((calibration, splits.train), max(counts), experiment.seed("compensation"))
    for count in counts:
        pruned = cut()
        refit = Refit(images[:count], positions)
        arguments = (experiment.network, structure, pruned, plan, compute, experiment.space.seed)
        measured.add(by, "compensated", count, pruned, lambda refit=refit, given=arguments: refit(*given))
    trained = cut()
    config = experiment.space.retraining
    shown = round(config.epochs * len(splits.train))
    seed = experiment.seed("retraining", 0)
    retrain = partial(train, trained, splits.train, config, seed=seed, compute=compute)
    measured.add(by, "retrained", shown, trained, retrain)


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
    experiment = Experiment(space, silent, folder)
    with threads(space.compute.threads):
        unpruned = train_unpruned(experiment)
        accuracy = read_test_accuracy(experiment)
        scores = score_calibration(experiment, names).complete()
        allocation = prepare_allocation(experiment)
        available = len(experiment.splits.calibration) + len(experiment.splits.train)
        counts = [count for count in COUNTS if count < available] + ([available] if available < COUNTS[-1] else [])
        budget = experiment.budget
        print(f"{space.name}: {100 * accuracy:.2f} % before pruning, {budget.ratio:g} of {budget.kind} kept")
        print(f"{'criterion':20s} {'what':14s} {'images':>7s} {'test accuracy':>10s}")
        measured = Measured(experiment)
        for name in names:
            plan = allocation.plan(experiment.structure, scores[name], budget)
            measure(measured, name, plan, counts, arguments.positions)
    folder.write_json(
        "compensation.json",
        {
            "space": space.to_dict(),
            "unpruned": {**unpruned.to_dict(), "test_accuracy": accuracy},
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
