"""The search problem of an experiment: its scores under its allocation and budget, judged by its proxy."""

from __future__ import annotations

import numpy as np

from blendsearch.allocation import Evolved, weights_of
from blendsearch.config import NamedSection
from blendsearch.criteria import Scores
from blendsearch.evolution.fitness import FitnessFunction, Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.problem import SearchProblem
from blendsearch.experiment.experiment import Experiment
from blendsearch.proxies import PROXIES
from blendsearch.validation.space import make


def make_problem(experiment: Experiment, scores: Scores) -> SearchProblem:
    """Return the problem that a search of this experiment solves, or a contender without a search is judged by."""
    planner = Planner(experiment.structure, scores, experiment.allocation, experiment.budget)
    fitness = make_fitness(experiment, experiment.space.proxy)
    return SearchProblem(planner, fitness, tuple(experiment.space.search.objectives))


def make_fitness(experiment: Experiment, proxy: NamedSection) -> FitnessFunction:
    """Return what judges plans by a proxy, with the workers of the space."""
    return FitnessFunction(
        make(PROXIES, proxy),
        experiment.proxy_context,
        workers=experiment.workers,
        threads=experiment.space.compute.threads,
    )


def searched_groups(experiment: Experiment) -> list[str]:
    """Return the groups whose shares are genes: all of them where shares evolve, else none."""
    return list(experiment.structure.widths) if isinstance(experiment.allocation, Evolved) else []


def starting_genomes(planner: Planner, genomes: GenomeSpace) -> dict[str, np.ndarray]:
    """Return name -> genome of every criterion; where shares evolve, once for each allocation they start from."""
    if not isinstance(planner.allocation, Evolved):
        return {name: genomes.base(name) for name in planner.scores}
    result = {}
    for start, allocation in planner.allocation.start.items():
        for name, scores in planner.scores.items():
            counts = allocation.allocate(planner.structure, scores, planner.budget)
            result[f"{name} ({start})"] = genomes.base(name, weights_of(counts, planner.structure.widths))
    return result
