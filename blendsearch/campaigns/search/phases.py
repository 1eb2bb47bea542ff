"""A search from coarse to fine: one phase for each unit, each starting from the best of the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from blendsearch.blending import Blend, Clusters, Scores, with_unit
from blendsearch.campaigns.search.finals import best_distinct
from blendsearch.campaigns.search.trials import check_trials
from blendsearch.compute import child_seed
from blendsearch.config import LimitConfig
from blendsearch.errors import RunError
from blendsearch.evolution.algorithms import make_algorithm
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.ledger import Ledger, Trial
from blendsearch.evolution.loop import Search, stopped_by
from blendsearch.evolution.problem import SearchProblem
from blendsearch.evolution.refine import distinct, refine_blend
from blendsearch.evolution.window import kind_of_search
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.problem import searched_groups, starting_genomes
from blendsearch.experiment.scoring import cluster_by
from blendsearch.plain import State
from blendsearch.progress import Progress
from blendsearch.results.reading import taken_from
from blendsearch.results.records.search import Generation, PhaseCost
from blendsearch.results.run_folder import RunFolder

EVOLUTION = "records/evolution.json"
STATE = "records/search.json"

Genomes = list[np.ndarray]
Starts = dict[str, dict[str, np.ndarray]]
"""Unit of a phase -> path of a blend -> its genome there."""


@dataclass(frozen=True)
class Phase:
    """A part of a search over the blends of one unit.

    last: number of its last generation, counted through the whole search. limit: what the search may have cost
    when it ends. seed: of its algorithm.
    """

    genomes: GenomeSpace
    last: int
    limit: LimitConfig | None
    seed: int

    @property
    def unit(self) -> str:
        """The unit of its blends."""
        return self.genomes.clusters.unit


def plan_phases(experiment: Experiment, scores: Scores, finest: Clusters) -> list[Phase]:
    """Return the phases of the space's units, coarse to fine, with even shares of generations and limit.

    What cannot be shared out evenly goes to the last. The clusters of the coarser units are written to
    records/clusters-UNIT.json, since the ledger's genes count them. With objectives the budget is a gene, too, and
    where shares evolve the groups' weights are.
    """
    units, search, seed = experiment.space.blend.units, experiment.space.search, experiment.seed("search")
    kept = searched_groups(experiment)
    ratios = (search.lowest, experiment.budget.ratio) if search.objectives and search.lowest is not None else None
    phases = []
    for number, unit in enumerate(units, start=1):
        clusters = finest
        if number < len(units):
            clusters = cluster_by(experiment, scores, unit)
            experiment.folder.write_json(f"records/clusters-{unit}.json", clusters.to_dict())
        last = search.generations if number == len(units) else number * (search.generations // len(units))
        limit = share_limit(search.limit, number, len(units))
        own_seed = seed if number == 1 else child_seed(seed, unit)
        genomes = GenomeSpace(clusters, kept, ratios, set_aware=experiment.space.blend.set_aware)
        phases.append(Phase(genomes, last, limit, own_seed))
    return phases


def share_limit(limit: LimitConfig | None, part: int, parts: int) -> LimitConfig | None:
    """Return what may be spent up to and with a part of several."""
    if limit is None or part == parts:
        return limit
    given = {name: value for name, value in limit if value is not None}
    shares = {name: type(value)(max(value * part / parts, 1e-9)) for name, value in given.items()}
    return limit.model_copy(update={name: value or 1 for name, value in shares.items()})


def read_generations(folder: RunFolder) -> list[Generation]:
    """Return the generations that a search wrote down; RunError where there is none."""
    found = folder.read_record(EVOLUTION, list[Generation])
    if not found:
        raise RunError(f"{folder / EVOLUTION}: holds no generation")
    return found


@dataclass
class PhasedSearch:
    """A search over all phases, at work or finished.

    given: genomes of the blends that the space names, for each phase. best: unit -> best genome and proxy of each
    phase that ran. generations: those of all phases. last: the search of the phase that ran last.
    """

    experiment: Experiment
    problem: SearchProblem
    phases: Sequence[Phase]
    given: Starts
    ledger: Ledger
    best: dict[str, tuple[np.ndarray, float]] = field(default_factory=dict)
    generations: list[Generation] = field(default_factory=list)
    search: Search | None = None

    def run(self) -> None:
        """Run the phases one after the other, or go on with a stopped search, to its end.

        A phase begins with the refined best of the one before, then with the given blends; the first one with the
        criteria. A phase whose share of a limit is spent already is passed over; the next starts from the last one
        that ran.
        """
        folder = self.experiment.folder
        state: State = folder.read_json(STATE) if folder.has(STATE) else {}
        with taken_from(folder / STATE):
            at = self._phase_of(state) if folder.has(STATE) else -1
            self.best = {unit: (np.array(genome), value) for unit, (genome, value) in state.get("best", {}).items()}
        for number, phase in enumerate(self.phases[max(at, 0) :], start=max(at, 0)):
            resumed = number == at
            if not resumed and self.generations and stopped_by(self.generations, phase.last, phase.limit):
                continue
            # A resumed algorithm has asked for its first genomes already.
            search = self._search_of(phase, refined=not resumed)
            if resumed:
                with taken_from(folder / STATE):
                    search.load_state_dict(state)
                check_trials(self.ledger, search.generations)
            search.run(phase.last, self.experiment.space.search.population, phase.limit)
            self.search = search
            assert search.algorithm.best is not None
            self.best[phase.unit], self.generations = search.algorithm.best, search.generations

    def _phase_of(self, state: State) -> int:
        """Return the number of the phase in which a search was stopped; the last one where its state does not say."""
        order = [phase.unit for phase in self.phases]
        return order.index(state.get("unit", order[-1]))

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

    def _search_of(self, phase: Phase, *, refined: bool) -> Search:
        settings, planner = self.experiment.space.search, self.problem.planner
        first = self.phases[0]
        criteria = starting_genomes(planner, first.genomes)
        initial = [*(criteria.values() if phase is first else ()), *self.given[phase.unit].values()]
        if self.best and refined:
            before = next(one for one in reversed(self.phases) if one.unit in self.best)
            best = refine_best(self.ledger.trials(), before, phase, settings.population)
            initial = distinct(phase.genomes, [*best, *initial])
        return kind_of_search(settings.window)(
            problem=self.problem,
            genomes=phase.genomes,
            algorithm=make_algorithm(settings, phase.genomes, seed=phase.seed, initial=initial),
            ledger=self.ledger,
            save=self._saver(phase),
            progress=self._progress_of(phase),
            base_names=list(criteria),
            start_names=[Path(path).name for path in self.given[first.unit]],
            generations=self.generations,
        )

    def _saver(self, phase: Phase) -> Callable[[State], None]:
        """Return what writes a phase's state after every generation, with the best of the phases before it."""
        folder = self.experiment.folder
        past = {unit: [genome.tolist(), value] for unit, (genome, value) in self.best.items()}

        def save(state: State) -> None:
            folder.write_json(EVOLUTION, state["generations"])
            folder.write_json(STATE, {**state, "unit": phase.unit, "best": past})
            folder.event("generation", **state["generations"][-1])

        return save

    def _progress_of(self, phase: Phase) -> Progress:
        """Return the progress of a phase: where there are several it names its unit and counts all generations."""
        if len(self.phases) == 1:
            return self.experiment.progress
        search = self.experiment.space.search
        whole = (search.generations + 1) * search.population

        def progress(task: str, done: int, total: int, detail: str = "") -> None:
            self.experiment.progress(task, done, whole, f"by {phase.unit}, {detail}")

        return progress


def refine_best(trials: Sequence[Trial], before: Phase, phase: Phase, population: int) -> Genomes:
    """Return what a phase takes over: the best different plans of the phase before it, half a population of them.

    Their plans are known, so they cost nothing. Genomes that become alike when they are refined count once.
    """
    own = [trial for trial in trials if trial.attrs["unit"] == before.unit]
    order = best_distinct([(trial.attrs["plan"], trial.value) for trial in own], len(own))
    blends = (before.genomes.decode(genome_of(own[position], before.genomes)) for position in order)
    return distinct(phase.genomes, (refine_blend(phase.genomes, blend)[0] for blend in blends))[
        : max(1, population // 2)
    ]


def genome_of(trial: Trial, genomes: GenomeSpace) -> np.ndarray:
    """Return the genome of a trial of the ledger."""
    return np.array([trial.params[name] for name in genomes.names])


def summarise_phases(generations: Sequence[Generation]) -> list[PhaseCost]:
    """Return what each phase of a search cost and came to."""
    result: list[PhaseCost] = []
    before = 0
    for unit in dict.fromkeys(generation.unit for generation in generations):
        own = [generation for generation in generations if generation.unit == unit]
        evaluations = own[-1].evaluations
        result.append(
            PhaseCost(
                unit=unit,
                generations=len(own),
                evaluations=evaluations - before,
                best=own[-1].best_so_far,
            )
        )
        before = evaluations
    return result
