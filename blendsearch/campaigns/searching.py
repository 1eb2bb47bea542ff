"""The search of a campaign: where it starts, how it goes on, what stands against it, and which blend it ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from blendsearch.allocation import Allocation, Evolved, weights_of
from blendsearch.blending import Blend, Clusters, Scores
from blendsearch.campaigns.control import chance, drawn_by_chance, fitness_of
from blendsearch.campaigns.finals import Finalist, best_distinct, finals
from blendsearch.campaigns.folder import RunFolder
from blendsearch.campaigns.versions import versions
from blendsearch.campaigns.workbench import Workbench, data_name
from blendsearch.compute import child_seed
from blendsearch.config import SearchConfig
from blendsearch.search.backends import BACKENDS
from blendsearch.search.evolve import Generation, Search, stopped_by
from blendsearch.search.fitness import FitnessFunction, Planner
from blendsearch.search.genome import GenomeSpace
from blendsearch.search.ledger import Ledger
from blendsearch.search.rungs import RungFitness

BLEND = "blend"
CONTROL = "random search"


@dataclass(frozen=True)
class Entrant:
    """What is to be retrained: a blend (a criterion is a blend of one), what shares out its budget, its proxy."""

    blend: Blend
    allocation: Allocation
    allocation_name: str
    proxy: float


def searched(bench: Workbench, folder: RunFolder, scores: Scores, clusters: Clusters) -> dict[str, Entrant]:
    """Evolve the blend; return name -> entrant: the blend, every criterion, and the control where there is one."""
    space = bench.space
    planner = Planner(bench.structure, scores, bench.allocation, bench.budget)
    fitness = fitness_of(bench)
    kept = list(bench.structure.widths) if isinstance(bench.allocation, Evolved) else ()
    genomes = GenomeSpace(clusters, kept)
    starts = starting_genomes(planner, genomes)
    search = _evolved(bench, folder, planner, fitness, genomes, starts)
    genome, value = _winner(bench, folder, planner, genomes, search)
    found = {BLEND: _entrant(space.allocation.name, planner, genomes.decode(genome), value)}
    found |= {name: _rival(planner, fitness, name, space.allocation.name) for name in scores}
    if space.search.control:
        found[CONTROL] = _control(bench, folder, planner, fitness, genomes, list(starts.values()), search)
    folder.write_json("records/proxies.json", {name: entrant.proxy for name, entrant in found.items()})
    noted = replace(found[BLEND].blend, found_on=_found_on(bench, value, list(scores)))
    noted.save(folder / "blend.json")
    folder.write_json("plan.json", planner.plan(noted).to_dict())
    return found


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


def _evolved(
    bench: Workbench,
    folder: RunFolder,
    planner: Planner,
    fitness: FitnessFunction | RungFitness,
    genomes: GenomeSpace,
    starts: Mapping[str, np.ndarray],
) -> Search:
    """Run the search, or go on with a stopped one, to its end."""
    settings = bench.space.search
    backend = BACKENDS.get(settings.backend)(
        genomes, seed=child_seed(bench.space.seed, "search"), initial=list(starts.values()),
        population=settings.population, crossover=settings.crossover, mutation=settings.mutation,
        elite=settings.elite, tournament=settings.tournament, algorithm=settings.algorithm,
        sampler=settings.sampler,
    )  # fmt: skip
    ledger = _ledger(bench, folder)

    def save(state: dict[str, Any]) -> None:
        folder.write_json("records/evolution.json", state["generations"])
        folder.write_json("records/search.json", state)
        folder.event("generation", **state["generations"][-1])

    search = Search(genomes, backend, planner, fitness, ledger, save, bench.progress, list(starts))
    if folder.has("records/search.json"):
        search.load_state_dict(folder.read_json("records/search.json"))
    search.run(settings.generations, settings.population, settings.limit)
    ledger.close()
    return search


def _ledger(bench: Workbench, folder: RunFolder, *part: str) -> Ledger:
    """Open the study of the search, or of a part of it, in the folder's storage."""
    return Ledger(f"sqlite:///{(folder / 'trials.db').resolve()}", "-".join([bench.space.name, *part]))


def _winner(
    bench: Workbench, folder: RunFolder, planner: Planner, genomes: GenomeSpace, search: Search
) -> tuple[np.ndarray, float]:
    """Return genome and proxy of the best: by the proxy, or, where the space has finals, of those who win them."""
    assert search.backend.best is not None
    if bench.space.search.finals is None:
        return search.backend.best
    ledger = _ledger(bench, folder)
    trials = ledger.trials()
    ledger.close()
    values = [(trial.attrs["plan"], trial.value) for trial in trials]
    found = {}
    for position in best_distinct(values, bench.space.search.finals.candidates):
        genome = np.array([trials[position].params[name] for name in genomes.names])
        found[position] = genome, trials[position].value
    won = _finals(bench, folder, planner, genomes, found, "finals")
    return found[won]


def _finals(
    bench: Workbench,
    folder: RunFolder,
    planner: Planner,
    genomes: GenomeSpace,
    candidates: Mapping[int, tuple[np.ndarray, float]],
    name: str,
) -> int:
    """Hold finals between candidates, number -> (genome, proxy); return the winner's number."""
    finalists = [
        Finalist(number, genomes.params(genome), planner.plan(genomes.decode(genome)), proxy)
        for number, (genome, proxy) in candidates.items()
    ]
    ledger = _ledger(bench, folder, name)
    won = finals(bench, folder, name, finalists, ledger)
    ledger.close()
    return won.number


def cost_of(search: SearchConfig, generations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what ended a search and what it cost, from its generations as recorded.

    Keys: stopped_by ("generations" or a kind of limit), evaluations (different plans), seconds and passes (of
    evaluations, added up over the workers).
    """
    past = [Generation(**generation) for generation in generations]
    return {
        "stopped_by": stopped_by(past, search.generations, search.limit),
        "evaluations": past[-1].distinct,
        "seconds": round(sum(generation.seconds for generation in past), 3),
        "passes": sum(generation.passes for generation in past),
    }


def _entrant(allocation: str, planner: Planner, blend: Blend, value: float) -> Entrant:
    return Entrant(blend, planner.allocation_of(blend), allocation, value)


def _rival(planner: Planner, fitness: FitnessFunction | RungFitness, name: str, allocation_name: str) -> Entrant:
    """Return a criterion under the space's allocation; under "evolved", with that start which the proxy prefers."""
    blend, scores = Blend.single(name), planner.scores[name]
    evolved = isinstance(planner.allocation, Evolved)
    starts = planner.allocation.start if isinstance(planner.allocation, Evolved) else {}
    choices: dict[str, Allocation] = dict(starts) if evolved else {allocation_name: planner.allocation}
    plans = [allocation.plan(planner.structure, scores, planner.budget) for allocation in choices.values()]
    values = fitness.deciding(plans)
    best = max(range(len(values)), key=values.__getitem__)
    chosen = list(choices)[best]
    return Entrant(blend, choices[chosen], chosen, values[best])


def _control(
    bench: Workbench,
    folder: RunFolder,
    planner: Planner,
    fitness: FitnessFunction | RungFitness,
    genomes: GenomeSpace,
    starts: Sequence[np.ndarray],
    search: Search,
) -> Entrant:
    """Return the best of the same start and random genomes at the search's cost: what chance would find."""
    assert search.generations
    if not folder.has("records/control.json"):
        folder.write_json(
            "records/control.json", drawn_by_chance(bench, planner, fitness, genomes, starts, search.generations)
        )
    record = folder.read_json("records/control.json")
    drawn = list(islice(chance(bench, genomes, starts), record["evaluations"]))
    number, proxy = record["number"], record["proxy"]
    if bench.space.search.finals is not None:
        candidates = {number: (drawn[number], proxy) for number, proxy in record["finalists"]}
        number = _finals(bench, folder, planner, genomes, candidates, "finals-control")
        proxy = candidates[number][1]
    return _entrant(bench.space.allocation.name, planner, genomes.decode(drawn[number]), proxy)


def _found_on(bench: Workbench, value: float, criteria: list[str]) -> dict[str, Any]:
    """Return what the blend was found on."""
    space = bench.space
    return {
        "name": space.name,
        "model": space.model.name,
        "data": data_name(bench),
        "data_fingerprint": bench.splits.fingerprint,
        "budget": {bench.budget.kind: bench.budget.ratio},
        "allocation": space.allocation.name,
        "proxy": {"name": space.proxy.name, "value": value},
        "criteria": criteria,
        "seed": space.seed,
        "versions": versions(),
    }
