"""The search loop: ask, evaluate, tell, record; stopped and continued between any two generations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from blendsearch.blending import Blend
from blendsearch.config import LimitConfig
from blendsearch.evolution.algorithms import Backend
from blendsearch.evolution.fitness import Evaluation, Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.ledger import Ledger
from blendsearch.evolution.objectives import Objectives, plan_of
from blendsearch.evolution.rungs import Fitness
from blendsearch.progress import Progress, silent


@dataclass(frozen=True)
class Generation:
    """One generation in numbers; proxies in [0, 1], `seconds` and `passes` of its evaluations, `evaluations` so far.

    passes: images run through pruned networks; one that a network was trained on counts three. unit: of the blends
    it searched; None in records of older versions. lifted: whether it is the one that closes a search for a front,
    see `Search.lift`.
    """

    generation: int
    evaluations: int
    distinct: int
    best: float
    mean: float
    worst: float
    best_so_far: float
    seconds: float
    unit: str | None = None
    passes: int = 0
    lifted: bool = False


def stopped_by(generations: Sequence[Generation], last: int, limit: LimitConfig | None = None) -> str | None:
    """Return what ends a search of generations 0 to `last`, None while it goes on.

    "generations" when all are done, else the kind of limit that was reached. All kinds go by what is recorded
    (different plans; seconds and passes of evaluations, added up over the workers), so a resumed search stops where one
    that was never stopped does.
    """
    generations = [generation for generation in generations if not generation.lifted]
    if len(generations) > last:
        return "generations"
    if limit is None or not generations:
        return None
    if limit.evaluations is not None and generations[-1].distinct >= limit.evaluations:
        return "evaluations"
    if limit.seconds is not None and sum(generation.seconds for generation in generations) >= limit.seconds:
        return "seconds"
    passes = sum(generation.passes for generation in generations)
    if limit.forward_passes is not None and passes >= limit.forward_passes:
        return "forward_passes"
    return None


@dataclass
class Search:
    """A search as it stands: backend, what was evaluated, the generations so far and the best blend.

    save: called with the state after every generation, so that a stopped search loses at most one.
    base_names, start_names: of the criteria and the given blends that the first population begins with.
    generations: those of earlier searches over other units may be given; numbers and counts go on from them.
    objectives: what is maximised; the numbers of a generation and the best are those of the first, the proxy.
    """

    space: GenomeSpace
    backend: Backend
    planner: Planner
    fitness: Fitness
    ledger: Ledger
    save: Callable[[dict[str, Any]], None]
    progress: Progress = silent
    base_names: Sequence[str] = ()
    start_names: Sequence[str] = ()
    objectives: Objectives = field(default_factory=Objectives)
    generations: list[Generation] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on, as plain JSON."""
        return {
            "backend": self.backend.state_dict(),
            "known": self.fitness.state_dict(),
            "generations": [asdict(generation) for generation in self.generations or []],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.backend.load_state_dict(state["backend"])
        self.fitness.load_state_dict(state["known"])
        self.generations = [Generation(**generation) for generation in state["generations"]]

    def run(self, generations: int, population: int, limit: LimitConfig | None = None) -> tuple[Blend, float]:
        """Evaluate the first population and `generations` more, or up to a limit; return the best blend, its proxy."""
        self.generations = self.generations or []
        while stopped_by(self.generations, generations, limit) is None:
            self._step(population, generations)
        if len(self.generations) <= generations:
            done = len(self.generations) * population
            self.progress("search", done, done, f"limit reached, best proxy {self.generations[-1].best_so_far:.4f}")
        assert self.backend.best is not None
        genome, value = self.backend.best
        return self.space.decode(genome), value

    def _step(self, population: int, last: int) -> None:
        assert self.generations is not None
        number = len(self.generations)
        genomes = self.backend.ask(population)
        plans = [plan_of(self.planner, self.space, genome) for genome in genomes]
        best = self.backend.best[1] if self.backend.best else 0.0

        def done(count: int, value: float) -> None:
            nonlocal best
            best = max(best, value)
            position = number * population + min(count, population)
            self.progress("search", position, (last + 1) * population, f"generation {number}, best proxy {best:.4f}")

        evaluations = self.fitness(plans, done)
        self._learn(genomes, evaluations)
        self._record(number, genomes, evaluations)
        self.progress("search", (number + 1) * population, (last + 1) * population, f"best proxy {best:.4f}")
        self.save(self.state_dict())

    def lift(self, most: int) -> None:
        """Evaluate the blends of the front at the highest budget as well, as a last generation; done once.

        What is best at a smaller budget may be best at the highest too, which few genomes of a search for a whole
        front have. most: how many at most, the highest proxies first.
        """
        assert self.generations
        if self.generations[-1].lifted:
            return
        ranked = sorted(self.backend.front, key=lambda entry: -entry[1][0])
        below = [genome for genome, _ in ranked if not np.array_equal(genome, self.space.at_highest(genome))]
        genomes = [self.space.at_highest(genome) for genome in below[:most]]
        if not genomes:
            return
        plans = [plan_of(self.planner, self.space, genome) for genome in genomes]
        evaluations = self.fitness(plans, lambda n, value: self.progress("full budget", n, len(genomes), ""))
        self._learn(genomes, evaluations)
        self._record(len(self.generations), genomes, evaluations)
        self.generations[-1] = replace(self.generations[-1], lifted=True)
        self.save(self.state_dict())

    @property
    def lifted(self) -> int:
        """How many evaluations `lift` took."""
        if not self.generations or not self.generations[-1].lifted:
            return 0
        return self.generations[-1].evaluations - self.generations[-2].evaluations

    def _learn(self, genomes: list[np.ndarray], evaluations: list[Evaluation]) -> None:
        cost = self.planner.structure.cost
        self.backend.tell(genomes, [self.objectives.point(evaluation, cost) for evaluation in evaluations])

    def _record(self, number: int, genomes: list[np.ndarray], evaluations: list[Evaluation]) -> None:
        assert self.generations is not None
        assert self.backend.best is not None
        before = self.generations[-1].evaluations if self.generations else 0
        best_before = self.generations[-1].best_so_far if self.generations else -math.inf
        named = dict(enumerate([("criterion", name) for name in self.base_names]))
        named |= dict(enumerate([("start_from", name) for name in self.start_names], start=len(named)))
        for offset, (genome, evaluation) in enumerate(zip(genomes, evaluations, strict=True)):
            attrs: dict[str, Any] = {"plan": evaluation.plan.digest, "repeated": evaluation.repeated}
            attrs["stopped"] = "known plan" if evaluation.repeated else evaluation.stopped
            attrs["passes"] = 0 if evaluation.repeated else evaluation.passes
            attrs["unit"] = self.space.clusters.unit
            if number == 0 and offset in named:
                attrs |= [named[offset]]
            params = dict(zip(self.space.names, genome.tolist(), strict=True))
            cost = 0.0 if evaluation.repeated else evaluation.seconds
            shares = self.objectives.shares(evaluation.plan, self.planner.structure.cost)
            self.ledger.record(
                before + offset, number, params, evaluation.value, cost, attrs, shares,
                rungs=evaluation.rungs, dropped=evaluation.dropped,
            )  # fmt: skip
        values = [evaluation.value for evaluation in evaluations]
        self.generations.append(
            Generation(
                generation=number,
                evaluations=before + len(genomes),
                distinct=len(self.fitness.known),
                best=max(values),
                mean=sum(values) / len(values),
                worst=min(values),
                best_so_far=max(best_before, self.backend.best[1]),
                seconds=sum(e.seconds for e in evaluations if not e.repeated),
                unit=self.space.clusters.unit,
                passes=sum(e.passes for e in evaluations if not e.repeated),
            )
        )
