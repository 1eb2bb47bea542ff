"""What pruning without labels and without retraining comes to: closed form, then reconstruction, by images and steps.

Usage: .venv/bin/python scripts/reproduce_post_training.py [--space FILE] [--by fisher,l1] [--cells 1000:200,1000:400]
           [--out FOLDER] [KEY=VALUE ...]

Prunes the space's network (default search_spaces/digits.yaml) by each criterion in one shot, refits it in closed form
on the space's compensation images (the calibration images where it says nothing), and reconstructs that on so many
images in so many steps, each cell from the same start. Prints the test accuracy and seconds of each and writes
post_training.json. No choice is made on the numbers: they are all reported. Labels are the network's predictions.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from blendsearch.compute import threads
from blendsearch.config import ReconstructionConfig
from blendsearch.data.augmentation import Augmentation
from blendsearch.data.batches import UnlabelledImages
from blendsearch.errors import BlendsearchError
from blendsearch.experiment.experiment import Experiment, take_unlabelled
from blendsearch.experiment.scoring import score_calibration
from blendsearch.experiment.unpruned import prepare_allocation, read_test_accuracy, train_unpruned
from blendsearch.progress import silent
from blendsearch.results.run_folder import RunFolder, versions
from blendsearch.structure import Plan
from blendsearch.training import Reconstruction, evaluate
from blendsearch.validation.space import load_checked

PRUNES_ONLY = ["retraining.epochs=0", "data.labels=predicted"]


class Measured:
    """Rows of the table: what was done to the pruned network, with how many images and steps, and what it reached."""

    def __init__(self, experiment: Experiment, file: str) -> None:
        self.experiment, self.file = experiment, file
        self.rows: list[dict[str, Any]] = []

    def add(self, network: nn.Module, action: Callable[[], object], **what: Any) -> None:
        """Do something to a network, read its test accuracy, and write all rows so far."""
        start = time.perf_counter()
        action()
        seconds = time.perf_counter() - start
        compute = self.experiment.compute
        accuracy = evaluate(compute.place(network), self.experiment.splits.test.batches(500), compute).accuracy
        self.rows.append({**what, "test_accuracy": accuracy, "seconds": round(seconds, 1)})
        shown = "".join(f"{value!s:>15s}" for value in what.values())
        print(f"{shown} {100 * accuracy:8.2f} % {seconds:9.1f} s", flush=True)
        folder = self.experiment.folder
        content = {"space": self.experiment.space.to_dict(), "rows": self.rows, "versions": versions()}
        folder.write_json(self.file, content)


def measure(measured: Measured, by: str, plan: Plan, cells: list[tuple[int, int]]) -> None:
    """Fill the rows of one criterion."""
    experiment = measured.experiment
    structure, compute, refit = experiment.structure, experiment.compute, experiment.compensation
    assert refit is not None
    start = compute.place(structure.slice(experiment.network, plan)).eval()
    measured.add(start, lambda: None, by=by, what="sliced", images=0, steps=0)
    given = (experiment.network, structure, start, plan, compute, experiment.space.seed)
    measured.add(start, lambda: refit(*given), by=by, what="closed form", images=len(refit.images), steps=0)
    changes = experiment.space.data.augmentation
    parts = (experiment.splits.calibration, experiment.splits.train)
    for images, steps in cells:
        pruned = copy.deepcopy(start)
        sample = take_unlabelled(parts, images, experiment.seed("compensation"), "--cells")
        settings = (experiment.space.reconstruction or ReconstructionConfig()).model_copy(update={"steps": steps})
        further = Reconstruction(UnlabelledImages(sample, Augmentation(changes.crop_padding, changes.flip)), settings)

        def go_on(further: Reconstruction = further, pruned: nn.Module = pruned) -> None:
            further(experiment.network, structure, pruned, plan, compute=compute, seed=experiment.space.seed)

        measured.add(pruned, go_on, by=by, what="reconstruction", images=images, steps=steps)


def main() -> None:
    """Print the table of all criteria."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", type=Path, default=Path("search_spaces/digits.yaml"))
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--by", default="fisher,l1", help="criteria, with commas between")
    parser.add_argument("--cells", default="200:60,200:200", help="IMAGES:STEPS, with commas between")
    parser.add_argument("--out", type=Path, help="folder for post_training.json (default runs/post_training/NAME)")
    arguments = parser.parse_args()
    space = load_checked(arguments.space, [*PRUNES_ONLY, *arguments.overrides])
    cells = [
        (int(images), int(steps)) for images, _, steps in (one.partition(":") for one in arguments.cells.split(","))
    ]
    folder = RunFolder(arguments.out or Path("runs") / "post_training" / space.name)
    experiment = Experiment(space, silent, folder)
    with threads(space.compute.threads):
        train_unpruned(experiment)
        accuracy = read_test_accuracy(experiment)
        names = arguments.by.split(",")
        scores = score_calibration(experiment, names).complete()
        allocation, budget = prepare_allocation(experiment), experiment.budget
        print(f"{space.name}: {100 * accuracy:.2f} % before pruning, {budget.ratio:g} of {budget.kind} kept")
        print("".join(f"{head:>15s}" for head in ("criterion", "what", "images", "steps")), "test accuracy")
        measured = Measured(experiment, "post_training.json")
        for name in names:
            measure(measured, name, allocation.plan(experiment.structure, scores[name], budget), cells)


if __name__ == "__main__":
    try:
        main()
    except BlendsearchError as error:
        sys.exit(str(error))
