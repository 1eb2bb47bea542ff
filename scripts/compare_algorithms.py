"""Search algorithms on a real problem at equal cost: best proxy so far against evaluations, with several seeds.

Usage: .venv/bin/python scripts/compare_algorithms.py search_spaces/digits.yaml [--evaluations 200] [--seeds 5]
           [--only cma_es,tpe] [--windows 6,24] [--out FOLDER] [KEY=VALUE ...]

The network is trained and scored once, and every plan is evaluated once: both are kept in the folder (default
runs/compare_algorithms/NAME), as is every finished search, so that running it again goes on where it was stopped. All
searches start from the criteria themselves, as a campaign does; the seed is that of the search alone. An evaluation is
a blend asked for, even if its plan was known. --windows: algorithms that can are also searched with these windows
(`search.window`). Prints a table; writes result.json, curves.png and curves.svg.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from matplotlib.ticker import MultipleLocator
from scipy.stats import rankdata

from blendsearch.compute import child_seed, threads
from blendsearch.errors import BlendsearchError, unknown_name
from blendsearch.evolution.algorithms import ALGORITHMS, SearchAlgorithm, Settings
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.pareto import Point
from blendsearch.experiment import Experiment, open_run
from blendsearch.experiment.problem import make_problem, searched_groups
from blendsearch.experiment.scoring import cluster_criteria, score_criteria
from blendsearch.experiment.unpruned import prepare_allocation, train_unpruned
from blendsearch.progress import silent
from blendsearch.reports.figures.labels import spread
from blendsearch.reports.figures.style import Drawing, Theme, new_figure, placed_axes, render
from blendsearch.results.paired import interval
from blendsearch.results.run_folder import RunFolder, versions
from blendsearch.validation.space import load_checked

JOB = "compare_algorithms"
CHANCE = "random_search"


class RandomSearch(SearchAlgorithm):
    """Genomes drawn as a campaign's random search draws them: what chance finds."""

    name = CHANCE
    backend = "blendsearch"
    source = "campaigns/search/random_search.py"

    def propose(self, n: int) -> list[np.ndarray]:
        """Return `n` random genomes."""
        rng = np.random.default_rng(child_seed(self.seed, "control", self.asked))
        return [self.space.random(rng) for _ in range(n)]

    def learn(self, genomes: list[np.ndarray], points: list[Point]) -> None:
        """Learn nothing."""

    def state(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up nothing."""


@dataclass(frozen=True)
class Entrant:
    """An algorithm that takes part; window: candidates under way at once, None for whole generations."""

    kind: type[SearchAlgorithm]
    window: int | None = None

    @property
    def label(self) -> str:
        """A name for tables and files."""
        name = self.kind.name if self.kind is RandomSearch else f"{self.kind.backend}-{self.kind.name}"
        return name if self.window is None else f"{name}-window{self.window}"

    def ask(self, algorithm: SearchAlgorithm, population: int, evaluations: int) -> list[np.ndarray]:
        """Let the algorithm propose what it may now, `evaluations` in all at most; return what is told next."""
        if algorithm.asked == 0:
            algorithm.ask(min(population, evaluations))
        elif self.window is None:
            algorithm.ask(min(population, evaluations - algorithm.asked))
        while self.window is not None and len(algorithm.pending) < self.window and algorithm.asked < evaluations:
            algorithm.ask(1)
        return algorithm.pending[:1] if self.window is not None else list(algorithm.pending)


class Problem:
    """A trained and scored network, a space of blends, and a proxy whose values are kept in the folder."""

    def __init__(self, experiment: Experiment) -> None:
        train_unpruned(experiment)
        scores, _ = score_criteria(experiment)
        prepare_allocation(experiment)
        self.folder = experiment.folder
        clusters, set_aware = cluster_criteria(experiment, scores), experiment.space.blend.set_aware
        self.genomes = GenomeSpace(clusters, searched_groups(experiment), set_aware=set_aware)
        self.initial = [self.genomes.base(name) for name in scores]
        self.problem = make_problem(experiment, scores)
        if self.folder.has("records/known.json"):
            self.problem.fitness.load_state_dict(self.folder.read_json("records/known.json"))

    def search(self, entrant: Entrant, population: int, seed: int, evaluations: int) -> dict[str, Any]:
        """Return the best proxy after each evaluation, how many plans differed, and the seconds spent proposing."""
        settings = Settings(population=population)
        algorithm = entrant.kind(self.genomes, seed=child_seed(seed, "search"), initial=self.initial, settings=settings)
        values: list[float] = []
        plans: set[str] = set()
        seconds = 0.0
        while len(values) < evaluations:
            start = time.perf_counter()
            genomes = entrant.ask(algorithm, population, evaluations)
            seconds += time.perf_counter() - start
            found = self.problem.fitness([self.problem.plan(self.genomes, genome) for genome in genomes])
            plans |= {evaluation.plan.digest for evaluation in found}
            values += [evaluation.value for evaluation in found]
            start = time.perf_counter()
            algorithm.tell(genomes, [evaluation.value for evaluation in found])
            seconds += time.perf_counter() - start
        self.folder.write_json("records/known.json", self.problem.fitness.state_dict())
        best = list(itertools.accumulate(values[:evaluations], max))
        return {"best": best, "plans": len(plans), "proposing_seconds": round(seconds, 2)}


def searches(
    problem: Problem, chosen: list[Entrant], population: int, seeds: int, evaluations: int
) -> dict[str, list[dict[str, Any]]]:
    """Run all searches that the folder does not have yet; return name -> one record a seed."""
    folder = problem.folder
    records: dict[str, list[dict[str, Any]]] = {entrant.label: [] for entrant in chosen}
    for entrant, name in zip(chosen, records, strict=True):
        for seed in range(seeds):
            file = f"records/searches/{name}-{evaluations}-seed{seed}.json"
            if not folder.has(file):
                folder.write_json(file, problem.search(entrant, population, seed, evaluations))
            records[name].append(folder.read_json(file))
            last = records[name][-1]
            spent = f"{last['plans']} plans, {last['proposing_seconds']:.1f} s proposing"
            print(f"{name:30s} seed {seed}: {last['best'][-1]:.4f} ({spent})", flush=True)
    return records


def summarised(records: Mapping[str, list[dict[str, Any]]], marks: list[int]) -> dict[str, Any]:
    """Return name -> mean and deviation at each mark, mean rank at the last, and the difference to chance."""
    ends = {name: [record["best"][-1] for record in rows] for name, rows in records.items()}
    ranks = [rankdata([-value for value in values]) for values in zip(*ends.values(), strict=True)]
    result = {}
    for place, (name, rows) in enumerate(records.items()):
        at = {mark: [record["best"][mark - 1] for record in rows] for mark in marks}
        result[name] = {
            "mean": {str(mark): fmean(values) for mark, values in at.items()},
            "std": {str(mark): stdev(values) for mark, values in at.items()},
            "rank": fmean(float(row[place]) for row in ranks),
            "plans": fmean(record["plans"] for record in rows),
            "proposing_seconds": fmean(record["proposing_seconds"] for record in rows),
        }
        if CHANCE in ends and name != CHANCE:
            differences = [one - other for one, other in zip(ends[name], ends[CHANCE], strict=True)]
            result[name]["over_chance"] = {"mean": fmean(differences), "interval": interval(differences)}
    return dict(sorted(result.items(), key=lambda item: -item[1]["mean"][str(marks[-1])]))


def show(summary: Mapping[str, Any], marks: list[int]) -> None:
    """Print the table, in percent."""
    heads = "".join(f"{f'after {mark}':>16s}" for mark in marks)
    print(f"\n{'best proxy so far, %':30s}{heads}   rank   plans   over chance (95 %)")
    for name, row in summary.items():
        cells = "".join(f"{100 * row['mean'][str(m)]:9.2f} ± {100 * row['std'][str(m)]:4.2f}" for m in marks)
        over = row.get("over_chance")
        text = f"{100 * over['mean']:+.2f}" if over else ""
        if over and over["interval"] is not None:  # none where all seeds differ alike
            low, high = over["interval"]
            text += f" ({100 * low:+.2f} to {100 * high:+.2f})"
        print(f"{name:30s}{cells}   {row['rank']:4.1f}  {row['plans']:6.1f}   {text}")


def draw(records: Mapping[str, list[dict[str, Any]]], theme: Theme, *, start: int) -> Drawing:
    """Draw the mean best proxy so far from evaluation `start` on: a line an algorithm, its name at its end."""
    figure = new_figure(7.4, 4.4)
    axes = placed_axes(figure, 0.6, 0.55, 2.15, 0.35)
    dashes = itertools.cycle(["-", "--", "-.", ":"])
    ends, colours = {}, {}
    for name, rows in records.items():
        mean = [100 * fmean(values) for values in zip(*(row["best"] for row in rows), strict=True)]
        family = {"deap": theme.blend, "optuna": theme.best}
        colours[name] = family.get(name.split("-")[0], theme.muted)
        style = {"color": colours[name], "linestyle": next(dashes), "linewidth": 1.6}
        axes.plot(range(start, len(mean) + 1), mean[start - 1 :], **style)
        ends[name] = mean[-1]
    low, high = axes.get_ylim()
    places = spread(list(ends.values()), (high - low) * 0.05, low, high)
    for (name, value), place in zip(ends.items(), places, strict=True):
        axes.annotate(
            f"{name} {value:.2f}", (len(mean), value), xytext=(1.05, (place - low) / (high - low)),
            textcoords="axes fraction", va="center", fontsize=8, color=colours[name],
            arrowprops={"arrowstyle": "-", "color": theme.line, "linewidth": 0.8, "relpos": (0, 0.5)},
        )  # fmt: skip
    axes.set_xlim(start, len(mean))
    axes.set_ylim(low, high)
    axes.xaxis.set_major_locator(MultipleLocator(50))
    axes.grid(axis="y")
    axes.set_xlabel("evaluations of the proxy")
    axes.set_title("best proxy so far, %, mean over seeds", color=theme.muted, fontsize=9)
    return Drawing(figure, f"Best proxy so far of {len(ends)} algorithms over {len(mean)} evaluations.")


def main() -> None:
    """Compare all algorithms on one problem."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("space", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", help="names of the table, with commas between them (default all)")
    parser.add_argument("--windows", help="windows to search with as well, with commas between them")
    parser.add_argument("--out", type=Path, help="folder (default runs/compare_algorithms/NAME)")
    arguments = parser.parse_intermixed_args()
    space = load_checked(arguments.space, arguments.overrides)
    known = {name: ALGORITHMS.get(name) for name in ALGORITHMS.names()} | {CHANCE: RandomSearch}
    names = arguments.only.split(",") if arguments.only else list(known)
    for name in names:
        if name not in known:
            raise unknown_name("algorithm", name, known, "--only")
    windows = [int(window) for window in arguments.windows.split(",")] if arguments.windows else []
    chosen = [
        Entrant(known[name], window)
        for name in names
        for window in (None, *windows)
        if window is None or known[name].in_window
    ]
    if arguments.seeds < 2:
        raise BlendsearchError(f"--seeds: {arguments.seeds} given, at least 2 expected")
    folder = arguments.out or Path("runs") / JOB / space.name
    opened = open_run(Experiment(space, silent), JOB, name=space.name, run_dir=folder, resume=RunFolder(folder).begun)
    with threads(space.compute.threads), opened as experiment:
        problem = Problem(experiment)
        print(f"{problem.genomes.size} genes, {len(problem.initial)} criteria to start from", flush=True)
        records = searches(problem, chosen, space.search.population, arguments.seeds, arguments.evaluations)
    marks = sorted({max(1, arguments.evaluations // share) for share in (8, 4, 2, 1)})
    summary = summarised(records, marks)
    show(summary, marks)
    facts = {
        "criteria": len(problem.initial),
        "genes": problem.genomes.size,
        "plans_known": len(problem.problem.fitness.known),
    }
    result = {"space": space.to_dict(), **facts, "summary": summary, "records": records, "versions": versions()}
    problem.folder.write_json("result.json", result)
    # Up to there all have the same: the criteria themselves.
    start = min(len(problem.initial), arguments.evaluations)
    rendered = render(partial(draw, start=start), records)
    (folder / "curves.png").write_bytes(rendered.png)
    (folder / "curves.svg").write_bytes(rendered.svg)


if __name__ == "__main__":
    try:
        main()
    except BlendsearchError as error:
        sys.exit(str(error))
