"""The random search of equal cost that stands against the search of a campaign: what chance would find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from blendsearch.campaigns.search.choice import choose_on_fresh
from blendsearch.campaigns.search.finals import Candidate, best_distinct, hold_finals
from blendsearch.campaigns.search.pareto import judge_at_full_budget
from blendsearch.campaigns.search.phases import PhasedSearch
from blendsearch.evolution.failure import count_reasons
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.problem import SearchProblem
from blendsearch.experiment.contenders import Contender, make_contender
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.problem import starting_genomes
from blendsearch.results.records.retraining import RANDOM_SEARCH
from blendsearch.results.records.search import RandomSearchRecord

RECORD = "records/control.json"


def enter_random_search(experiment: Experiment, search: PhasedSearch, judged: SearchProblem) -> Contender:
    """Return the best of the search's own start and random genomes, as many as the search evaluated.

    Finals, or a choice (by `judged`), decide between its best as they do between those of the search.

    After a search from coarse to fine they are drawn from the finest unit, which holds all that the others do but for
    criteria that share a cluster there.
    """
    planner, genomes = search.problem.planner, search.finest
    record = experiment.folder.cached(RECORD, RandomSearchRecord, lambda: _run(experiment, search))
    drawn = draw_genomes(experiment, search, record.evaluations)
    number, proxy = record.number, record.proxy
    if record.finalists:
        candidates = [
            Candidate(number, genomes.params(drawn[number]), planner.plan(genomes.decode(drawn[number])), value)
            for number, value in record.finalists
        ]
        if experiment.space.search.choice is not None:
            won = choose_on_fresh(experiment, "choice-control", judged, candidates)
        else:
            won = hold_finals(experiment, "finals-control", candidates)
        number, proxy = won.number, won.proxy
    return make_contender(planner, genomes.decode(drawn[number]), proxy=proxy, kind=RANDOM_SEARCH)


def read_random_search(experiment: Experiment) -> RandomSearchRecord:
    """Return what a finished random search found."""
    return experiment.folder.read_record(RECORD, RandomSearchRecord)


def draw_genomes(experiment: Experiment, search: PhasedSearch, count: int) -> list[np.ndarray]:
    """Return the genomes that a search over the finest unit would start from, then random ones, `count` in all."""
    genomes = search.finest
    starts = [
        *starting_genomes(search.problem.planner, genomes).values(),
        *search.given[genomes.clusters.unit].values(),
    ]
    rng = np.random.default_rng(experiment.seed("control"))
    return list(islice(_endless(genomes, starts, rng), count))


def _endless(genomes: GenomeSpace, starts: Sequence[np.ndarray], rng: np.random.Generator) -> Iterator[np.ndarray]:
    yield from starts
    while True:
        yield genomes.random(rng)


def _run(experiment: Experiment, search: PhasedSearch) -> RandomSearchRecord:
    """Evaluate random genomes at the cost of the search; plans that the search knows cost nothing now, but count."""
    evaluations = search.generations[-1].evaluations
    if experiment.space.search.objectives:
        refined = search.last.refined
        return judge_at_full_budget(
            experiment, search, draw_genomes(experiment, search, evaluations - refined), refined
        )
    problem, genomes = search.problem, search.finest
    plans = [problem.planner.plan(genomes.decode(genome)) for genome in draw_genomes(experiment, search, evaluations)]
    best, size = 0.0, len({plan.digest for plan in plans} - set(problem.fitness.known))

    def done(position: int, value: float) -> None:
        nonlocal best
        best = max(best, value)
        experiment.progress("random search", position, size, f"best proxy {best:.4f}")

    found = problem.fitness(plans, done, most_failed=len(plans) // 2)
    values = [(evaluation.plan.digest, evaluation.value) for evaluation in found]
    number = max(range(len(values)), key=lambda position: values[position][1])
    passes = {evaluation.plan.digest: evaluation.passes for evaluation in found}
    decisive = experiment.space.search.finals or experiment.space.search.choice
    finalists = [] if decisive is None else best_distinct(values, decisive.candidates)
    return RandomSearchRecord(
        number=number,
        proxy=values[number][1],
        evaluations=len(values),
        passes=sum(passes.values()),
        finalists=[(place, values[place][1]) for place in finalists],
        failed=count_reasons(evaluation.failure for evaluation in found),
    )
