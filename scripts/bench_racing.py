"""What racing saves: the same searches with and without `search.racing`, by turns, several seeds, and where both end.

    python scripts/bench_racing.py search_spaces/mnist_5k.yaml [--seeds 5] [KEY=VALUE ...]

Both have the trained network and the scores given, in one process; seconds are CPU seconds of the search alone. The
final fitness is that of the best plan on all images that the search sees, by the space's proxy.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any
from unittest.mock import patch

from blendsearch.campaigns.search import evolve
from blendsearch.campaigns.search.run import run_search
from blendsearch.config import Space
from blendsearch.validation.space import load_checked


class Enough(Exception):
    """Ends a campaign with its search."""


@dataclass
class Found:
    """evaluations: different plans. stopped: those read in part. best: the final fitness."""

    evaluations: int = 0
    stopped: int = 0
    seconds: float = 0.0
    best: float = 0.0


def search(space: Space) -> Found:
    """Run a space's search; what comes before is not counted."""
    found = Found()
    plain = evolve.run_search_phases

    def timed(*given: Any) -> Any:
        start = time.process_time()
        done = plain(*given)
        found.seconds = time.process_time() - start
        fitness = done.problem.fitness
        found.evaluations, found.stopped, found.best = fitness.tried, len(fitness.stopped), done.winner()[1]
        raise Enough

    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(evolve, "run_search_phases", timed),
        contextlib.suppress(Enough),
    ):
        run_search(space, Path(folder) / "run")
    return found


def main() -> None:
    """Search by turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", type=Path)
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_intermixed_args()
    print("| seed | evaluations | seconds | best | raced | stopped | seconds | best | evaluations a second |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    ratios, differences = [], []
    for seed in range(given.seeds):
        changes = [*given.changes, f"seed={seed}", "compute.workers=1"]
        whole = search(load_checked(given.space, changes))
        raced = search(load_checked(given.space, [*changes, "search.racing={}"]))
        ratio = raced.evaluations / raced.seconds / (whole.evaluations / whole.seconds)
        ratios.append(ratio)
        differences.append(raced.best - whole.best)
        print(f"| {seed} | {whole.evaluations} | {whole.seconds:.1f} | {whole.best:.4f} | {raced.evaluations} | "
              f"{raced.stopped} | {raced.seconds:.1f} | {raced.best:.4f} | {ratio:.2f} x |", flush=True)  # fmt: skip
    spread = f"{min(differences):+.4f} to {max(differences):+.4f}"
    print(f"median {median(ratios):.2f} x the evaluations a second; final fitness {mean(differences):+.4f} ({spread})")


if __name__ == "__main__":
    main()
