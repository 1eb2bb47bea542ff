"""Multi-fidelity fitness: cheap proxies screen a generation's new plans, the last one judges those that are left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression

from blendsearch.evolution.fitness import Evaluation, FitnessFunction, new_plans
from blendsearch.evolution.parallel import WorkerPool
from blendsearch.evolution.screening import Judge
from blendsearch.proxies import Estimate, Proxy, ProxyContext
from blendsearch.structure import Plan

JUDGED = "proxy"
"""Why a plan went no further that the last proxy has judged."""


@dataclass
class Climb:
    """How far a plan has come: what each rung's proxy said, the cost, why it stopped (None while it is in), fitness."""

    generation: int
    rungs: list[float] = field(default_factory=list)
    seconds: float = 0.0
    passes: int = 0
    stopped: str | None = None
    value: float = math.nan

    def take(self, estimate: Estimate) -> None:
        """Add what the next rung's proxy said."""
        self.rungs.append(estimate.value)
        self.seconds += estimate.seconds
        self.passes += estimate.passes

    @property
    def judged(self) -> bool:
        """Whether it reached the last rung."""
        return self.stopped == JUDGED


class RungFitness:
    """Evaluates the new plans of a generation rung by rung, and remembers every plan it has seen, dropped or not.

    proxies: one a rung, the cheapest first; the last one decides the search. judge: who goes on from those before.
    known: plan digest -> Climb, in the order they were first seen.

    The fitness of a plan that was judged is what the last proxy said. That of one that was dropped is what its last
    rung said, translated by a rising straight line, fitted over all plans of the search so far that have both values;
    but always less than any plan of its generation has that was judged (of the search so far, if none was). So it is
    comparable, and the best of a search was judged. It may be below 0: it orders, and estimates nothing.
    """

    def __init__(
        self, proxies: Sequence[Proxy], judge: Judge, context: ProxyContext, *, workers: int = 1, threads: int = 1
    ) -> None:
        self.known: dict[str, Climb] = {}
        self.judge = judge
        self.last = len(proxies) - 1
        for proxy in proxies:
            proxy.prepare(context)
        self.pool: WorkerPool[list[Proxy], tuple[int, Plan], Estimate] = WorkerPool(
            _estimate, list(proxies), workers=workers, threads=threads
        )

    def __call__(
        self, plans: Sequence[Plan], done: Callable[[int, float], None] = lambda n, v: None
    ) -> list[Evaluation]:
        """Return the evaluations in the order of `plans`; `done(count, value)` is called as new ones are settled."""
        fresh, first = new_plans(plans, self.known)
        if fresh:
            self._climb(fresh, done)
        return [self._evaluation(plan, position not in first) for position, plan in enumerate(plans)]

    def _evaluation(self, plan: Plan, repeated: bool) -> Evaluation:
        climb = self.known[plan.digest]
        assert climb.stopped is not None
        return Evaluation(
            plan, climb.value, climb.seconds, climb.passes, repeated,
            rungs=tuple(climb.rungs), dropped=not climb.judged, stopped=climb.stopped,
        )  # fmt: skip

    def _climb(self, fresh: dict[str, Plan], done: Callable[[int, float], None]) -> None:
        """Let the new plans of a generation climb, and remember them."""
        generation = 1 + max((climb.generation for climb in self.known.values()), default=-1)
        climbs = {digest: Climb(generation) for digest in fresh}
        inside = list(fresh)
        for rung in range(self.last):
            estimates = self._estimated(rung, [fresh[digest] for digest in inside])
            reasons = self.judge.choose(rung, estimates)
            for digest, estimate, reason in zip(inside, estimates, reasons, strict=True):
                climbs[digest].take(estimate)
                if reason is not None:
                    climbs[digest].stopped = f"rung {rung + 1} of {self.last + 1}: {reason}"
            inside = [digest for digest in inside if climbs[digest].stopped is None]
            done(len(fresh) - len(inside), 0.0)  # their fitness is known when the last rung is
        settled = len(fresh) - len(inside)
        found = self._estimated(
            self.last, [fresh[digest] for digest in inside], lambda count, value: done(settled + count, value)
        )
        for digest, estimate in zip(inside, found, strict=True):
            climbs[digest].take(estimate)
            climbs[digest].stopped, climbs[digest].value = JUDGED, estimate.value
        self.known |= climbs
        self._translate(list(climbs.values()))

    def _estimated(
        self, rung: int, plans: list[Plan], done: Callable[[int, float], None] = lambda n, v: None
    ) -> list[Estimate]:
        found: dict[int, Estimate] = {}
        for position, estimate in self.pool.map([(rung, plan) for plan in plans]):
            found[position] = estimate
            done(len(found), estimate.value)
        return [found[position] for position in range(len(plans))]

    def _translate(self, generation: list[Climb]) -> None:
        """Give the dropped plans of a generation their fitness."""
        judged = [climb for climb in self.known.values() if climb.judged]
        worst = min(climb.value for climb in [one for one in generation if one.judged] or judged)
        for climb in generation:
            if not climb.judged:
                rung = len(climb.rungs) - 1
                line = rising_line([(one.rungs[rung], one.value) for one in judged])
                climb.value = min(line(climb.rungs[rung]), float(np.nextafter(worst, -np.inf)))

    def deciding(self, plans: Sequence[Plan]) -> list[float]:
        """Return what the last proxy says of plans; those that were dropped are judged now, outside the search."""
        values = {digest: climb.value for digest, climb in self.known.items() if climb.judged}
        missing = {plan.digest: plan for plan in plans if plan.digest not in values}
        estimates = self._estimated(self.last, list(missing.values()))
        values |= {digest: estimate.value for digest, estimate in zip(missing, estimates, strict=True)}
        return [values[plan.digest] for plan in plans]

    def state_dict(self) -> dict[str, Any]:
        """Return the known plans as plain JSON."""
        return {digest: asdict(climb) for digest, climb in self.known.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.known = {digest: Climb(**climb) for digest, climb in state.items()}
        self.judge.restore(self._decisions())

    def _decisions(self) -> Iterator[tuple[int, list[float]]]:
        """Yield rung and values of each decision of the search so far."""
        generations: dict[int, list[Climb]] = {}
        for climb in self.known.values():
            generations.setdefault(climb.generation, []).append(climb)
        for climbs in generations.values():
            for rung in range(self.last):
                yield rung, [climb.rungs[rung] for climb in climbs if len(climb.rungs) > rung]


Fitness = FitnessFunction | RungFitness
"""What evaluates the plans of a search: one proxy, or rungs of several."""


def rising_line(pairs: Sequence[tuple[float, float]]) -> Callable[[float], float]:
    """Return the least-squares line through (x, y) that does not fall; through one pair, or equal x, it is level."""
    x, y = np.array(pairs, dtype=np.float64).T
    line = LinearRegression(positive=True).fit(x[:, None], y)
    slope, offset = float(line.coef_[0]), float(line.intercept_)
    return lambda value: offset + slope * value


def _estimate(proxies: list[Proxy], item: tuple[int, Plan]) -> Estimate:
    rung, plan = item
    context = proxies[rung].context
    return proxies[rung].estimate(context.structure.slice(context.network, plan), plan)
