"""The search of a campaign: where it starts, how it goes on, what stands against it, and which blend it ends with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from blendsearch.blending import Blend, Clusters, Scores
from blendsearch.campaigns.search.ablation import enter_parts
from blendsearch.campaigns.search.choice import decide, wanted_candidates
from blendsearch.campaigns.search.finals import best_candidates
from blendsearch.campaigns.search.layer_by_layer import add_layer_by_layer, enter_elimination, enter_tilted
from blendsearch.campaigns.search.own_shares import enter_own_shares
from blendsearch.campaigns.search.pareto import best_at_full_budget, enter_front, save_front_blends
from blendsearch.campaigns.search.phases import PhasedSearch, plan_phases
from blendsearch.campaigns.search.random_search import enter_random_search
from blendsearch.campaigns.search.reallocation import with_shares_of
from blendsearch.campaigns.search.rivals import list_rivals
from blendsearch.campaigns.search.swaps import enter_swapped_choice, improve_plan
from blendsearch.campaigns.search.trials import note_failed, open_ledger, read_trials
from blendsearch.campaigns.search.warm_start import encode_given_blends
from blendsearch.evolution.problem import SearchProblem
from blendsearch.experiment.contenders import (
    Contender,
    Contenders,
    enter_criteria,
    enter_those_that_can,
    make_contender,
    with_members,
)
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.members import read_members
from blendsearch.experiment.problem import make_choice_problems
from blendsearch.experiment.provenance import describe_provenance
from blendsearch.results.records.retraining import (
    BLEND,
    CRITERION,
    LAYER_BY_LAYER,
    OWN_SHARES,
    RANDOM_SEARCH_NAME,
    SWAPPED,
    TILTED,
)
from blendsearch.structure import Plan

BLEND_FILE = "blend.json"
BLEND_PLAN_FILE = "blend-plan.json"
"""The filters that the blend keeps; plan.json is of the network that is shipped, whoever's it is."""


def evolve_contenders(experiment: Experiment, scores: Scores, clusters: Clusters) -> Contenders:
    """Evolve the blend; return it, every criterion, rivals, the blend's parts, the random search and the front."""
    space, folder = experiment.space, experiment.folder
    problem, judged = make_choice_problems(experiment, scores)
    search = run_search_phases(experiment, problem, scores, clusters)
    blend, proxy, plan = _choose_blend(experiment, judged, search)
    contenders = {BLEND: make_contender(problem.planner, blend, proxy=proxy, kind=BLEND, plan=plan)}
    criteria, failed = enter_criteria(judged, scores, CRITERION)
    contenders |= _first_by_proxy(criteria, space.search.retrained_criteria)
    if space.search.rivals_wanted:
        rivals, failed_rivals = enter_those_that_can(_rivals(experiment, problem, judged, scores))
        contenders, failed = {**contenders, **rivals}, {**failed, **failed_rivals}
    note_failed(experiment, failed)
    if space.search.ablation and blend.keep:
        contenders |= enter_parts(judged, blend)
    if space.search.random_search:
        contenders[RANDOM_SEARCH_NAME] = enter_random_search(experiment, search, judged)
    members = read_members(folder)
    contenders = with_members(contenders, members)
    folder.write_json("records/proxies.json", {name: one.proxy for name, one in contenders.items()})
    provenance = describe_provenance(experiment, proxy, list(scores))
    noted = replace(contenders[BLEND].blend, found_on=provenance.to_dict())
    noted.save(folder / BLEND_FILE)
    folder.write_json(BLEND_PLAN_FILE, (plan or problem.planner.plan(noted)).to_dict())
    if space.search.objectives:
        front = enter_front(experiment, search, contenders[BLEND], read_trials(experiment))
        contenders = with_members({**contenders, **front}, members)
        save_front_blends(experiment, contenders, provenance)
    return contenders


def _first_by_proxy(criteria: Contenders, count: int | str) -> Contenders:
    """Return the criteria that are to be retrained: so many of the highest proxy, at a tie the first, or all."""
    if count == "all":
        return criteria
    order = sorted(criteria, key=lambda name: -criteria[name].proxy)[: int(count)]
    return {name: one for name, one in criteria.items() if name in order}


def _rivals(
    experiment: Experiment, problem: SearchProblem, judged: SearchProblem, scores: Scores
) -> dict[str, Callable[[], Contender]]:
    """Return what enters each rival that the space wants."""
    wanted = experiment.space.rivals
    rivals = list_rivals(experiment, problem, judged, scores)
    if "elimination" in wanted:
        rivals[LAYER_BY_LAYER] = partial(enter_elimination, experiment, judged)
    if "tilted" in wanted and len(scores) > 1:
        rivals[TILTED] = partial(enter_tilted, experiment, problem, judged)
    if "swapped" in wanted:
        rivals[SWAPPED] = partial(enter_swapped_choice, experiment, problem, judged)
    if "own_shares" in wanted:
        rivals[OWN_SHARES] = partial(enter_own_shares, experiment, problem, judged)
    return rivals


def run_search_phases(
    experiment: Experiment, problem: SearchProblem, scores: Scores, clusters: Clusters
) -> PhasedSearch:
    """Run the search of a space, or go on with a stopped one, to its end."""
    settings = experiment.space.search
    phases = plan_phases(experiment, scores, clusters)
    given = encode_given_blends(experiment, phases, list(scores))
    search = PhasedSearch(experiment, problem, phases, given, open_ledger(experiment))
    search.run()
    if settings.objectives:
        search.last.refine_front(settings.population)
    search.ledger.close()
    return search


def _choose_blend(
    experiment: Experiment, judged: SearchProblem, search: PhasedSearch
) -> tuple[Blend, float, Plan | None]:
    """Return blend, proxy and plan of the best: by the proxy, or, where there are finals or a choice, of those who win.

    With several objectives it is the best at the full budget. No plan: the one that the blend's scores lead to.
    """
    settings = experiment.space.search
    if settings.objectives:
        genome, proxy = best_at_full_budget(read_trials(experiment), search.finest)
        return search.finest.decode(genome), proxy, None
    chosen_otherwise = any(one is not None for one in (settings.finals, settings.choice, settings.layer_by_layer))
    if not chosen_otherwise and not settings.improves_plans:
        return *search.winner(), None
    trials = read_trials(experiment)
    count, planner = max(settings.layer_by_layer or 1, wanted_candidates(experiment)), search.problem.planner
    best = best_candidates(trials, count, lambda trial: planner.plan(search.blend_of(trial)))
    if settings.layer_by_layer is not None:
        blends = [search.blend_of(trials[one.number]) for one in best]
        # By the proxy that the search saw; a choice judges the first of them on fresh images.
        pairs = list(zip(best, blends, strict=True))
        best = add_layer_by_layer(experiment, BLEND, search.problem, pairs)
    if settings.improves_plans:
        scores = planner.group_scores(search.blend_of(trials[best[0].number]))
        best = [improve_plan(experiment, BLEND, search.problem, best[0], scores), *best]
    won = decide(experiment, judged, best)
    return with_shares_of(won.plan, search.blend_of(trials[won.number]), planner), won.proxy, won.plan
