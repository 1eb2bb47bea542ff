"""The rival of a blend with evolved shares: one criterion, with shares that a search as long evolved for it alone."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from blendsearch.blending import Blend, Clusters
from blendsearch.blending.blend import NETWORK
from blendsearch.campaigns.search.choice import decide, wanted_candidates
from blendsearch.campaigns.search.finals import best_candidates
from blendsearch.campaigns.search.phases import genome_of
from blendsearch.campaigns.search.reallocation import with_shares_of
from blendsearch.campaigns.search.swaps import improve_plan
from blendsearch.campaigns.search.trials import check_trials, open_ledger
from blendsearch.evolution.algorithms import make_algorithm
from blendsearch.evolution.fitness import FitnessFunction, Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.loop import Search
from blendsearch.evolution.problem import SearchProblem
from blendsearch.evolution.window import kind_of_search
from blendsearch.experiment.contenders import Contender, enter_first_criterion, make_contender
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.problem import make_leaders, searched_groups, starting_genomes
from blendsearch.plain import State
from blendsearch.progress import Progress
from blendsearch.results.reading import taken_from
from blendsearch.results.records.retraining import CRITERION, RIVAL
from blendsearch.results.records.search import Generation, RivalRecord

NAME = "own-shares"
RECORD = f"records/{NAME}.json"


def enter_own_shares(experiment: Experiment, seen: SearchProblem, judged: SearchProblem) -> Contender:
    """Return the criterion that the proxy puts first, with the shares that a search evolved for it alone.

    The search has the algorithm, the generations and the limit of the blend's, and knows nothing of that one's plans;
    finals, a choice (by `judged`), reallocation and swaps follow as they do there. Writes records/own-shares.json after
    each generation, from which a stopped run goes on.
    """
    name, _ = enter_first_criterion(seen, list(seen.planner.scores), CRITERION)
    search = _search(experiment, seen, name)
    settings = experiment.space.search
    search.run(settings.generations, settings.population, settings.limit)
    best = best_candidates(
        search.ledger.trials(),
        wanted_candidates(experiment),
        lambda trial: search.problem.plan(search.genomes, genome_of(trial, search.genomes)),
    )
    if settings.improves_plans:
        best = [improve_plan(experiment, NAME, search.problem, best[0], seen.planner.scores[name]), *best]
    won = decide(experiment, judged, best, f"-{NAME}")
    search.ledger.close()
    blend = search.genomes.decode(np.array([won.genome[name] for name in search.genomes.names]))
    planner = search.problem.planner
    blend = with_shares_of(won.plan, blend, planner)
    return make_contender(planner, blend, proxy=won.proxy, kind=RIVAL, plan=won.plan)


def describe_own_shares(experiment: Experiment) -> RivalRecord | None:
    """Return which criterion it is and what its search cost; None where there is no such rival."""
    folder = experiment.folder
    if not folder.has(RECORD):
        return None
    state = folder.read_json(RECORD)
    with taken_from(folder / RECORD):
        generations = [Generation.model_validate(one) for one in state["generations"]]
        return RivalRecord(
            blend=Blend.single(state["criterion"]).to_dict(),
            note=state["criterion"],
            evaluations=generations[-1].distinct,
            passes=sum(one.passes for one in generations),
            seconds=round(sum(one.seconds for one in generations), 3),
        )


def _search(experiment: Experiment, seen: SearchProblem, criterion: str) -> Search:
    """Return the search for the shares of one criterion, taken up where a stopped run left it."""
    folder, settings = experiment.folder, experiment.space.search
    groups = list(experiment.structure.widths)
    alone = Clusters(NETWORK, {NETWORK: tuple(groups)}, {NETWORK: ((criterion,),)})
    genomes = GenomeSpace(alone, searched_groups(experiment))
    whole = seen.planner
    planner = Planner(
        whole.structure, {criterion: whole.scores[criterion]}, whole.allocation, whole.budget, whole.losses
    )
    starts = starting_genomes(planner, genomes)

    def save(state: State) -> None:
        folder.write_json(RECORD, {**state, "criterion": criterion})

    search = kind_of_search(settings.window)(
        problem=replace(seen, planner=planner, fitness=_knowing_nothing(experiment, seen.fitness)),
        genomes=genomes,
        algorithm=make_algorithm(settings, genomes, seed=experiment.seed("search"), initial=list(starts.values())),
        ledger=open_ledger(experiment, NAME),
        save=save,
        progress=_named(experiment.progress),
        base_names=list(starts),
    )
    if folder.has(RECORD):
        with taken_from(folder / RECORD):
            search.load_state_dict(folder.read_json(RECORD))
        check_trials(search.ledger, search.generations)
    return search


def _knowing_nothing(experiment: Experiment, fitness: FitnessFunction) -> FitnessFunction:
    """Return a fitness function with the same proxy and workers, to which every plan is new: so costs are equal.

    It writes into the same journal, but takes from there what it wrote itself alone.
    """
    other = copy.copy(fitness)
    other.journal = fitness.journal and fitness.journal.of_another(NAME)
    other.known, other.failures, other.stopped = {}, {}, set()
    other.leaders = make_leaders(experiment.space.search)
    return other


def _named(progress: Progress) -> Progress:
    def named(task: str, done: int, total: int, detail: str = "") -> None:
        progress("shares for one criterion" if task == "search" else task, done, total, detail)

    return named
