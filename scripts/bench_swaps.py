"""What a forecast of swaps tells, and what it costs: swaps drawn by chance, each judged, beside what was forecast.

    python scripts/bench_swaps.py search_spaces/mnist_5k.yaml [--swaps 96] [KEY=VALUE ...]

The plan is that of the mean of ranks beside the drop losses; the proxy must have forecasts (`agreement`). Groups come
in turn, filters by chance with the space's seed. Seconds are CPU seconds on one core, a forecast's beside those of a
swap's evaluation; correlations are of what came with the place in the blend's order, and with the forecast's terms.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import pearsonr, spearmanr

from blendsearch import Blend
from blendsearch.campaigns.search.worths import ERROR, SLOPE, Swap
from blendsearch.compute import threads
from blendsearch.config import Space
from blendsearch.evolution.problem import SearchProblem
from blendsearch.evolution.swap_forecast import SwapTable
from blendsearch.experiment import Experiment, open_run
from blendsearch.experiment.problem import make_problem
from blendsearch.experiment.scoring import score_criteria
from blendsearch.experiment.unpruned import prepare_allocation, train_unpruned
from blendsearch.structure import Plan
from blendsearch.validation.space import load_checked

EVERY = 10**6
"""Filters of a group that are paired: all."""


def drawn(tables: dict[str, SwapTable], count: int, seed: int) -> list[Swap]:
    """Return swaps by chance, groups in turn, with their forecasts."""
    draw, names = np.random.default_rng(seed), list(tables)
    swaps = []
    for number in range(count):
        name = names[number % len(names)]
        table = tables[name]
        row, column = draw.integers(len(table.gone)), draw.integers(len(table.come))
        told = {"slope": float(table.slope[row, column]), "error": float(table.error[row, column])}
        swaps.append(Swap(name, int(table.gone[row]), int(table.come[column]), **told))
    return swaps


def judged(problem: SearchProblem, plan: Plan, swaps: list[Swap]) -> tuple[np.ndarray, float]:
    """Return what swaps change the proxy by, and the mean standard error of that; a line to every ten."""
    value, changes, errors = problem.value(plan, "the plan"), [], []
    for number, swap in enumerate(swaps, start=1):
        (one,) = problem.compare([swap.made(plan)], plan)
        changes.append(one.value - value)
        errors.append(one.error or 0.0)
        if number % 10 == 0:
            print(f"{number} of {len(swaps)} swaps judged", flush=True)
    return np.array(changes), float(np.mean(errors))


def compare(space: Space, count: int) -> None:
    """Draw, forecast, judge, print."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_run(
            Experiment(space).connect(), "search", name=space.name, run_dir=Path(folder) / "run", resume=False
        ) as experiment,
        threads(1),
    ):
        train_unpruned(experiment)
        scores, _ = score_criteria(experiment)
        prepare_allocation(experiment)
        problem = make_problem(experiment, scores)
        blend = Blend.mean_of_ranks(list(scores), tilt=2.0)
        plan, order = problem.planner.plan(blend), problem.planner.group_scores(blend)
        start = time.process_time()
        tables = problem.forecast(plan, nearest=EVERY)
        forecast = time.process_time() - start
        swaps = drawn(tables, count, space.seed)
        start = time.process_time()
        changes, error = judged(problem, plan, swaps)
        evaluation = (time.process_time() - start) / count
    places = {group: values.argsort().argsort() / len(values) for group, values in order.items()}
    told = {
        "place in the blend's order": [
            float(places[one.group][one.come] - places[one.group][one.gone]) for one in swaps
        ],
        "slope": [one.slope for one in swaps],
        "error": [one.error for one in swaps],
        "both, as the search starts": [SLOPE * one.slope + ERROR * one.error for one in swaps],
    }
    print(f"changes: mean {changes.mean():+.5f}, deviation {changes.std():.5f}, of which the images leave {error:.5f}")
    print(
        f"a forecast of all swaps takes {forecast:.1f} s, {forecast / evaluation:.1f} evaluations of {evaluation:.2f} s"
    )
    print("| told by | correlation | rank correlation |\n|---|---:|---:|")
    for name, values in told.items():
        print(f"| {name} | {pearsonr(values, changes)[0]:.2f} | {spearmanr(values, changes)[0]:.2f} |")


def main() -> None:
    """Read what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", type=Path)
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--swaps", type=int, default=96)
    given = parser.parse_intermixed_args()
    compare(load_checked(given.space, [*given.changes, "compute.workers=1"]), given.swaps)


if __name__ == "__main__":
    main()
