"""RePr against plain training with as many optimiser steps: paired test accuracies over several seeds.

Usage: .venv/bin/python scripts/reproduce_repr.py [SPACE.yaml] [KEY=VALUE ...] [--seeds 5] [--out FILE.json]

The space names the schedule `repr` with its options (default: search_spaces/repr_digits.yaml). For each seed the same
initial network sees the same images in the same order, once by RePr and once plainly. The claim of Prakash et al.,
CVPR 2019, is a higher test accuracy by RePr; it shows when the 95 % interval of the paired difference is above zero.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from blendsearch.campaigns.single import run_train
from blendsearch.errors import BlendsearchError
from blendsearch.results.paired import interval
from blendsearch.results.records.single import TrainSummary
from blendsearch.results.run_folder import versions
from blendsearch.results.words import nothing_tested
from blendsearch.validation.space import load_checked

DIGITS = Path(__file__).parent.parent / "search_spaces" / "repr_digits.yaml"


def train(space: Path, overrides: list[str]) -> TrainSummary:
    """Train once; the run folder is not kept."""
    with tempfile.TemporaryDirectory() as folder:
        return run_train(load_checked(space, overrides), Path(folder) / "run").summary


def one_seed(space: Path, overrides: list[str], seed: int) -> dict[str, Any]:
    """Train by RePr and plainly from the same start; accuracies in [0, 1]."""
    by_repr = train(space, [*overrides, f"seed={seed}"])
    plain = train(space, [*overrides, f"seed={seed}", "schedule=one_shot"])
    assert by_repr.steps == plain.steps
    row = {
        "seed": seed,
        "repr": by_repr.test_accuracy,
        "plain": plain.test_accuracy,
        "steps": plain.steps,
        "seconds": {"repr": by_repr.seconds, "plain": plain.seconds},
    }
    print(f"seed {seed}: RePr {row['repr']:.2%}, plain {row['plain']:.2%}, {row['steps']} steps", flush=True)
    return row


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Put all seeds together: means, paired difference with its 95 % interval, verdict."""
    differences = [row["repr"] - row["plain"] for row in rows]
    bounds = interval(differences)
    verdict = "not tested (one seed)" if len(rows) == 1 else "not tested (all seeds differ by the same)"
    if bounds is not None:
        verdict = "shown" if bounds[0] > 0 else "contradicted" if bounds[1] < 0 else "not shown"
    return {
        "claim": "RePr gives a higher test accuracy than plain training with as many steps",
        "verdict": verdict,
        "repr": fmean(row["repr"] for row in rows),
        "plain": fmean(row["plain"] for row in rows),
        "difference": fmean(differences),
        "interval": bounds,
        "seeds": rows,
    }


def main() -> None:
    """Train, print the table, write the JSON file when one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("space", nargs="?", type=Path, default=DIGITS)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_intermixed_args()
    schedule = load_checked(given.space, given.overrides).schedule.name
    if schedule != "repr":
        parser.error(f"schedule: '{schedule}' given, allowed here: repr, which is held against plain training")
    rows = [one_seed(given.space, given.overrides, seed) for seed in range(given.seeds)]
    result = summarise(rows)
    print(f"{'training':10s} {'test accuracy':>14s}")
    for name in ("repr", "plain"):
        print(f"{name:10s} {result[name]:14.2%}")
    if result["interval"] is None:
        print(f"difference {100 * result['difference']:+.2f} points; {nothing_tested(len(rows))}")
    else:
        low, high = (100 * bound for bound in result["interval"])
        shown = f"95 % interval {low:+.2f} to {high:+.2f}, {len(rows)} paired seeds"
        print(f"difference {100 * result['difference']:+.2f} points ({shown}): {result['verdict']}")
    if given.out is not None:
        space = load_checked(given.space, given.overrides).to_dict()
        section = {key: space[key] for key in ("name", "data", "model", "training", "schedule")}
        section["data"]["root"] = None  # a place on this machine
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps({**result, "space": section, "versions": versions()}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except BlendsearchError as error:
        sys.exit(str(error))
