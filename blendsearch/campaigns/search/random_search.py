"""What a search evaluates plans by, and the random search of equal cost that stands against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np

from blendsearch.campaigns.search.finals import best_distinct
from blendsearch.compute import child_seed
from blendsearch.evolution.fitness import Evaluation, FitnessFunction, Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.loop import Generation
from blendsearch.evolution.rungs import Fitness, RungFitness
from blendsearch.evolution.screening import judge_of
from blendsearch.experiment.experiment import Experiment
from blendsearch.proxies import PROXIES
from blendsearch.validation.space import make

BARREN = 20
"""After so many generations in a row without a plan that is new, chance is held to have seen them all."""


def fitness_of(experiment: Experiment) -> Fitness:
    """Return what evaluates plans as the space says: by its proxy alone, or by rungs of which that is the last."""
    space, given = experiment.space, experiment.proxy_context(experiment.network)
    deciding = make(PROXIES, space.proxy)
    if not space.search.rungs:
        return FitnessFunction(deciding, given, workers=experiment.workers, threads=space.compute.threads)
    proxies = [*(make(PROXIES, rung.proxy) for rung in space.search.rungs), deciding]
    judge = judge_of(space.search.pruner, [rung.keep for rung in space.search.rungs])
    return RungFitness(proxies, judge, given, workers=experiment.workers, threads=space.compute.threads)


def chance(experiment: Experiment, genomes: GenomeSpace, starts: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the genomes that a search starts from, and random ones without end."""
    yield from starts
    rng = np.random.default_rng(child_seed(experiment.space.seed, "control"))
    while True:
        yield genomes.random(rng)


def run_random_search(
    experiment: Experiment,
    planner: Planner,
    fitness: Fitness,
    genomes: GenomeSpace,
    starts: Sequence[np.ndarray],
    generations: Sequence[Generation],
) -> dict[str, Any]:
    """Evaluate genomes that chance draws, at the cost of a search; tell which was the best.

    Without rungs these are as many genomes as the search evaluated. With rungs, where the cost of a plan depends on
    those of its generation, they climb the same rungs in generations of the same sizes, from a clean slate, and further
    ones until they have cost as many passes. So chance is given at least the search's cost in both cases.
    Keys: number (from 0) and proxy of the best, evaluations, passes, and finalists where the space has finals.
    """
    draw = chance(experiment, genomes, starts)
    if isinstance(fitness, RungFitness):
        found = _climbed(experiment, planner, genomes, draw, generations)
    else:
        found = _evaluated(experiment, planner, fitness, genomes, list(islice(draw, generations[-1].evaluations)))
    values = [(evaluation.plan.digest, evaluation.value) for evaluation in found]
    best = max(range(len(values)), key=lambda position: values[position][1])
    record: dict[str, Any] = {"number": best, "proxy": values[best][1], "evaluations": len(values)}
    passes = {evaluation.plan.digest: evaluation.passes for evaluation in found}
    record["passes"] = sum(passes.values())
    if experiment.space.search.finals is not None:
        # What a rung dropped has a translated fitness, so it stands in no finals.
        judged = [position for position, evaluation in enumerate(found) if not evaluation.dropped]
        first = best_distinct([values[position] for position in judged], experiment.space.search.finals.candidates)
        record["finalists"] = [[judged[place], values[judged[place]][1]] for place in first]
    return record


def _evaluated(
    experiment: Experiment,
    planner: Planner,
    fitness: FitnessFunction,
    genomes: GenomeSpace,
    drawn: Sequence[np.ndarray],
) -> list[Evaluation]:
    """Evaluate genomes at once; plans that the search knows cost nothing now, but count."""
    plans = [planner.plan(genomes.decode(genome)) for genome in drawn]
    best, size = 0.0, len({plan.digest for plan in plans} - set(fitness.known))

    def done(position: int, value: float) -> None:
        nonlocal best
        best = max(best, value)
        experiment.progress("random search", position, size, f"best proxy {best:.4f}")

    return fitness(plans, done)


def _climbed(
    experiment: Experiment,
    planner: Planner,
    genomes: GenomeSpace,
    draw: Iterator[np.ndarray],
    generations: Sequence[Generation],
) -> list[Evaluation]:
    """Let genomes climb the rungs, generation by generation, up to the passes of a search."""
    fitness = fitness_of(experiment)
    wanted = sum(generation.passes for generation in generations)
    totals = [0, *(generation.evaluations for generation in generations)]
    sizes = iter([after - before for before, after in pairwise(totals)])
    found: list[Evaluation] = []
    passes, barren = 0, 0
    while len(found) < totals[-1] or (passes < wanted and barren < BARREN):
        size = next(sizes, experiment.space.search.population)
        plans = [planner.plan(genomes.decode(genome)) for genome in islice(draw, size)]
        evaluations = fitness(plans)
        cost = sum(evaluation.passes for evaluation in evaluations if not evaluation.repeated)
        passes, barren = passes + cost, 0 if cost else barren + 1
        found += evaluations
        experiment.progress("random search", min(passes, wanted), wanted, f"{len(found)} blends, by passes")
    return found
