"""A search from coarse to fine: one phase for each unit, each starting from the best of the one before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from blendsearch.blending import Blend, Clusters, Scores, cluster, rank_all, with_unit
from blendsearch.campaigns.search.finals import best_distinct
from blendsearch.compute import child_seed
from blendsearch.config import LimitConfig
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.ledger import Ledger, Trial
from blendsearch.evolution.loop import Generation, Search, stopped_by
from blendsearch.evolution.refine import distinct, encoded
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.run_folder import RunFolder

STATE = "records/search.json"

Genomes = list[np.ndarray]
Save = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Phase:
    """A part of a search over the blends of one unit.

    last: number of its last generation, counted through the whole search. limit: what the search may have cost
    when it ends. seed: of its backend.
    """

    genomes: GenomeSpace
    last: int
    limit: LimitConfig | None
    seed: int

    @property
    def unit(self) -> str:
        """The unit of its blends."""
        return self.genomes.clusters.unit


@dataclass
class Found:
    """What the phases came to: for each one that ran its best genome and proxy, and the generations of all."""

    phases: Sequence[Phase]
    best: dict[str, tuple[np.ndarray, float]] = field(default_factory=dict)
    generations: list[Generation] = field(default_factory=list)
    search: Search | None = None

    @property
    def last(self) -> Search:
        """The search of the phase that ran last."""
        assert self.search is not None
        return self.search

    @property
    def finest(self) -> GenomeSpace:
        """The genomes of the last phase, whose unit the blend has that results."""
        return self.phases[-1].genomes

    def decode(self, unit: str, genome: np.ndarray) -> Blend:
        """Return the blend of a phase's genome under the finest unit; it ranks as it did under its own."""
        return with_unit(self.space_of(unit).decode(genome), self.finest.clusters.unit, self.finest.clusters.groups)

    def space_of(self, unit: str) -> GenomeSpace:
        """Return the genomes of the phase that searched a unit."""
        return next(phase.genomes for phase in self.phases if phase.unit == unit)

    def blend_of(self, trial: Trial) -> Blend:
        """Return the blend of a trial of any phase, under the finest unit."""
        unit = trial.attrs.get("unit", self.finest.clusters.unit)
        return self.decode(unit, genome_of(trial, self.space_of(unit)))

    def winner(self) -> tuple[Blend, float]:
        """Return the best blend of all phases and its proxy; of equal ones that of the finer unit."""
        unit = max(self.best, key=lambda name: (self.best[name][1], list(self.best).index(name)))
        genome, value = self.best[unit]
        return self.decode(unit, genome), value


def clusters_of(experiment: Experiment, scores: Scores, unit: str) -> Clusters:
    """Cluster the criteria by rank for every stage, every layer or the whole network."""
    section = experiment.space.clusters
    return cluster(
        rank_all(scores), experiment.structure.units(unit), unit=unit, count=section.count, method=section.method,
        max_count=section.max_count, seed=child_seed(experiment.space.seed, "clusters"),
    )  # fmt: skip


def phases_of(
    experiment: Experiment, folder: RunFolder, scores: Scores, finest: Clusters, kept: Sequence[str]
) -> list[Phase]:
    """Return the phases of the space's units, coarse to fine, with even shares of generations and limit.

    What cannot be shared out evenly goes to the last. The clusters of the coarser units are written to
    records/clusters-UNIT.json, since the ledger's genes count them. With objectives the budget is a gene, too.
    """
    units, search, seed = (
        experiment.space.blend.units,
        experiment.space.search,
        child_seed(experiment.space.seed, "search"),
    )
    ratios = (search.lowest, experiment.space.budget.ratio) if search.objectives and search.lowest is not None else None
    phases = []
    for number, unit in enumerate(units, start=1):
        clusters = finest
        if number < len(units):
            clusters = clusters_of(experiment, scores, unit)
            folder.write_json(f"records/clusters-{unit}.json", clusters.to_dict())
        last = search.generations if number == len(units) else number * (search.generations // len(units))
        limit = _share(search.limit, number, len(units))
        own_seed = seed if number == 1 else child_seed(seed, unit)
        phases.append(Phase(GenomeSpace(clusters, kept, ratios), last, limit, own_seed))
    return phases


def _share(limit: LimitConfig | None, part: int, parts: int) -> LimitConfig | None:
    """Return what may be spent up to and with a part of several."""
    if limit is None or part == parts:
        return limit
    given = {name: value for name, value in limit if value is not None}
    shares = {name: type(value)(max(value * part / parts, 1e-9)) for name, value in given.items()}
    return limit.model_copy(update={name: value or 1 for name, value in shares.items()})


def run_phases(
    folder: RunFolder,
    phases: Sequence[Phase],
    starts: Mapping[str, Genomes],
    search_of: Callable[[Phase, Genomes, Save], Search],
    ledger: Ledger,
    population: int,
) -> Found:
    """Run the phases one after the other, or go on with a stopped search, and return what they found.

    starts: unit -> genomes that its first population begins with, after those lifted from the phase before.
    search_of: makes the search of a phase from its first genomes; what it has to save is saved with the phase.
    A phase whose share of a limit is spent already is passed over; the next starts from the last one that ran.
    """
    found = Found(phases)
    state: dict[str, Any] = folder.read_json(STATE) if folder.has(STATE) else {}
    order = [phase.unit for phase in phases]
    at = order.index(state.get("unit", order[-1])) if state else -1
    found.best = {unit: (np.array(genome), value) for unit, (genome, value) in state.get("best", {}).items()}
    for number, phase in enumerate(phases[max(at, 0) :], start=max(at, 0)):
        resumed = number == at
        if not resumed and found.generations and stopped_by(found.generations, phase.last, phase.limit):
            continue
        initial = starts[phase.unit]
        if found.best and not resumed:  # a resumed backend has asked for its first genomes already
            before = next(one for one in reversed(phases) if one.unit in found.best)
            lifted = lifted_best(ledger.trials(), before, phase, population)
            initial = distinct(phase.genomes, [*lifted, *initial])
        search = search_of(phase, initial, _saver(folder, phase, found))
        search.generations = found.generations
        if resumed:
            search.load_state_dict(state)
        search.run(phase.last, population, phase.limit)
        found.search = search
        assert search.backend.best is not None
        found.best[phase.unit], found.generations = search.backend.best, search.generations or []
    return found


def _saver(folder: RunFolder, phase: Phase, found: Found) -> Save:
    """Return what writes a phase's state after every generation, with the best of the phases before it."""
    past = {unit: [genome.tolist(), value] for unit, (genome, value) in found.best.items()}

    def save(state: dict[str, Any]) -> None:
        folder.write_json("records/evolution.json", state["generations"])
        folder.write_json(STATE, {**state, "unit": phase.unit, "best": past})
        folder.event("generation", **state["generations"][-1])

    return save


def lifted_best(trials: Sequence[Trial], before: Phase, phase: Phase, population: int) -> Genomes:
    """Return what a phase takes over: the best different plans of the phase before it, half a population of them.

    Their plans are known, so they cost nothing. Genomes that become alike when they are lifted count once.
    """
    own = [trial for trial in trials if trial.attrs["unit"] == before.unit]
    order = best_distinct([(trial.attrs["plan"], trial.value) for trial in own], len(own))
    blends = (before.genomes.decode(genome_of(own[position], before.genomes)) for position in order)
    return distinct(phase.genomes, (encoded(phase.genomes, blend)[0] for blend in blends))[: max(1, population // 2)]


def genome_of(trial: Trial, genomes: GenomeSpace) -> np.ndarray:
    """Return the genome of a trial of the ledger."""
    return np.array([trial.params[name] for name in genomes.names])


def costs(generations: Sequence[Generation]) -> list[dict[str, Any]]:
    """Return for each phase its unit, generations, evaluations (repeated ones included) and the best proxy so far."""
    result: list[dict[str, Any]] = []
    before = 0
    for unit in dict.fromkeys(generation.unit for generation in generations):
        own = [generation for generation in generations if generation.unit == unit]
        evaluations = own[-1].evaluations
        result.append(
            {"unit": unit, "generations": len(own), "evaluations": evaluations - before, "best": own[-1].best_so_far}
        )
        before = evaluations
    return result
