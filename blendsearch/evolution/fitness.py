"""From a blend to its fitness: scores, plan, sliced network, proxy; each distinct plan is evaluated once."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

from torch import Tensor

from blendsearch.allocation import Allocation, Budget, own_allocation
from blendsearch.blending import Blend, Scores, rank_all
from blendsearch.blending.blend import NO_LOSSES
from blendsearch.criteria import DropLosses
from blendsearch.evolution.engines.base import Engine
from blendsearch.evolution.parallel import WorkerPool
from blendsearch.evolution.stream import Stream
from blendsearch.plain import State
from blendsearch.proxies import Estimate, Proxy, ProxyContext
from blendsearch.structure import Plan, Structure


@dataclass(frozen=True)
class Evaluation:
    """A plan's fitness, what it cost, and whether it was known from an earlier candidate.

    passes: images run through its network, see `Estimate`.
    """

    plan: Plan
    value: float
    seconds: float
    passes: int
    repeated: bool


class Planner:
    """Turns blends and criteria into plans under one allocation and budget; losses: for blends that are set-aware."""

    def __init__(
        self,
        structure: Structure,
        scores: Scores,
        allocation: Allocation,
        budget: Budget,
        losses: DropLosses = NO_LOSSES,
    ) -> None:
        self.structure, self.allocation, self.budget = structure, allocation, budget
        self.scores, self.losses = scores, losses
        self.ranked = rank_all(scores)

    def at(self, ratio: float) -> Planner:
        """Return the same planner under another kept share of the budget's kind."""
        other = copy.copy(self)
        other.budget = replace(self.budget, ratio=ratio)
        return other

    def under(self, allocation: Allocation) -> Planner:
        """Return the same planner under another allocation."""
        other = copy.copy(self)
        other.allocation = allocation
        return other

    def group_scores(self, blend: Blend) -> dict[str, Tensor]:
        """Return the blend's score of every group [C]; a blend of one criterion is that criterion, unranked."""
        name = blend.single_term
        if name is None:
            return blend.score_ranked(self.ranked, self.losses)
        return self.scores[name] if name in self.scores else self.group_scores(blend.members[name])

    def allocation_of(self, blend: Blend) -> Allocation:
        """Return what decides how many filters a blend's groups keep: its own weights, where the space has them."""
        return own_allocation(self.allocation, blend.keep, self.structure)

    def plan(self, blend: Blend) -> Plan:
        """Return the blend's plan."""
        return self.allocation_of(blend).plan(self.structure, self.group_scores(blend), self.budget)


class FitnessFunction:
    """Evaluates plans by a proxy, side by side, and remembers every plan it has seen.

    known: plan digest -> (value, seconds, passes); put into and taken from the run folder, so that a resumed search
    repeats nothing.
    """

    def __init__(
        self,
        proxy: Proxy,
        context: ProxyContext,
        *,
        workers: int = 1,
        threads: int = 1,
        engine: Engine | None = None,
    ) -> None:
        self.known: dict[str, tuple[float, float, int]] = {}
        proxy.prepare(context)
        self.pool: WorkerPool[Proxy, Plan, Estimate] = WorkerPool(
            _estimate, proxy, workers=workers, threads=threads, engine=engine
        )

    def __call__(
        self, plans: Sequence[Plan], done: Callable[[int, float], None] = lambda n, v: None
    ) -> list[Evaluation]:
        """Return the evaluations in the order of `plans`; `done(count, value)` is called as new ones finish."""
        first: dict[str, int] = {}
        for position, plan in enumerate(plans):
            if plan.digest not in self.known:
                first.setdefault(plan.digest, position)
        fresh = [plans[position] for position in first.values()]
        for count, (place, estimate) in enumerate(self.pool.map(fresh), start=1):
            self.known[fresh[place].digest] = (estimate.value, estimate.seconds, estimate.passes)
            done(count, estimate.value)
        return [
            Evaluation(plan, *self.known[plan.digest], repeated=first.get(plan.digest) != position)
            for position, plan in enumerate(plans)
        ]

    def stream(self) -> EvaluationStream:
        """Return what takes plans one by one and evaluates them side by side meanwhile; used in a `with` block."""
        return EvaluationStream(self)

    def state_dict(self) -> State:
        """Return the known values as plain JSON."""
        return {digest: list(found) for digest, found in self.known.items()}

    def load_state_dict(self, state: State) -> None:
        """Take up what `state_dict` returned."""
        self.known = {
            digest: (float(value), float(seconds), int(passes)) for digest, (value, seconds, passes) in state.items()
        }


class EvaluationStream:
    """Evaluations of plans in the order in which they were put; each distinct plan is evaluated once.

    A plan counts as known, and as repeated, by those put before it, whichever of them is done first.
    """

    def __init__(self, fitness: FitnessFunction) -> None:
        self.known = fitness.known
        self.results: Stream[Plan, Estimate] = fitness.pool.stream()
        self.plans: deque[Plan] = deque()

    def put(self, plan: Plan) -> None:
        """Have a plan evaluated, unless it is known or under way."""
        if plan.digest not in self.known and all(plan.digest != one.digest for one in self.plans):
            self.results.put(plan)
        self.plans.append(plan)

    def take(self) -> Evaluation:
        """Return the evaluation of the oldest plan that was not taken, once it is there."""
        plan = self.plans.popleft()
        repeated = plan.digest in self.known
        if not repeated:
            estimate = self.results.take()
            self.known[plan.digest] = (estimate.value, estimate.seconds, estimate.passes)
        return Evaluation(plan, *self.known[plan.digest], repeated=repeated)

    def __enter__(self) -> EvaluationStream:
        self.results.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.results.__exit__(kind, error, trace)


def _estimate(proxy: Proxy, plan: Plan) -> Estimate:
    context = proxy.context
    return proxy.estimate(context.structure.slice(context.network, plan), plan)
