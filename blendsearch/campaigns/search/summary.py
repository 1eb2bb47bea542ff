"""What a search campaign came to, put into one record; retrainings and groups into theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from blendsearch.campaigns.search.ablation import summarise_parts
from blendsearch.campaigns.search.choice import summarise_choice
from blendsearch.campaigns.search.pareto import summarise_front
from blendsearch.campaigns.search.phases import read_generations, summarise_phases
from blendsearch.campaigns.search.random_search import read_random_search
from blendsearch.campaigns.search.reallocation import summarise_reallocation
from blendsearch.campaigns.search.rivals import describe_rivals
from blendsearch.campaigns.search.shipping import Winner, summarise_shipped
from blendsearch.campaigns.search.swaps import summarise_swaps
from blendsearch.campaigns.search.trials import read_failed
from blendsearch.evolution.algorithms import name_algorithm
from blendsearch.evolution.loop import stopped_by
from blendsearch.experiment.contenders import Contenders
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.latency import compare_latency
from blendsearch.results.optimism import measure_optimism
from blendsearch.results.paired import Judge, average, compare, measure_fidelity, same_filters
from blendsearch.results.records.common import UnprunedRecord
from blendsearch.results.records.retraining import (
    BLEND,
    CRITERION,
    FRONT,
    FRONT_CRITERION,
    RANDOM_SEARCH_NAME,
    RIVAL,
    RetrainingOutcome,
)
from blendsearch.results.records.scoring import ScoresRecord
from blendsearch.results.records.search import (
    FinalsRecord,
    FinalsSummary,
    Generation,
    GroupRecord,
    Outcome,
    RetrainedEntry,
    Rival,
    SearchCost,
    SearchSummary,
)
from blendsearch.results.run_folder import versions

Outcomes = Sequence[RetrainingOutcome]


def summarise(
    experiment: Experiment,
    unpruned: UnprunedRecord,
    scored: ScoresRecord,
    contenders: Contenders,
    outcomes: Outcomes,
    winner: Winner,
) -> SearchSummary:
    """Return summary.json of a campaign; write records/retrained.json and records/groups.json beside it."""
    space, folder, search = experiment.space, experiment.folder, experiment.space.search
    front = summarise_front(experiment, contenders, outcomes) if search.objectives else []
    outcomes = [one for one in outcomes if one.kind not in (FRONT, FRONT_CRITERION)]
    _write_outcomes(experiment, contenders, outcomes)
    blend = _outcome(contenders, outcomes, BLEND)
    failed = read_failed(experiment)
    criteria = {name: _outcome(contenders, outcomes, name) for name in scored.criteria if name in contenders}
    drawn = _outcome(contenders, outcomes, RANDOM_SEARCH_NAME) if RANDOM_SEARCH_NAME in contenders else None
    truths = {name: outcome.test_accuracy for name, outcome in criteria.items()}
    if not same_filters(outcomes):  # else it would count twice
        truths[BLEND] = blend.test_accuracy
    generations = read_generations(folder)
    judge, data = Judge.of_outcomes(outcomes), experiment.data_record
    first = max(criteria, key=lambda name: contenders[name].proxy)
    return SearchSummary(
        shipped=summarise_shipped(experiment, winner, outcomes),
        name=space.name,
        seed=space.seed,
        seeds=space.retraining.seeds,
        budget=experiment.budget_record,
        allocation=space.allocation.name,
        schedule=space.schedule.name,
        proxy=space.proxy.name,
        algorithm=name_algorithm(search),
        unpruned=unpruned,
        blend=blend,
        latency=compare_latency(experiment, winner.network, winner.plan.counts),
        criteria=criteria,
        random_search=drawn,
        rivals=_rivals(experiment, contenders, outcomes),
        rivals_left_out={**describe_rivals(experiment).left_out, **_others(failed, scored)},
        ablation=summarise_parts(contenders, judge),
        left_out={**scored.left_out, **{name: why for name, why in failed.items() if name in scored.criteria}},
        not_retrained=[name for name in scored.criteria if name not in contenders and name not in failed],
        refused=experiment.structure.refused,
        comparison=compare(judge, first, improved=search.improves_plans),
        fidelity=measure_fidelity({name: one.proxy for name, one in contenders.items()}, truths),
        seconds={"train": unpruned.seconds, "statistics": scored.seconds, **folder.seconds},
        trials=generations[-1].evaluations,
        search=summarise_cost(experiment, generations),
        finals=_finals(experiment) if search.finals else None,
        choice=summarise_choice(experiment) if search.choice else None,
        reallocation=summarise_reallocation(experiment, BLEND),
        swaps=summarise_swaps(experiment, BLEND),
        optimism=None if experiment.given and experiment.given.metric_name else measure_optimism(unpruned, blend, data),
        metric=None if experiment.given is None else experiment.given.metric_name,
        front=front,
        versions=versions(),
        data=data,
    )


def summarise_cost(experiment: Experiment, generations: Sequence[Generation]) -> SearchCost:
    """Return what ended a search and what it cost, from its generations as recorded."""
    search = experiment.space.search
    return SearchCost(
        stopped_by=stopped_by(generations, search.generations, search.limit),
        evaluations=generations[-1].distinct,
        seconds=round(sum(generation.seconds for generation in generations), 3),
        passes=sum(generation.passes for generation in generations),
        phases=summarise_phases(generations),
        stopped=sum(generation.stopped for generation in generations),
        failed_draws=read_random_search(experiment).failed if search.random_search else {},
        failed=dict(sum((Counter(generation.failed) for generation in generations), Counter()).most_common()),
    )


def _others(failed: Mapping[str, str], scored: ScoresRecord) -> dict[str, str]:
    return {name: why for name, why in failed.items() if name not in scored.criteria}


def _outcome(contenders: Contenders, outcomes: Outcomes, name: str) -> Outcome:
    """Return what a contender came to; the allocation is told of those that may have another than the blend."""
    one = contenders[name]
    allocation = one.allocation.name if one.kind in (CRITERION, RIVAL) else None
    return Outcome(proxy=one.proxy, allocation=allocation, **average(outcomes, name, one.kind).model_dump())


def _rivals(experiment: Experiment, contenders: Contenders, outcomes: Outcomes) -> dict[str, Rival]:
    """Return what each fixed blend came to, and what choosing it cost."""
    told = describe_rivals(experiment).rivals
    found = {}
    for name in (name for name, one in contenders.items() if one.kind == RIVAL):
        cost = told[name].model_dump(include={"note", "evaluations", "seconds"}) if name in told else {}
        found[name] = Rival(**_outcome(contenders, outcomes, name).model_dump(), **cost)
    return found


def _write_outcomes(experiment: Experiment, contenders: Contenders, outcomes: Outcomes) -> None:
    folder = experiment.folder
    entries = [
        RetrainedEntry(**one.model_dump(exclude={"plan", "kept", "correct"}), proxy=contenders[one.name].proxy)
        for one in outcomes
    ]
    folder.write_record("records/retrained.json", entries, list[RetrainedEntry])
    first = [one for one in outcomes if one.seed == 0]
    groups = [
        GroupRecord(
            name=group.name,
            width=group.width,
            stage=group.stage,
            convolutions=list(group.convolutions),
            kept={one.name: one.kept[group.name] for one in first},
        )
        for group in experiment.structure.groups
    ]
    folder.write_record("records/groups.json", groups, list[GroupRecord])


def _finals(experiment: Experiment) -> FinalsSummary:
    record = experiment.folder.read_record("records/finals.json", FinalsRecord)
    return FinalsSummary(
        candidates=len(record.candidates),
        trainings=record.seeds * sum(len(one.accuracies) for one in record.candidates),
        seconds=record.seconds,
        proxy_was_right=record.candidates[0].stopped == "won",
    )
