"""The front of a search with several objectives: which of its points are retrained, and what stands beside each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from blendsearch.campaigns.search.phases import PhasedSearch, genome_of
from blendsearch.evolution.failure import count_reasons, value_words
from blendsearch.evolution.fitness import Evaluation
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.ledger import Trial
from blendsearch.evolution.pareto import non_dominated, spread_over
from blendsearch.experiment.contenders import Contender, Contenders, enter_first_criterion, make_contender
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.paired import average, compare_two
from blendsearch.results.records.provenance import Provenance
from blendsearch.results.records.retraining import FRONT, FRONT_CRITERION, RetrainingOutcome
from blendsearch.results.records.search import (
    FrontChoice,
    FrontCriterion,
    FrontPoint,
    FrontRecord,
    FrontSide,
    RandomSearchRecord,
)

RECORD = "records/front.json"


def best_at_full_budget(trials: Sequence[Trial], genomes: GenomeSpace) -> tuple[np.ndarray, float]:
    """Return genome and proxy of the best trial at the highest budget, which the base criteria have from the start."""
    found = [(genome_of(trial, genomes), trial.value) for trial in trials]
    full = [(genome, value) for genome, value in found if np.array_equal(genome, genomes.at_highest(genome))]
    return max(full, key=lambda entry: entry[1])


def enter_front(experiment: Experiment, search: PhasedSearch, blend: Contender, trials: Sequence[Trial]) -> Contenders:
    """Return the points of the front beside the campaign's blend, each with its criterion.

    blend: the campaign's, at the full budget, which is point 1. The criterion beside a point is the one that the
    proxy puts first at the point's budget. Writes records/front.json, from which a stopped run's choice is read.
    """
    record = experiment.folder.cached(RECORD, FrontRecord, lambda: _choose(experiment, search, blend, trials))
    genomes = search.finest
    result: Contenders = {}
    for point in record.points[1:]:
        genome = np.array(point.genome)
        problem = search.problem.at_budget_of(genomes, genome)
        own = make_contender(problem.planner, genomes.decode(genome), proxy=point.proxy, kind=FRONT)
        _, beside = enter_first_criterion(problem, [point.criterion], FRONT_CRITERION)
        result |= {_name(point): own, _name_beside(point): beside}
    return result


def _choose(experiment: Experiment, search: PhasedSearch, blend: Contender, trials: Sequence[Trial]) -> FrontRecord:
    """Return what the front is: its costs, the points that are retrained, every trial and which are on the front."""
    planner, genomes = search.problem.planner, search.finest
    settings = experiment.space.search
    shares = search.problem.shares(planner.plan(blend.blend))
    front = search.last.algorithm.front
    chosen = spread_over([-point[1] for _, point in front], shares[0], settings.front - 1)
    candidates = [(genomes.encode(blend.blend), blend.proxy), *((front[at][0], front[at][1][0]) for at in chosen)]
    points = []
    for place, (genome, proxy) in enumerate(candidates, start=1):
        problem = search.problem.at_budget_of(genomes, genome)
        ratio = problem.planner.budget.ratio
        experiment.progress("front", place - 1, len(candidates), f"budget {ratio:.3f}")
        first, _ = enter_first_criterion(problem, list(planner.scores), FRONT_CRITERION)
        points.append(FrontChoice(place=place, ratio=ratio, proxy=proxy, criterion=first, genome=genome.tolist()))
    experiment.progress("front", len(points), len(points))
    came = [trial for trial in trials if trial.failure is None]
    return FrontRecord(
        costs=list(search.problem.objectives),
        lowest=settings.lowest,
        highest=experiment.budget.ratio,
        points=points,
        trials=[[trial.value, *trial.costs] for trial in came],
        front=non_dominated([(trial.value, *(-share for share in trial.costs)) for trial in came]),
    )


def save_front_blends(experiment: Experiment, contenders: Mapping[str, Contender], provenance: Provenance) -> None:
    """Write blends/front-N.json for every point of the front, each with its own budget as where it was found."""
    assert provenance.proxy is not None
    for point in _points(experiment):
        own = contenders[_name(point)]
        proxy = provenance.proxy.model_copy(update={"value": own.proxy})
        where = provenance.model_copy(update={"budget": {own.budget.kind: own.budget.ratio}, "proxy": proxy})
        path = experiment.folder / _file(point)
        path.parent.mkdir(exist_ok=True)
        replace(own.blend, found_on=where.to_dict()).save(path)


def judge_at_full_budget(
    experiment: Experiment, search: PhasedSearch, drawn: Sequence[np.ndarray], refined: int
) -> RandomSearchRecord:
    """Judge genomes that chance drew, then as many of the best at the full budget as the search did.

    Those of their front come first, by proxy. The best of the record is that at the full budget.
    """
    genomes = search.finest
    evaluations = _judge(experiment, search, drawn)
    points = [search.problem.point(evaluation) for evaluation in evaluations]
    came = [number for number, evaluation in enumerate(evaluations) if not evaluation.failure]
    front = {came[place] for place in non_dominated([points[number] for number in came])}
    full = [np.array_equal(genome, genomes.at_highest(genome)) for genome in drawn]
    order = sorted(came, key=lambda number: (number not in front, -points[number][0], number))
    again = [number for number in order if not full[number]][:refined]
    at_highest = _judge(experiment, search, [genomes.at_highest(drawn[number]) for number in again])
    values = {number: evaluation.value for number, evaluation in enumerate(evaluations) if full[number]}
    values |= {number: evaluation.value for number, evaluation in zip(again, at_highest, strict=True)}
    best = max(values, key=lambda number: (values[number], -number))
    failed = count_reasons(evaluation.failure for evaluation in [*evaluations, *at_highest])
    return RandomSearchRecord(number=best, proxy=values[best], evaluations=len(drawn) + len(again), failed=failed)


def _judge(experiment: Experiment, search: PhasedSearch, drawn: Sequence[np.ndarray]) -> list[Evaluation]:
    fitness = search.problem.fitness
    plans = [search.problem.plan(search.finest, genome) for genome in drawn]
    size = len({plan.digest for plan in plans} - set(fitness.known))

    def done(count: int, value: float) -> None:
        experiment.progress("random search", count, size, f"proxy {value_words(value)}")

    return fitness(plans, done, most_failed=len(plans) // 2)


def summarise_front(
    experiment: Experiment, contenders: Mapping[str, Contender], outcomes: Sequence[RetrainingOutcome]
) -> list[FrontPoint]:
    """Return the points of the front as summary.json tells them, the dearest first."""
    return [_summarise(experiment, point, contenders, outcomes) for point in _points(experiment)]


def _summarise(
    experiment: Experiment,
    point: FrontChoice,
    contenders: Mapping[str, Contender],
    outcomes: Sequence[RetrainingOutcome],
) -> FrontPoint:
    names = _name(point), _name_beside(point)
    own, beside = ([one for one in outcomes if one.name == name] for name in names)
    point_side, criterion_side = (
        _side(experiment, contenders[name], side) for name, side in zip(names, (own, beside), strict=True)
    )
    found = compare_two(own, beside)
    return FrontPoint(
        place=point.place,
        budget=point.ratio,
        file=_file(point),
        **point_side.model_dump(),
        criterion=FrontCriterion(name=point.criterion, **criterion_side.model_dump()),
        difference=found.difference,
        interval=found.interval,
        same_filters=[one.plan for one in own] == [one.plan for one in beside],
    )


def _side(experiment: Experiment, contender: Contender, outcomes: Sequence[RetrainingOutcome]) -> FrontSide:
    cost = experiment.structure.cost
    kinds = dict.fromkeys(("flops", "params", *experiment.space.search.objectives))
    return FrontSide(
        proxy=contender.proxy,
        allocation=contender.allocation.name,
        shares={kind: fmean(cost.ratio(kind, one.kept) for one in outcomes) for kind in kinds},
        **average(outcomes, outcomes[0].name, contender.kind).model_dump(),
    )


def _points(experiment: Experiment) -> list[FrontChoice]:
    return experiment.folder.read_record(RECORD, FrontRecord).points


def _name(point: FrontChoice) -> str:
    """Return the name of a point's contender; the first is the campaign's blend."""
    return "blend" if point.place == 1 else f"point {point.place}"


def _name_beside(point: FrontChoice) -> str:
    """Return the name of the contender of a point's criterion; at the full budget all criteria are contenders."""
    return point.criterion if point.place == 1 else f"{point.criterion} at point {point.place}"


def _file(point: FrontChoice) -> str:
    return f"blends/front-{point.place}.json"
