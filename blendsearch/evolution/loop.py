"""The search loop: ask, evaluate, tell, record; stopped and continued between any two generations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from blendsearch.config import LimitConfig
from blendsearch.evolution.algorithms import SearchAlgorithm
from blendsearch.evolution.failure import count_reasons, succeeded, too_many
from blendsearch.evolution.fitness import Evaluation
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.leaders import Leaders
from blendsearch.evolution.ledger import Ledger
from blendsearch.evolution.problem import SearchProblem
from blendsearch.plain import State
from blendsearch.progress import Progress, silent
from blendsearch.results.records.search import Generation


def stopped_by(generations: Sequence[Generation], last: int, limit: LimitConfig | None = None) -> str | None:
    """Return what ends a search of generations 0 to `last`, None while it goes on.

    "generations" when all are done, else the kind of limit that was reached. All kinds go by what is recorded
    (different plans; seconds and passes of evaluations, added up over the workers), so a resumed search stops where one
    that was never stopped does.
    """
    generations = [generation for generation in generations if not generation.refined]
    if len(generations) > last:
        return "generations"
    if limit is None or not generations:
        return None
    return reached(
        limit,
        evaluations=generations[-1].distinct,
        seconds=sum(generation.seconds for generation in generations),
        forward_passes=sum(generation.passes for generation in generations),
    )


def reached(limit: LimitConfig, *, evaluations: int, seconds: float, forward_passes: int) -> str | None:
    """Return the kind of a limit that was reached by what was spent; None where none was."""
    spent = {"evaluations": evaluations, "seconds": seconds, "forward_passes": forward_passes}
    given = {kind: getattr(limit, kind) for kind in spent}
    return next((kind for kind, most in given.items() if most is not None and spent[kind] >= most), None)


@dataclass(kw_only=True)
class Search:
    """A search as it stands: algorithm, what was evaluated, the generations so far and the best blend.

    save: called with the state after every generation, so that a stopped search loses at most one.
    base_names, start_names: of the criteria and the given blends that the first population begins with.
    generations: those of earlier searches over other units may be given; numbers and counts go on from them.
    The numbers of a generation and the best are those of the first objective, the proxy.
    """

    problem: SearchProblem
    genomes: GenomeSpace
    algorithm: SearchAlgorithm
    ledger: Ledger
    save: Callable[[State], None]
    progress: Progress = silent
    base_names: Sequence[str] = ()
    start_names: Sequence[str] = ()
    generations: list[Generation] = field(default_factory=list)

    def state_dict(self) -> State:
        """Return everything needed to go on, as plain JSON."""
        return {
            "backend": self.algorithm.state_dict(),
            "known": self.problem.fitness.state_dict(),
            "generations": [generation.to_dict() for generation in self.generations],
            **({} if self.leaders is None else {"leaders": self.leaders.state_dict()}),
        }

    @property
    def leaders(self) -> Leaders | None:
        """Against whom candidates race; None where they do not."""
        return self.problem.fitness.leaders

    def load_state_dict(self, state: State) -> None:
        """Take up what `state_dict` returned."""
        self.algorithm.load_state_dict(state["backend"])
        self.problem.fitness.load_state_dict(state["known"])
        if self.leaders is not None:
            self.leaders.load_state_dict(state["leaders"])
        self.generations = [Generation.model_validate(generation) for generation in state["generations"]]

    def run(self, generations: int, population: int, limit: LimitConfig | None = None) -> None:
        """Evaluate the first population and `generations` more, or up to a limit."""
        while stopped_by(self.generations, generations, limit) is None:
            self._step(population, generations)
        self._tell_limit(generations, population)

    def _tell_limit(self, generations: int, population: int) -> None:
        """Say that a limit ended the search, where one did."""
        if len(self.generations) <= generations:
            done = len(self.generations) * population
            self.progress("search", done, done, f"limit reached, best proxy {self.generations[-1].best_so_far:.4f}")

    def _step(self, population: int, last: int) -> None:
        number = len(self.generations)
        asked = self.algorithm.ask(population)
        best = self.algorithm.best[1] if self.algorithm.best else 0.0
        failed = 0

        def done(count: int, value: float) -> None:
            nonlocal best, failed
            best = max(best, value)
            failed += not succeeded(value)
            position = number * population + min(count, population)
            told = f"generation {number}, best proxy {best:.4f}" + (f", {failed} failed" if failed else "")
            self.progress("search", position, (last + 1) * population, told)

        evaluations = self._evaluate(asked, done, most_failed=len(asked) // 2)
        failures = [one.failure for one in evaluations if one.failure is not None]
        if len(failures) == len(evaluations):  # also when few different plans were drawn, and all are known to fail
            raise too_many(len(failures), len(failures), failures[-1])
        self._record(number, asked, evaluations)
        self.progress("search", (number + 1) * population, (last + 1) * population, f"best proxy {best:.4f}")
        self.save(self.state_dict())

    def refine_front(self, most: int) -> None:
        """Evaluate the blends of the front at the highest budget as well, as a last generation; done once.

        What is best at a smaller budget may be best at the highest too, which few genomes of a search for a whole
        front have. most: how many at most, the highest proxies first.
        """
        assert self.generations
        if self.generations[-1].refined:
            return
        ranked = sorted(self.algorithm.front, key=lambda entry: -entry[1][0])
        below = [genome for genome, _ in ranked if not np.array_equal(genome, self.genomes.at_highest(genome))]
        highest = [self.genomes.at_highest(genome) for genome in below[:most]]
        if not highest:
            return
        number = len(self.generations)
        found = self._evaluate(highest, lambda n, value: self.progress("full budget", n, len(highest), ""))
        if all(evaluation.failure for evaluation in found):
            return
        self._record(number, highest, found)
        self.generations[-1] = self.generations[-1].model_copy(update={"refined": True})
        self.save(self.state_dict())

    @property
    def refined(self) -> int:
        """How many evaluations `refine_front` took."""
        if not self.generations or not self.generations[-1].refined:
            return 0
        return self.generations[-1].evaluations - self.generations[-2].evaluations

    def _evaluate(
        self, genomes: list[np.ndarray], done: Callable[[int, float], None], most_failed: int | None = None
    ) -> list[Evaluation]:
        """Evaluate the genomes of a generation, and let the algorithm learn from them."""
        plans = [self.problem.plan(self.genomes, genome) for genome in genomes]
        evaluations = self.problem.fitness.race(plans, done, most_failed)
        points = [None if one.failure else self.problem.point(one) for one in evaluations]
        self.algorithm.tell(genomes, points)
        return evaluations

    def _record(self, number: int, genomes: list[np.ndarray], evaluations: list[Evaluation]) -> None:
        for offset, (genome, evaluation) in enumerate(zip(genomes, evaluations, strict=True)):
            self._record_trial(number, offset, genome, evaluation)
        self.generations.append(self._generation(number, evaluations))

    @property
    def _evaluated(self) -> int:
        """How many evaluations the generations so far have."""
        return self.generations[-1].evaluations if self.generations else 0

    def _record_trial(self, number: int, offset: int, genome: np.ndarray, evaluation: Evaluation) -> None:
        """Write one evaluation, the `offset`th of generation `number`, into the ledger."""
        named = dict(enumerate([("criterion", name) for name in self.base_names]))
        named |= dict(enumerate([("start_from", name) for name in self.start_names], start=len(named)))
        attrs: State = {
            "plan": evaluation.plan.digest,
            "repeated": evaluation.repeated,
            "passes": 0 if evaluation.repeated else evaluation.passes,
            "unit": self.genomes.clusters.unit,
            **({"stopped": True} if evaluation.stopped else {}),
        }
        if number == 0 and offset in named:
            attrs |= [named[offset]]
        if evaluation.failure is not None:
            params, told = self.genomes.params(genome), evaluation.failure.told
            self.ledger.record_failure(self._evaluated + offset, number, params, told, attrs)
            return
        self.ledger.record(
            self._evaluated + offset,
            number,
            self.genomes.params(genome),
            evaluation.value,
            seconds=0.0 if evaluation.repeated else evaluation.seconds,
            attrs=attrs,
            costs=self.problem.shares(evaluation.plan),
        )

    def _generation(self, number: int, evaluations: Sequence[Evaluation]) -> Generation:
        """Return a generation in numbers; the algorithm has learnt from its evaluations already."""
        assert self.algorithm.best is not None
        best_before = self.generations[-1].best_so_far if self.generations else -math.inf
        values = [evaluation.value for evaluation in evaluations if not evaluation.failure]
        return Generation(
            generation=number,
            evaluations=self._evaluated + len(evaluations),
            distinct=self.problem.fitness.tried,
            best=max(values),
            mean=sum(values) / len(values),
            worst=min(values),
            best_so_far=max(best_before, self.algorithm.best[1]),
            seconds=sum(e.seconds for e in evaluations if not e.repeated),
            unit=self.genomes.clusters.unit,
            passes=sum(e.passes for e in evaluations if not e.repeated),
            failed=count_reasons(evaluation.failure for evaluation in evaluations),
            stopped=sum(e.stopped and not e.repeated for e in evaluations),
        )
