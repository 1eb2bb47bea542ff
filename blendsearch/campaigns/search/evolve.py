"""The search of a campaign: where it starts, how it goes on, what stands against it, and which blend it ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from blendsearch.allocation import Evolved, weights_of
from blendsearch.blending import Blend, Clusters, Scores
from blendsearch.campaigns.search.ablation import parts
from blendsearch.campaigns.search.finals import Finalist, best_distinct, finals
from blendsearch.campaigns.search.pareto import (
    best_at_full_budget,
    drawn_at_full_budget,
    front_entrants,
    objectives_of,
    save_blends,
)
from blendsearch.campaigns.search.phases import Found, Genomes, Phase, Save, costs, phases_of, run_phases
from blendsearch.campaigns.search.random_search import chance, fitness_of, run_random_search
from blendsearch.campaigns.search.warm_start import given_starts
from blendsearch.config import SearchConfig
from blendsearch.evolution.algorithms import backend_of
from blendsearch.evolution.fitness import Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.ledger import Ledger, Trial
from blendsearch.evolution.loop import Generation, Search, stopped_by
from blendsearch.evolution.rungs import JUDGED, Fitness
from blendsearch.experiment.contenders import Contender, contender, rival
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.members import self_contained
from blendsearch.experiment.provenance import found_on
from blendsearch.progress import Progress
from blendsearch.results.run_folder import RunFolder

BLEND = "blend"
CONTROL = "random search"


def searched(experiment: Experiment, folder: RunFolder, scores: Scores, clusters: Clusters) -> dict[str, Contender]:
    """Evolve the blend; return name -> contender: the blend, every criterion, the blend's parts, the control."""
    space = experiment.space
    planner = Planner(experiment.structure, scores, experiment.allocation, experiment.budget)
    fitness = fitness_of(experiment)
    kept = list(experiment.structure.widths) if isinstance(experiment.allocation, Evolved) else ()
    phases = phases_of(experiment, folder, scores, clusters, kept)
    given = given_starts(experiment, folder, phases, list(scores))
    search = _evolved(experiment, folder, planner, fitness, phases, given)
    blend, value = _winner(experiment, folder, planner, search)
    found = {BLEND: contender(space.allocation.name, planner, blend, value, "blend")}
    found |= {name: rival(planner, fitness, name, space.allocation.name, "criterion") for name in scores}
    if space.search.ablation and blend.keep:
        found |= parts(planner, fitness, blend, space.allocation.name)
    if space.search.control:
        finest = phases[-1]
        starts = [*starting_genomes(planner, finest.genomes).values(), *given[finest.unit].values()]
        found[CONTROL] = _control(experiment, folder, planner, fitness, finest.genomes, starts, search)
    found = self_contained(folder, found)
    folder.write_json("records/proxies.json", {name: contender.proxy for name, contender in found.items()})
    origin = found_on(experiment, value, list(scores))
    noted = replace(found[BLEND].blend, found_on=origin)
    noted.save(folder / "blend.json")
    folder.write_json("plan.json", planner.plan(noted).to_dict())
    if space.search.objectives:
        trials = _trials(experiment, folder)
        found |= front_entrants(experiment, folder, planner, fitness, search.finest, search.last, found[BLEND], trials)
        found = self_contained(folder, found)
        save_blends(folder, found, origin)
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
    experiment: Experiment,
    folder: RunFolder,
    planner: Planner,
    fitness: Fitness,
    phases: Sequence[Phase],
    given: Mapping[str, Mapping[str, np.ndarray]],
) -> Found:
    """Run the search, or go on with a stopped one, to its end; the criteria start its first phase."""
    settings = experiment.space.search
    ledger = _ledger(experiment, folder)
    bases = starting_genomes(planner, phases[0].genomes)
    starts = {phase.unit: list(given[phase.unit].values()) for phase in phases}
    starts[phases[0].unit] = [*bases.values(), *starts[phases[0].unit]]
    start_names = [Path(path).name for path in given[phases[0].unit]]

    def search_of(phase: Phase, initial: Genomes, save: Save) -> Search:
        backend = backend_of(settings, phase.genomes, seed=phase.seed, initial=initial)
        return Search(
            phase.genomes, backend, planner, fitness, ledger, save, _whole(experiment, phase.unit), list(bases), start_names,
            objectives_of(experiment),
        )  # fmt: skip

    found = run_phases(folder, phases, starts, search_of, ledger, settings.population)
    if settings.objectives:
        found.last.lift(settings.population)
    ledger.close()
    return found


def _whole(experiment: Experiment, unit: str) -> Progress:
    """Return the progress of a phase: where there are several it names its unit and counts all generations."""
    if len(experiment.space.blend.units) == 1:
        return experiment.progress
    whole = (experiment.space.search.generations + 1) * experiment.space.search.population

    def progress(task: str, done: int, total: int, detail: str = "") -> None:
        experiment.progress(task, done, whole, f"by {unit}, {detail}")

    return progress


def _ledger(experiment: Experiment, folder: RunFolder, *part: str) -> Ledger:
    """Open the study of the search, or of a part of it, in the folder's storage."""
    costs = () if part else experiment.space.search.objectives
    return Ledger(f"sqlite:///{(folder / 'trials.db').resolve()}", "-".join([experiment.space.name, *part]), costs)


def _trials(experiment: Experiment, folder: RunFolder) -> list[Trial]:
    """Read every trial of the search."""
    ledger = _ledger(experiment, folder)
    trials = ledger.trials()
    ledger.close()
    return trials


def _winner(experiment: Experiment, folder: RunFolder, planner: Planner, search: Found) -> tuple[Blend, float]:
    """Return blend and proxy of the best: by the proxy, or, where the space has finals, of those who win them.

    With several objectives it is the best at the full budget. A plan that a rung dropped has no place in finals.
    """
    if experiment.space.search.objectives:
        genome, value = best_at_full_budget(_trials(experiment, folder), search.finest)
        return search.finest.decode(genome), value
    if experiment.space.search.finals is None:
        return search.winner()
    trials = judged(_trials(experiment, folder))
    values = [(trial.attrs["plan"], trial.value) for trial in trials]
    best = [trials[place] for place in best_distinct(values, experiment.space.search.finals.candidates)]
    finalists = [Finalist(one.number, one.params, planner.plan(search.blend_of(one)), one.value) for one in best]
    number = _finals(experiment, folder, finalists, "finals")
    won = next(trial for trial in best if trial.number == number)
    return search.blend_of(won), won.value


def judged(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials of plans that the deciding proxy has judged; the fitness of others is a translation."""
    # Only the first trial of a plan tells why it stopped; those after it are known plans.
    plans = {trial.attrs["plan"] for trial in trials if trial.attrs["stopped"] == JUDGED}
    return [trial for trial in trials if trial.attrs["plan"] in plans]


def _finals(experiment: Experiment, folder: RunFolder, finalists: Sequence[Finalist], name: str) -> int:
    """Hold finals between candidates; return the winner's number."""
    ledger = _ledger(experiment, folder, name)
    won = finals(experiment, folder, name, finalists, ledger)
    ledger.close()
    return won.number


def cost_of(search: SearchConfig, generations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what ended a search and what it cost, from its generations as recorded.

    Keys: stopped_by ("generations" or a kind of limit), evaluations (different plans), seconds and passes (of
    evaluations, added up over the workers), phases (unit, generations, evaluations, best so far of each).
    """
    past = [Generation(**generation) for generation in generations]
    return {
        "stopped_by": stopped_by(past, search.generations, search.limit),
        "evaluations": past[-1].distinct,
        "seconds": round(sum(generation.seconds for generation in past), 3),
        "passes": sum(generation.passes for generation in past),
        "phases": costs(past),
    }


def _control(
    experiment: Experiment,
    folder: RunFolder,
    planner: Planner,
    fitness: Fitness,
    genomes: GenomeSpace,
    starts: Sequence[np.ndarray],
    search: Found,
) -> Contender:
    """Return the best of the same start and random genomes at the search's cost: what chance would find.

    After a search from coarse to fine chance draws from the finest unit, which holds all that the others do but for
    criteria that share a cluster there.
    """
    if not folder.has("records/control.json"):
        if experiment.space.search.objectives:
            lifted = search.last.lifted
            drawn = list(islice(chance(experiment, genomes, starts), search.generations[-1].evaluations - lifted))
            record = drawn_at_full_budget(experiment, planner, fitness, genomes, drawn, lifted)
        else:
            record = run_random_search(experiment, planner, fitness, genomes, starts, search.generations)
        folder.write_json("records/control.json", record)
    record = folder.read_json("records/control.json")
    drawn = list(islice(chance(experiment, genomes, starts), record["evaluations"]))
    number, proxy = record["number"], record["proxy"]
    if experiment.space.search.finals is not None:
        proxies = dict(record["finalists"])
        finalists = [
            Finalist(number, genomes.params(drawn[number]), planner.plan(genomes.decode(drawn[number])), proxy)
            for number, proxy in proxies.items()
        ]
        number = _finals(experiment, folder, finalists, "finals-control")
        proxy = proxies[number]
    return contender(experiment.space.allocation.name, planner, genomes.decode(drawn[number]), proxy, "control")
