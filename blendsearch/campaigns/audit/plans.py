"""The plans that an audit looks at: different ones, from where a search begins to where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from blendsearch.compute import child_seed
from blendsearch.criteria import Scores
from blendsearch.errors import ConfigError
from blendsearch.evolution.algorithms import make_algorithm
from blendsearch.evolution.failure import succeeded
from blendsearch.evolution.fitness import Evaluation
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.loop import reached
from blendsearch.evolution.problem import SearchProblem
from blendsearch.experiment import Experiment
from blendsearch.experiment.problem import make_problem, searched_groups, starting_genomes
from blendsearch.experiment.scoring import cluster_criteria
from blendsearch.results.records.audit import EVOLVED, RANDOM, DrawnPlan
from blendsearch.results.records.retraining import CRITERION
from blendsearch.structure import Plan

TRIES = 50
"""Draws in vain, one after the other, after which there are taken to be no more different plans."""

FEWEST = 6
"""Plans that it takes to say anything of a proxy."""


def draw_plans(experiment: Experiment, scores: Scores) -> list[DrawnPlan]:
    """Return different plans, about a third each: of base criteria, of random blends, of an evolving search."""
    count, seed = experiment.space.audit.plans, experiment.seed("audit")
    problem = make_problem(experiment, scores)
    clusters = cluster_criteria(experiment, scores)
    genomes = GenomeSpace(clusters, searched_groups(experiment), set_aware=experiment.space.blend.set_aware)
    found: dict[str, DrawnPlan] = {}

    def add(name: str, kind: str, plan: Plan) -> bool:
        new = plan.digest not in found
        if new:
            found[plan.digest] = DrawnPlan(name=name, kind=kind, plan=plan.to_dict())
        return new

    starts = starting_genomes(problem.planner, genomes)
    for number in np.random.default_rng(child_seed(seed, "criteria")).permutation(len(starts)):
        if len(found) < ceil(count / 3):
            name = list(starts)[number]
            add(name, CRITERION, problem.plan(genomes, starts[name]))
    rng = np.random.default_rng(child_seed(seed, "random"))
    in_vain = 0
    while len(found) < ceil(2 * count / 3) and in_vain < TRIES:
        new = add(f"random {len(found)}", RANDOM, problem.plan(genomes, genomes.random(rng)))
        in_vain = 0 if new else in_vain + 1
    for plan in evolve_plans(experiment, problem, genomes, list(starts.values())):
        if len(found) < count:
            add(f"evolved {len(found)}", EVOLVED, plan)
    if len(found) < FEWEST:
        raise ConfigError(f"audit.plans: only {len(found)} different plans can be drawn, at least {FEWEST} are needed")
    return list(found.values())


def evolve_plans(
    experiment: Experiment, problem: SearchProblem, genomes: GenomeSpace, starts: Sequence[np.ndarray]
) -> list[Plan]:
    """Return the plans that a search by the space's proxy comes upon: the best of each generation first.

    So they range from where a search begins to where it ends; its last few alone would hardly differ. A limit of the
    search holds here, too: of different plans, or of what estimating them takes.
    """
    settings = experiment.space.search.model_copy(update={"objectives": []})
    algorithm = make_algorithm(settings, genomes, seed=experiment.seed("audit", "search"), initial=starts)
    places: dict[str, tuple[int, int]] = {}
    plans: dict[str, Plan] = {}
    spent: dict[str, Evaluation] = {}
    for generation in range(settings.generations + 1):
        if settings.limit is not None and reached(
            settings.limit,
            evaluations=len(spent),
            seconds=sum(one.seconds for one in spent.values()),
            forward_passes=sum(one.passes for one in spent.values()),
        ):
            break
        asked = algorithm.ask(settings.population)
        now = [problem.plan(genomes, genome) for genome in asked]
        found = problem.fitness(now)
        spent |= {one.plan.digest: one for one in found}
        values = [one.value for one in found]
        algorithm.tell(asked, [value if succeeded(value) else None for value in values])
        known = {plan.digest: value for plan, value in zip(now, values, strict=True)}
        new = {plan.digest: plan for plan in now if plan.digest not in plans and succeeded(known[plan.digest])}
        ordered = sorted(new, key=lambda digest: (-known[digest], digest))
        places |= {digest: (place, -generation) for place, digest in enumerate(ordered)}
        plans |= new
        experiment.progress("search", generation + 1, settings.generations + 1, "")
    return [plans[digest] for digest in sorted(plans, key=places.__getitem__)]
