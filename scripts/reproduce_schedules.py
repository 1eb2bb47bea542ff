"""Schedules on equal terms: accuracy after as many optimiser steps, with several seeds, against one-shot.

Usage: .venv/bin/python scripts/reproduce_schedules.py search_spaces/progressive_digits.yaml --by class_separability
           [--schedules one_shot,progressive,iterative,from_scratch] [--seeds 5] [--out FOLDER] [KEY=VALUE ...]

Each seed trains a network of its own (unless the space says to take given weights as they are), on splits of its
own; all schedules of a seed start from it. The networks stay in FOLDER for the next time, which must be with the same
settings but for the schedules. Options in the space's `schedule` are those of that schedule here too.
Prints mean, standard deviation and the paired difference to one-shot with its 95 % interval; writes schedules.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from blendsearch.blending import Blend
from blendsearch.compute import threads
from blendsearch.config import Space
from blendsearch.errors import BlendsearchError
from blendsearch.experiment import Experiment
from blendsearch.experiment.retraining import Pruning, Repetition, RetrainingSetup, retrain
from blendsearch.experiment.scoring import BlendScorer, score_calibration
from blendsearch.experiment.unpruned import prepare_allocation, read_test_accuracy, train_unpruned
from blendsearch.progress import silent
from blendsearch.results.paired import deviation, interval
from blendsearch.results.records.retraining import CRITERION
from blendsearch.results.run_folder import RunFolder, check_same_space, note_space, versions
from blendsearch.schedules import SCHEDULES
from blendsearch.validation.space import check_space, load_checked, make

FIRST = "one_shot"


def spaces_of(space: Space, names: list[str], seed: int) -> dict[str, Space]:
    """Return schedule -> the space with that schedule and seed."""
    sections = {name: space.schedule if name == space.schedule.name else {"name": name} for name in names}
    return {
        name: Space.model_validate(
            {
                **space.to_dict(),
                "seed": seed,
                "schedule": section if isinstance(section, dict) else section.model_dump(),
            }
        )
        for name, section in sections.items()
    }


def one_seed(spaces: dict[str, Space], by: str, folder: RunFolder) -> list[dict[str, Any]]:
    """Train one network, prune and retrain it under every schedule; return a record for each."""
    experiment = Experiment(next(iter(spaces.values())), silent, folder)
    check_same_space(folder, experiment.space.to_dict(), ("schedule",))  # a network of other settings is not taken
    note_space(folder, "schedules", experiment.space)
    train_unpruned(experiment)
    unpruned, seed = read_test_accuracy(experiment), experiment.space.seed
    scorer = BlendScorer.of(experiment, Blend.single(by), score_calibration(experiment, [by]).complete())
    pruning = Pruning(scorer, prepare_allocation(experiment), experiment.budget)
    records = []
    for name, space in spaces.items():
        setup = RetrainingSetup.of(experiment, {name: pruning}, make(SCHEDULES, space.schedule))
        repetition = Repetition(name, CRITERION, 0)
        result, _ = retrain(setup, repetition)
        folder.checkpoint(repetition.key).remove()
        record = {key: getattr(result, key) for key in ("test_accuracy", "search_accuracy", "flops_ratio", "seconds")}
        records.append({"schedule": name, "seed": seed, "unpruned": unpruned, **record})
        print(f"seed {seed}: {name:14s} {100 * result.test_accuracy:6.2f} %  (unpruned {100 * unpruned:.2f} %)")
    return records


def summarise(records: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Return schedule -> mean, std, and the paired difference to one-shot with its interval."""
    tests = {name: [r["test_accuracy"] for r in records if r["schedule"] == name] for name in names}
    result = {}
    for name in names:
        differences = [one - other for one, other in zip(tests[name], tests[FIRST], strict=True)]
        result[name] = {
            "mean": fmean(tests[name]),
            "std": deviation(tests[name]),
            "difference": fmean(differences),
            "interval": interval(differences),
        }
    return result


def show(summary: dict[str, Any]) -> None:
    """Print the table."""
    print(f"\n{'schedule':14s} {'test accuracy':>16s}   difference to {FIRST}, 95 % interval")
    for name, row in summary.items():
        spread = f" ± {100 * row['std']:.2f}" if row["std"] is not None else ""
        bounds = row["interval"]
        range_ = f" ({100 * bounds[0]:+.2f} to {100 * bounds[1]:+.2f})" if bounds and name != FIRST else ""
        difference = f"{100 * row['difference']:+.2f}{range_}" if name != FIRST else ""
        mean = f"{100 * row['mean']:.2f}{spread}"
        print(f"{name:14s} {mean:>16s}   {difference}")


def main() -> None:
    """Run all schedules with all seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("space", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--by", required=True, help="criterion")
    parser.add_argument("--schedules", default="one_shot,progressive,iterative,from_scratch")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder for schedules.json (default runs/schedules/NAME-CRITERION)")
    arguments = parser.parse_intermixed_args()
    space = load_checked(arguments.space, arguments.overrides)
    names = [FIRST, *(name for name in arguments.schedules.split(",") if name != FIRST)]
    out = RunFolder(arguments.out or Path("runs") / "schedules" / f"{space.name}-{arguments.by}")
    seeds = [space.seed + repetition for repetition in range(arguments.seeds)]
    spaces = {seed: spaces_of(space, names, seed) for seed in seeds}
    for one in spaces[seeds[0]].values():
        check_space(one)
    records = []
    with threads(space.compute.threads):
        for seed in seeds:
            records += one_seed(spaces[seed], arguments.by, RunFolder(out / f"seed{seed}"))
    summary = summarise(records, names)
    show(summary)
    out.write_json(
        "schedules.json",
        {"space": space.to_dict(), "by": arguments.by, "summary": summary, "records": records, "versions": versions()},
    )


if __name__ == "__main__":
    try:
        main()
    except BlendsearchError as error:
        sys.exit(str(error))
