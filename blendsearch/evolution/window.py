"""A search that does not wait for the end of a generation: each candidate is proposed from all but the last few."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from blendsearch.config import LimitConfig
from blendsearch.evolution.failure import too_many
from blendsearch.evolution.fitness import Evaluation, EvaluationStream
from blendsearch.evolution.loop import Search, stopped_by


@dataclass(kw_only=True)
class WindowedSearch(Search):
    """A search in which candidate n is proposed from the results of candidates 0 to n - window, told in that order.

    So up to `window` of them are under way at once, whichever are done first, and what comes out is the same for any
    number of workers and any timing. The first population is proposed at once, as ever. Each next `population` results
    are recorded, and the state saved, as a generation; the one that reaches a limit also has what is under way then.
    """

    window: int

    def run(self, generations: int, population: int, limit: LimitConfig | None = None) -> None:
        """Evaluate the first population and `generations` more of its size, or up to a limit."""
        with self.problem.fitness.stream() as stream:
            for genome in self.algorithm.pending:  # of a search that was stopped
                stream.put(self.problem.plan(self.genomes, genome))
            while stopped_by(self.generations, generations, limit) is None:
                self._step_of(stream, population, generations, limit)
        self._tell_limit(generations, population)

    def _step_of(self, stream: EvaluationStream, population: int, last: int, limit: LimitConfig | None) -> None:
        """Take the results of one generation, keep the window full meanwhile, and save the state."""
        number, size = len(self.generations), population
        if self.algorithm.asked == 0:
            self._ask(stream, population)
            size = len(self.algorithm.pending)
        to_come = size + (last - number) * population
        evaluations: list[Evaluation] = []
        self._fill(stream, to_come)
        while len(evaluations) < size or (self.algorithm.pending and self._ends(number, evaluations, last, limit)):
            genome, evaluation = self.algorithm.pending[0], stream.take()
            self.algorithm.tell([genome], [None if evaluation.failure else self.problem.point(evaluation)])
            evaluations.append(evaluation)
            failures = [one.failure for one in evaluations if one.failure is not None]
            if len(failures) > population // 2:
                raise too_many(len(failures), population, failures[-1])
            if len(evaluations) < size:
                self._fill(stream, to_come - len(evaluations))
            self._record_trial(number, len(evaluations) - 1, genome, evaluation)
            self._show(number, min(len(evaluations), population), population, last)
        self.generations.append(self._generation(number, evaluations))
        self.save(self.state_dict())

    def _ends(self, number: int, evaluations: list[Evaluation], last: int, limit: LimitConfig | None) -> bool:
        """Return whether the search ends with a generation that has these evaluations."""
        return stopped_by([*self.generations, self._generation(number, evaluations)], last, limit) is not None

    def _fill(self, stream: EvaluationStream, to_come: int) -> None:
        """Propose candidates until the window, or what is still to come of the search, is under way."""
        while len(self.algorithm.pending) < min(self.window, to_come):
            self._ask(stream, 1)

    def _ask(self, stream: EvaluationStream, n: int) -> None:
        for genome in self.algorithm.ask(n):
            stream.put(self.problem.plan(self.genomes, genome))

    def _show(self, number: int, done: int, population: int, last: int) -> None:
        best = f"{self.algorithm.best[1]:.4f}" if self.algorithm.best else "none yet"
        detail = f"generation {number}, best proxy {best}"
        self.progress("search", number * population + done, (last + 1) * population, detail)


def kind_of_search(window: int | None) -> Callable[..., Search]:
    """Return what makes a search by whole generations, or with so many candidates under way at once."""
    return Search if window is None else partial(WindowedSearch, window=window)
