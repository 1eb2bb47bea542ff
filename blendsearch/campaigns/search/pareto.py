"""The front of a search with several objectives: which of its points are retrained, and what stands beside each."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from blendsearch.evolution.fitness import Evaluation, Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.ledger import Trial
from blendsearch.evolution.loop import Search
from blendsearch.evolution.objectives import Objectives, plan_of, planner_of
from blendsearch.evolution.pareto import non_dominated, spread_over
from blendsearch.evolution.rungs import Fitness
from blendsearch.experiment.contenders import Contender, best_criterion_contender, contender
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.paired import averages, interval
from blendsearch.results.run_folder import RunFolder

RECORD = "records/front.json"
POINT, BESIDE = "front", "front criterion"


def objectives_of(experiment: Experiment) -> Objectives:
    """Return what the search of a space maximises."""
    return Objectives(tuple(experiment.space.search.objectives))


def best_at_full_budget(trials: Sequence[Trial], genomes: GenomeSpace) -> tuple[np.ndarray, float]:
    """Return genome and proxy of the best trial at the highest budget, which the base criteria have from the start."""
    found = [(np.array([trial.params[name] for name in genomes.names]), trial.value) for trial in trials]
    full = [(genome, value) for genome, value in found if np.array_equal(genome, genomes.at_highest(genome))]
    return max(full, key=lambda entry: entry[1])


def front_entrants(
    experiment: Experiment,
    folder: RunFolder,
    planner: Planner,
    fitness: Fitness,
    genomes: GenomeSpace,
    search: Search,
    blend: Contender,
    trials: Sequence[Trial],
) -> dict[str, Contender]:
    """Return name -> contender of the points of the front beside the campaign's blend, each with its criterion.

    blend: the campaign's, at the full budget, which is point 1. The criterion beside a point is the one that the
    proxy puts first at the point's budget. Writes records/front.json, from which a stopped run's choice is read.
    """
    if not folder.has(RECORD):
        folder.write_json(RECORD, _record(experiment, planner, fitness, genomes, search, blend, trials))
    result: dict[str, Contender] = {}
    for point in folder.read_json(RECORD)["points"][1:]:
        genome = np.array(point["genome"])
        at = planner_of(planner, genomes, genome)
        own = contender(blend.allocation_name, at, genomes.decode(genome), point["proxy"], POINT)
        _, beside = best_criterion_contender(at, fitness, [point["criterion"]], blend.allocation_name, BESIDE)
        result |= {_name(point): own, _beside(point): beside}
    return result


def _record(
    experiment: Experiment,
    planner: Planner,
    fitness: Fitness,
    genomes: GenomeSpace,
    search: Search,
    blend: Contender,
    trials: Sequence[Trial],
) -> dict[str, Any]:
    """Return what the front is: its costs, the points that are retrained, every trial and which are on the front."""
    shares = search.objectives.shares(planner.plan(blend.blend), planner.structure.cost)
    front = search.backend.front
    chosen = spread_over([-point[1] for _, point in front], shares[0], experiment.space.search.front - 1)
    points = []
    for place, (genome, proxy) in enumerate(
        [(genomes.encode(blend.blend), blend.proxy), *((front[at][0], front[at][1][0]) for at in chosen)], start=1
    ):
        at = planner_of(planner, genomes, genome)
        experiment.progress("front", place - 1, len(chosen) + 1, f"budget {at.budget.ratio:.3f}")
        first, _ = best_criterion_contender(at, fitness, list(planner.scores), blend.allocation_name, BESIDE)
        points.append(
            {
                "place": place, "ratio": at.budget.ratio, "proxy": proxy, "criterion": first,
                "genome": genome.tolist(),
            }
        )  # fmt: skip
    experiment.progress("front", len(points), len(points))
    values = [(trial.value, *(-share for share in trial.costs)) for trial in trials]
    return {
        "costs": list(search.objectives.costs),
        "lowest": experiment.space.search.lowest,
        "highest": experiment.budget.ratio,
        "points": points,
        "trials": [[trial.value, *trial.costs] for trial in trials],
        "front": non_dominated(values),
    }


def save_blends(folder: RunFolder, contenders: Mapping[str, Contender], found_on: Mapping[str, Any]) -> None:
    """Write blends/front-N.json for every point of the front, each with its own budget as where it was found."""
    for point in folder.read_json(RECORD)["points"]:
        own = contenders[_name(point)]
        where = {**found_on, "budget": {own.budget.kind: own.budget.ratio}}
        where["proxy"] = {**found_on["proxy"], "value": own.proxy}
        path = folder / _file(point)
        path.parent.mkdir(exist_ok=True)
        replace(own.blend, found_on=where).save(path)


def drawn_at_full_budget(
    experiment: Experiment,
    planner: Planner,
    fitness: Fitness,
    genomes: GenomeSpace,
    drawn: Sequence[np.ndarray],
    lifted: int,
) -> dict[str, Any]:
    """Evaluate genomes that chance drew, then as many of the best at the full budget as the search did.

    Those of their front come first, by proxy. Keys: number (of the genome that is best at the full budget) and its
    proxy there, evaluations.
    """
    objectives, cost = objectives_of(experiment), planner.structure.cost
    evaluations = _judged(experiment, planner, fitness, genomes, drawn)
    points = [objectives.point(evaluation, cost) for evaluation in evaluations]
    front = set(non_dominated(points))
    full = [np.array_equal(genome, genomes.at_highest(genome)) for genome in drawn]
    order = sorted(range(len(drawn)), key=lambda number: (number not in front, -points[number][0], number))
    again = [number for number in order if not full[number]][:lifted]
    lifts = _judged(experiment, planner, fitness, genomes, [genomes.at_highest(drawn[number]) for number in again])
    values = {number: evaluation.value for number, evaluation in enumerate(evaluations) if full[number]}
    values |= {number: evaluation.value for number, evaluation in zip(again, lifts, strict=True)}
    best = max(values, key=lambda number: (values[number], -number))
    return {"number": best, "proxy": values[best], "evaluations": len(drawn) + len(again)}


def _judged(
    experiment: Experiment,
    planner: Planner,
    fitness: Fitness,
    genomes: GenomeSpace,
    drawn: Sequence[np.ndarray],
) -> list[Evaluation]:
    plans = [plan_of(planner, genomes, genome) for genome in drawn]
    size = len({plan.digest for plan in plans} - set(fitness.known))
    return fitness(plans, lambda count, value: experiment.progress("random search", count, size, f"proxy {value:.4f}"))


def summarised(
    experiment: Experiment, folder: RunFolder, contenders: Mapping[str, Contender], records: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the points of the front, the dearest first, as summary.json tells them.

    Keys: place, budget (kept share), file, proxy, shares (kept, by kind), the averages of `comparison.averages`,
    criterion (the same, with name and allocation), difference and interval (blend minus criterion over paired
    seeds), same_filters.
    """
    return [_told(experiment, point, contenders, records) for point in folder.read_json(RECORD)["points"]]


def _told(
    experiment: Experiment,
    point: Mapping[str, Any],
    contenders: Mapping[str, Contender],
    records: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    names = _name(point), _beside(point)
    sides = [[record for record in records if record["name"] == name] for name in names]
    kinds = ("flops", "params", *experiment.space.search.objectives)
    told = [
        {
            "proxy": contenders[name].proxy,
            "allocation": contenders[name].allocation_name,
            "shares": {
                kind: statistics.fmean(experiment.structure.cost.ratio(kind, record["kept"]) for record in own)
                for kind in dict.fromkeys(kinds)
            },
            **averages(own, name, contenders[name].kind),
        }
        for name, own in zip(names, sides, strict=True)
    ]
    pairs = [own["test_accuracy"] - other["test_accuracy"] for own, other in zip(*sides, strict=True)]
    return {
        "place": point["place"],
        "budget": point["ratio"],
        "file": _file(point),
        **told[0],
        "criterion": {"name": point["criterion"], **told[1]},
        "difference": statistics.fmean(pairs),
        "interval": interval(pairs),
        "same_filters": [record["plan"] for record in sides[0]] == [record["plan"] for record in sides[1]],
    }


def _name(point: Mapping[str, Any]) -> str:
    """Return the name of a point's contender; the first is the campaign's blend."""
    return "blend" if point["place"] == 1 else f"point {point['place']}"


def _beside(point: Mapping[str, Any]) -> str:
    """Return the name of the contender of a point's criterion; at the full budget all criteria are contenders."""
    name = str(point["criterion"])
    return name if point["place"] == 1 else f"{name} at point {point['place']}"


def _file(point: Mapping[str, Any]) -> str:
    return f"blends/front-{point['place']}.json"
