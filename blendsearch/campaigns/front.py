"""The front of a search with several objectives: which of its points are retrained, and what stands beside each."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from blendsearch.campaigns.comparison import averages, interval
from blendsearch.campaigns.entrants import Entrant, entrant, first_rival
from blendsearch.campaigns.folder import RunFolder
from blendsearch.campaigns.workbench import Workbench
from blendsearch.search.evolve import Search
from blendsearch.search.fitness import Evaluation, Planner
from blendsearch.search.genome import GenomeSpace
from blendsearch.search.ledger import Trial
from blendsearch.search.objectives import Objectives, plan_of, planner_of
from blendsearch.search.pareto import non_dominated, spread_over
from blendsearch.search.rungs import Fitness

RECORD = "records/front.json"
POINT, BESIDE = "front", "front criterion"


def objectives_of(bench: Workbench) -> Objectives:
    """Return what the search of a space maximises."""
    return Objectives(tuple(bench.space.search.objectives))


def best_at_full_budget(trials: Sequence[Trial], genomes: GenomeSpace) -> tuple[np.ndarray, float]:
    """Return genome and proxy of the best trial at the highest budget, which the base criteria have from the start."""
    found = [(np.array([trial.params[name] for name in genomes.names]), trial.value) for trial in trials]
    full = [(genome, value) for genome, value in found if np.array_equal(genome, genomes.at_highest(genome))]
    return max(full, key=lambda entry: entry[1])


def front_entrants(
    bench: Workbench,
    folder: RunFolder,
    planner: Planner,
    fitness: Fitness,
    genomes: GenomeSpace,
    search: Search,
    blend: Entrant,
    trials: Sequence[Trial],
) -> dict[str, Entrant]:
    """Return name -> entrant of the points of the front beside the campaign's blend, each with its criterion.

    blend: the campaign's, at the full budget, which is point 1. The criterion beside a point is the one that the
    proxy puts first at the point's budget. Writes records/front.json, from which a stopped run's choice is read.
    """
    if not folder.has(RECORD):
        folder.write_json(RECORD, _record(bench, planner, fitness, genomes, search, blend, trials))
    result: dict[str, Entrant] = {}
    for point in folder.read_json(RECORD)["points"][1:]:
        genome = np.array(point["genome"])
        at = planner_of(planner, genomes, genome)
        own = entrant(blend.allocation_name, at, genomes.decode(genome), point["proxy"], POINT)
        _, beside = first_rival(at, fitness, [point["criterion"]], blend.allocation_name, BESIDE)
        result |= {_name(point): own, _beside(point): beside}
    return result


def _record(
    bench: Workbench,
    planner: Planner,
    fitness: Fitness,
    genomes: GenomeSpace,
    search: Search,
    blend: Entrant,
    trials: Sequence[Trial],
) -> dict[str, Any]:
    """Return what the front is: its costs, the points that are retrained, every trial and which are on the front."""
    shares = search.objectives.shares(planner.plan(blend.blend), planner.structure.cost)
    front = search.backend.front
    chosen = spread_over([-point[1] for _, point in front], shares[0], bench.space.search.front - 1)
    points = []
    for place, (genome, proxy) in enumerate(
        [(genomes.encode(blend.blend), blend.proxy), *((front[at][0], front[at][1][0]) for at in chosen)], start=1
    ):
        at = planner_of(planner, genomes, genome)
        bench.progress("front", place - 1, len(chosen) + 1, f"budget {at.budget.ratio:.3f}")
        first, _ = first_rival(at, fitness, list(planner.scores), blend.allocation_name, BESIDE)
        points.append(
            {
                "place": place, "ratio": at.budget.ratio, "proxy": proxy, "criterion": first,
                "genome": genome.tolist(),
            }
        )  # fmt: skip
    bench.progress("front", len(points), len(points))
    values = [(trial.value, *(-share for share in trial.costs)) for trial in trials]
    return {
        "costs": list(search.objectives.costs),
        "lowest": bench.space.search.lowest,
        "highest": bench.budget.ratio,
        "points": points,
        "trials": [[trial.value, *trial.costs] for trial in trials],
        "front": non_dominated(values),
    }


def save_blends(folder: RunFolder, entrants: Mapping[str, Entrant], found_on: Mapping[str, Any]) -> None:
    """Write blends/front-N.json for every point of the front, each with its own budget as where it was found."""
    for point in folder.read_json(RECORD)["points"]:
        own = entrants[_name(point)]
        where = {**found_on, "budget": {own.budget.kind: own.budget.ratio}}
        where["proxy"] = {**found_on["proxy"], "value": own.proxy}
        path = folder / _file(point)
        path.parent.mkdir(exist_ok=True)
        replace(own.blend, found_on=where).save(path)


def drawn_at_full_budget(
    bench: Workbench,
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
    objectives, cost = objectives_of(bench), planner.structure.cost
    evaluations = _judged(bench, planner, fitness, genomes, drawn)
    points = [objectives.point(evaluation, cost) for evaluation in evaluations]
    front = set(non_dominated(points))
    full = [np.array_equal(genome, genomes.at_highest(genome)) for genome in drawn]
    order = sorted(range(len(drawn)), key=lambda number: (number not in front, -points[number][0], number))
    again = [number for number in order if not full[number]][:lifted]
    lifts = _judged(bench, planner, fitness, genomes, [genomes.at_highest(drawn[number]) for number in again])
    values = {number: evaluation.value for number, evaluation in enumerate(evaluations) if full[number]}
    values |= {number: evaluation.value for number, evaluation in zip(again, lifts, strict=True)}
    best = max(values, key=lambda number: (values[number], -number))
    return {"number": best, "proxy": values[best], "evaluations": len(drawn) + len(again)}


def _judged(
    bench: Workbench,
    planner: Planner,
    fitness: Fitness,
    genomes: GenomeSpace,
    drawn: Sequence[np.ndarray],
) -> list[Evaluation]:
    plans = [plan_of(planner, genomes, genome) for genome in drawn]
    size = len({plan.digest for plan in plans} - set(fitness.known))
    return fitness(plans, lambda count, value: bench.progress("random search", count, size, f"proxy {value:.4f}"))


def summarised(
    bench: Workbench, folder: RunFolder, entrants: Mapping[str, Entrant], records: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the points of the front, the dearest first, as summary.json tells them.

    Keys: place, budget (kept share), file, proxy, shares (kept, by kind), the averages of `comparison.averages`,
    criterion (the same, with name and allocation), difference and interval (blend minus criterion over paired
    seeds), same_filters.
    """
    return [_told(bench, point, entrants, records) for point in folder.read_json(RECORD)["points"]]


def _told(
    bench: Workbench,
    point: Mapping[str, Any],
    entrants: Mapping[str, Entrant],
    records: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    names = _name(point), _beside(point)
    sides = [[record for record in records if record["name"] == name] for name in names]
    kinds = ("flops", "params", *bench.space.search.objectives)
    told = [
        {
            "proxy": entrants[name].proxy,
            "allocation": entrants[name].allocation_name,
            "shares": {
                kind: statistics.fmean(bench.structure.cost.ratio(kind, record["kept"]) for record in own)
                for kind in dict.fromkeys(kinds)
            },
            **averages(own, name, entrants[name].kind),
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
    """Return the name of a point's entrant; the first is the campaign's blend."""
    return "blend" if point["place"] == 1 else f"point {point['place']}"


def _beside(point: Mapping[str, Any]) -> str:
    """Return the name of the entrant of a point's criterion; at the full budget all criteria are entrants."""
    name = str(point["criterion"])
    return name if point["place"] == 1 else f"{name} at point {point['place']}"


def _file(point: Mapping[str, Any]) -> str:
    return f"blends/front-{point['place']}.json"
