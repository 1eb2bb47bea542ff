"""Schedules on equal terms: accuracy after as many optimiser steps, with several seeds, against one-shot.

Usage: .venv/bin/python scripts/reproduce_schedules.py search_spaces/progressive_digits.yaml --by class_separability
           [--schedules one_shot,progressive,iterative,from_scratch] [--seeds 5] [--out FOLDER] [KEY=VALUE ...]

Each seed trains a network of its own (unless the space says to take given weights as they are), on splits of its
own; all schedules of a seed start from it. Options in the space's `schedule` are those of that schedule here too.
Prints mean, standard deviation and the paired difference to one-shot with its 95 % interval; writes schedules.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from blendsearch.blending import Blend
from blendsearch.compute import child_seed, threads
from blendsearch.config import Space
from blendsearch.criteria import score_groups
from blendsearch.errors import BlendsearchError
from blendsearch.experiment.experiment import Experiment, calibration_statistics, prepare_allocation, train_unpruned
from blendsearch.experiment.retraining import Candidate, Terms, retrain
from blendsearch.experiment.scoring import BlendScorer
from blendsearch.progress import silent
from blendsearch.results.paired import interval
from blendsearch.results.run_folder import RunFolder
from blendsearch.results.versions import versions
from blendsearch.schedules import SCHEDULES
from blendsearch.training.evaluation import evaluate
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
    experiment = Experiment(next(iter(spaces.values())), silent)
    train_unpruned(experiment, folder)
    experiment.compute.place(experiment.network)
    unpruned = evaluate(experiment.network, experiment.splits.test.batches(500), experiment.compute).accuracy
    known = score_groups(experiment.structure, calibration_statistics(experiment, [by]), [by])
    seed = experiment.space.seed
    scorer = BlendScorer(
        Blend.single(by),
        known,
        experiment.structure,
        experiment.splits.calibration,
        experiment.compute,
        child_seed(seed, "statistics"),
    )
    allocation = prepare_allocation(experiment, folder)
    records = []
    for name, space in spaces.items():
        terms = Terms(
            experiment.network, experiment.structure, {by: scorer}, {by: allocation}, experiment.budget,
            make(SCHEDULES, space.schedule), space.retraining, experiment.splits, experiment.compute, seed,
            compensation=experiment.compensation,
        )  # fmt: skip
        result, _ = retrain(terms, Candidate(by, "criterion", 0))
        record = {key: getattr(result, key) for key in ("test_accuracy", "search_accuracy", "flops_ratio", "seconds")}
        records.append({"schedule": name, "seed": seed, "unpruned": unpruned, **record})
        print(f"seed {seed}: {name:14s} {100 * result.test_accuracy:6.2f} %  (unpruned {100 * unpruned:.2f} %)")
    return records


def summarised(records: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Return schedule -> mean, std, and the paired difference to one-shot with its interval."""
    tests = {name: [r["test_accuracy"] for r in records if r["schedule"] == name] for name in names}
    result = {}
    for name in names:
        differences = [one - other for one, other in zip(tests[name], tests[FIRST], strict=True)]
        result[name] = {
            "mean": statistics.fmean(tests[name]),
            "std": statistics.stdev(tests[name]) if len(tests[name]) > 1 else None,
            "difference": statistics.fmean(differences),
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
    summary = summarised(records, names)
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
