"""The search of a campaign: where it starts, how it goes on, what stands against it, and which blend it ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from blendsearch.allocation import Evolved, weights_of
from blendsearch.blending import Clusters, Scores
from blendsearch.campaigns.checking import make
from blendsearch.campaigns.entrants import Entrant, entrant, rival
from blendsearch.campaigns.finals import Finalist, best_distinct, finals
from blendsearch.campaigns.folder import RunFolder
from blendsearch.campaigns.front import (
    best_at_full_budget,
    drawn_at_full_budget,
    front_entrants,
    objectives_of,
    save_blends,
)
from blendsearch.campaigns.versions import versions
from blendsearch.campaigns.workbench import Workbench, data_name
from blendsearch.compute import child_seed
from blendsearch.config import SearchConfig
from blendsearch.proxies import PROXIES
from blendsearch.search.backends import BACKENDS
from blendsearch.search.evolve import Generation, Search, stopped_by
from blendsearch.search.fitness import FitnessFunction, Planner
from blendsearch.search.genome import GenomeSpace
from blendsearch.search.ledger import Ledger, Trial

BLEND = "blend"
CONTROL = "random search"


def searched(bench: Workbench, folder: RunFolder, scores: Scores, clusters: Clusters) -> dict[str, Entrant]:
    """Evolve the blend; return name -> entrant: the blend, every criterion, and the control where there is one."""
    space = bench.space
    planner = Planner(bench.structure, scores, bench.allocation, bench.budget)
    fitness = FitnessFunction(
        make(PROXIES, space.proxy), bench.bench(bench.network), workers=bench.workers, threads=space.compute.threads
    )
    kept = list(bench.structure.widths) if isinstance(bench.allocation, Evolved) else ()
    lowest = space.search.lowest
    ratios = (lowest, space.budget.ratio) if space.search.objectives and lowest is not None else None
    genomes = GenomeSpace(clusters, kept, ratios)
    starts = starting_genomes(planner, genomes)
    search = _evolved(bench, folder, planner, fitness, genomes, starts)
    genome, value = _winner(bench, folder, planner, genomes, search)
    found = {BLEND: entrant(space.allocation.name, planner, genomes.decode(genome), value, "blend")}
    found |= {name: rival(planner, fitness, name, space.allocation.name, "criterion") for name in scores}
    if space.search.control:
        found[CONTROL] = _control(bench, folder, planner, fitness, genomes, list(starts.values()), search)
    folder.write_json("records/proxies.json", {name: entrant.proxy for name, entrant in found.items()})
    found_on = _found_on(bench, value, list(scores))
    noted = replace(found[BLEND].blend, found_on=found_on)
    noted.save(folder / "blend.json")
    folder.write_json("plan.json", planner.plan(noted).to_dict())
    if space.search.objectives:
        trials = _trials(bench, folder)
        found |= front_entrants(bench, folder, planner, fitness, genomes, search, found[BLEND], trials)
        save_blends(folder, found, found_on)
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
    fitness: FitnessFunction,
    genomes: GenomeSpace,
    starts: Mapping[str, np.ndarray],
) -> Search:
    """Run the search, or go on with a stopped one, to its end."""
    settings = bench.space.search
    backend = BACKENDS.get(settings.backend)(
        genomes, seed=child_seed(bench.space.seed, "search"), initial=list(starts.values()),
        population=settings.population, crossover=settings.crossover, mutation=settings.mutation,
        elite=settings.elite, tournament=settings.tournament, algorithm=settings.algorithm,
        sampler=settings.sampler, objectives=settings.objectives,
    )  # fmt: skip
    ledger = _ledger(bench, folder)

    def save(state: dict[str, Any]) -> None:
        folder.write_json("records/evolution.json", state["generations"])
        folder.write_json("records/search.json", state)
        folder.event("generation", **state["generations"][-1])

    search = Search(
        genomes, backend, planner, fitness, ledger, save, bench.progress, list(starts), objectives_of(bench)
    )
    if folder.has("records/search.json"):
        search.load_state_dict(folder.read_json("records/search.json"))
    search.run(settings.generations, settings.population, settings.limit)
    if settings.objectives:
        search.lift(settings.population)
    ledger.close()
    return search


def _ledger(bench: Workbench, folder: RunFolder, *part: str) -> Ledger:
    """Open the study of the search, or of a part of it, in the folder's storage."""
    costs = () if part else bench.space.search.objectives
    return Ledger(f"sqlite:///{(folder / 'trials.db').resolve()}", "-".join([bench.space.name, *part]), costs)


def _trials(bench: Workbench, folder: RunFolder) -> list[Trial]:
    """Read every trial of the search."""
    ledger = _ledger(bench, folder)
    trials = ledger.trials()
    ledger.close()
    return trials


def _winner(
    bench: Workbench, folder: RunFolder, planner: Planner, genomes: GenomeSpace, search: Search
) -> tuple[np.ndarray, float]:
    """Return genome and proxy of the best: by the proxy, or, where the space has finals, of those who win them.

    With several objectives it is the best at the full budget.
    """
    assert search.backend.best is not None
    if bench.space.search.objectives:
        return best_at_full_budget(_trials(bench, folder), genomes)
    if bench.space.search.finals is None:
        return search.backend.best
    trials = _trials(bench, folder)
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

    Keys: stopped_by ("generations", "evaluations" or "seconds"), evaluations (different plans), seconds (of
    evaluations, added up over the workers).
    """
    past = [Generation(**generation) for generation in generations]
    return {
        "stopped_by": stopped_by(past, search.generations, search.limit),
        "evaluations": past[-1].distinct,
        "seconds": round(sum(generation.seconds for generation in past), 3),
    }


def _control(
    bench: Workbench,
    folder: RunFolder,
    planner: Planner,
    fitness: FitnessFunction,
    genomes: GenomeSpace,
    starts: Sequence[np.ndarray],
    search: Search,
) -> Entrant:
    """Return the best of the same start and as many random genomes as the search evaluated: what chance would find."""
    assert search.generations
    rng = np.random.default_rng(child_seed(bench.space.seed, "control"))
    lifted = search.lifted
    count = max(0, search.generations[-1].evaluations - lifted - len(starts))
    drawn = [*starts, *(genomes.random(rng) for _ in range(count))]
    if not folder.has("records/control.json"):
        if bench.space.search.objectives:
            record = drawn_at_full_budget(bench, planner, fitness, genomes, drawn, lifted)
        else:
            record = _drawn(bench, planner, fitness, genomes, drawn)
        folder.write_json("records/control.json", record)
    record = folder.read_json("records/control.json")
    number, proxy = record["number"], record["proxy"]
    if bench.space.search.finals is not None:
        candidates = {number: (drawn[number], proxy) for number, proxy in record["finalists"]}
        number = _finals(bench, folder, planner, genomes, candidates, "finals-control")
        proxy = candidates[number][1]
    return entrant(bench.space.allocation.name, planner, genomes.decode(drawn[number]), proxy, "control")


def _drawn(
    bench: Workbench,
    planner: Planner,
    fitness: FitnessFunction,
    genomes: GenomeSpace,
    drawn: Sequence[np.ndarray],
) -> dict[str, Any]:
    """Evaluate genomes that chance drew; keys: number and proxy of the best, evaluations, and finalists if any."""
    plans = [planner.plan(genomes.decode(genome)) for genome in drawn]
    best, size = 0.0, len({plan.digest for plan in plans} - set(fitness.known))

    def done(position: int, value: float) -> None:
        nonlocal best
        best = max(best, value)
        bench.progress("random search", position, size, f"best proxy {best:.4f}")

    values = [evaluation.value for evaluation in fitness(plans, done)]
    number = max(range(len(values)), key=values.__getitem__)
    record: dict[str, Any] = {"number": number, "proxy": values[number], "evaluations": len(drawn)}
    if bench.space.search.finals is not None:
        digests = [plan.digest for plan in plans]
        first = best_distinct(list(zip(digests, values, strict=True)), bench.space.search.finals.candidates)
        record["finalists"] = [[position, values[position]] for position in first]
    return record


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
