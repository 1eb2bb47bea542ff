"""From a blend to its fitness: scores, plan, sliced network, proxy; each distinct plan is evaluated once."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from types import TracebackType

import numpy as np
from torch import Tensor

from blendsearch.allocation import Allocation, Budget, own_allocation
from blendsearch.blending import Blend, Scores, rank_all
from blendsearch.blending.blend import NO_LOSSES
from blendsearch.criteria import DropLosses
from blendsearch.evolution.engines.base import Engine
from blendsearch.evolution.failure import FAILED, too_many
from blendsearch.evolution.journal import Journal
from blendsearch.evolution.leaders import Leaders, Rival
from blendsearch.evolution.parallel import Failed, WorkerPool
from blendsearch.evolution.stream import Stream
from blendsearch.plain import State
from blendsearch.proxies import Estimate, Proxy, ProxyContext
from blendsearch.structure import Plan, Structure


@dataclass(frozen=True)
class Evaluation:
    """A plan's fitness, what it cost, and whether it was known from an earlier candidate.

    passes: images run through its network, see `Estimate`. failure: why there is no fitness; the value is FAILED then.
    stopped: whether it was read on a part of the search images, being clearly worse than others. error: of the
    difference to the plan that it was compared with, the standard error.
    """

    plan: Plan
    value: float
    seconds: float
    passes: int
    repeated: bool
    failure: Failed | None = None
    stopped: bool = False
    error: float | None = None


@dataclass(frozen=True)
class Task:
    """A plan to estimate; rival: scores to race against, or compare with. scored: scores are asked for, race or not."""

    plan: Plan
    rival: np.ndarray | None = None
    scored: bool = False


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
        """Return the blend's plan; where its counts do not depend on scores, only those who go are put in order."""
        allocation = self.allocation_of(blend)
        if allocation.by_scores or blend.single_term is not None:
            return allocation.plan(self.structure, self.group_scores(blend), self.budget)
        counts = allocation.allocate(self.structure, {}, self.budget)
        lost = {group: width - counts[group] for group, width in self.structure.widths.items()}
        return Plan.top(blend.score_ranked(self.ranked, self.losses, lost), counts)


class FitnessFunction:
    """Evaluates plans by a proxy, side by side, and remembers every plan it has seen.

    known: plan digest -> (value, seconds, passes); put into and taken from the run folder, so that a resumed search
    repeats nothing. failures: plan digest -> why there is no value; kept with them. limit_seconds: for each plan.
    stopped: digests of those whose value is of a part of the search images. leaders: against whom `race` goes; None
    reads every plan on all images. journal: where estimates are written as they come, and those of a stopped run are
    found; such a plan is as new as any, but costs nothing.
    """

    def __init__(
        self,
        proxy: Proxy,
        context: ProxyContext,
        *,
        threads: int = 1,
        engine: Engine | None = None,
        limit_seconds: float | None = None,
        leaders: Leaders | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.known: dict[str, tuple[float, float, int]] = {}
        self.failures: dict[str, Failed] = {}
        self.stopped: set[str] = set()
        self.scores: dict[str, np.ndarray] = {}  # of the plan that others were compared with last, and of these
        self.beside: str | None = None  # that plan
        self.leaders, self.journal, self.proxy = leaders, journal, proxy
        proxy.prepare(context)
        self.pool: WorkerPool[Proxy, Task, Estimate] = WorkerPool(
            _estimate, proxy, threads=threads, engine=engine, limit_seconds=limit_seconds
        )

    def __call__(
        self,
        plans: Sequence[Plan],
        done: Callable[[int, float], None] = lambda n, v: None,
        most_failed: int | None = None,
    ) -> list[Evaluation]:
        """Return the evaluations in the order of `plans`; `done(count, value)` is called as new ones finish.

        most_failed: raise TrialError as soon as more different ones of the plans have failed.
        """
        return self._evaluate(plans, {*self.known, *self.failures} - self.stopped, None, done, most_failed)

    def race(
        self,
        plans: Sequence[Plan],
        done: Callable[[int, float], None] = lambda n, v: None,
        most_failed: int | None = None,
    ) -> list[Evaluation]:
        """Do as a call does, but read plans on part of the images that are clearly worse than all leaders so far.

        The value of such a plan is an estimate, and below that of any leader.
        """
        rival = None if self.leaders is None else self.leaders.rival
        return self._evaluate(plans, {*self.known, *self.failures}, rival, done, most_failed)

    def compare(self, plans: Sequence[Plan], rival: Plan) -> list[Evaluation]:
        """Return the evaluations of different plans beside another one, with the errors of their differences to it.

        Where candidates race, those that are clearly worse than it are read on part of the images; where the proxy has
        no scores image by image, this is a call. Else each plan is evaluated anew, also one that is known, unless a
        stopped run wrote down how it compared.
        """
        if not self.proxy.can_race():
            return self(plans)
        found: dict[int, Estimate | Failed] = {}
        if self.journal is not None:
            written = [self.journal.compared(plan.digest, rival.digest) for plan in plans]
            found = {place: one for place, one in enumerate(written) if one is not None}
        waiting = [place for place in range(len(plans)) if place not in found]
        if waiting:  # else a stopped run goes through what it did before, and no scores are asked for
            scores = self._scores_of(rival)
            tasks = [Task(plans[place], scores, scored=True) for place in waiting]
            for number, one in self.pool.outcomes(tasks):
                self.write(plans[waiting[number]], one, rival.digest)
                found[waiting[number]] = one
            if rival.digest != self.beside:  # else it stands against others once more, any of which may be the next
                self.scores, self.beside = {rival.digest: scores}, rival.digest
        for place, plan in enumerate(plans):
            one = found[place]
            if isinstance(one, Failed):
                if plan.digest not in self.known:
                    self.remember(plan, one)
                continue
            if one.scores is not None:
                self.scores[plan.digest] = one.scores
            if not one.stopped and (plan.digest not in self.known or plan.digest in self.stopped):
                self.remember(plan, replace(one, scores=None))
        return [_compared(plan, found[place]) for place, plan in enumerate(plans)]

    def _scores_of(self, plan: Plan) -> np.ndarray:
        """Return the scores of a plan image by image, float32 [N], from where they are, or by evaluating it."""
        known = self.scores.get(plan.digest)
        if known is None and self.leaders is not None:
            known = self.leaders.scores(plan.digest)
        if known is None:
            ((_, found),) = self.pool.outcomes([Task(plan, scored=True)])
            if isinstance(found, Failed):
                raise too_many(1, 1, found)
            assert found.scores is not None
            known = found.scores
        return known

    def _evaluate(
        self,
        plans: Sequence[Plan],
        settled: set[str],
        rival: Rival | None,
        done: Callable[[int, float], None],
        most_failed: int | None,
    ) -> list[Evaluation]:
        """Evaluate plans whose digest is not settled."""
        first: dict[str, int] = {}
        for position, plan in enumerate(plans):
            if plan.digest not in settled:
                first.setdefault(plan.digest, position)
        fresh = [plans[position] for position in first.values()]
        estimates: dict[int, Estimate | Failed] = {}
        for place, found in self._outcomes(fresh, rival):
            estimates[place] = found
            if isinstance(found, Failed):
                self.remember(fresh[place], found)
                failed = {plan.digest for plan in plans} & set(self.failures)
                if most_failed is not None and len(failed) > most_failed:
                    raise too_many(len(failed), len(plans), found)
            done(len(estimates), FAILED if isinstance(found, Failed) else found.value)
        for place in sorted(estimates):  # not in the order in which workers are done: of equal plans the first leads
            self.remember(fresh[place], estimates[place])
        return [
            self.evaluation(plan, repeated=first.get(plan.digest) != position) for position, plan in enumerate(plans)
        ]

    def _outcomes(self, plans: Sequence[Plan], rival: Rival | None) -> Iterator[tuple[int, Estimate | Failed]]:
        """Yield what comes of each plan, with its place: first what a stopped run wrote down, then as they are done."""
        waiting = []
        for place, plan in enumerate(plans):
            written = self.written(plan, rival)
            if written is None:
                waiting.append(place)
            else:
                yield place, written
        scores = None if rival is None else rival.scores
        for number, found in self.pool.outcomes([Task(plans[place], scores) for place in waiting]):
            lost = rival is not None and isinstance(found, Estimate) and found.stopped
            self.write(plans[waiting[number]], found, rival.plan if rival is not None and lost else None)
            yield waiting[number], found

    def written(self, plan: Plan, rival: Rival | None = None) -> Estimate | None:
        """Return what a stopped run wrote down of a plan; nothing of a new leader, whose scores others need."""
        if self.journal is None:
            return None
        raced = None if rival is None else self.journal.compared(plan.digest, rival.plan)
        found = raced or self.journal.get(plan.digest)
        if found is None or found.stopped or self.leaders is None:
            return found
        return None if self.leaders.has_room_for(found.value) else found

    def write(self, plan: Plan, found: Estimate | Failed, rival: str | None = None) -> None:
        """Write down what came of a plan, unless it failed; rival: digest of whom it was compared with."""
        if self.journal is not None and isinstance(found, Estimate):
            self.journal.put(plan.digest, found, rival)

    def stream(self) -> EvaluationStream:
        """Return what takes plans one by one and evaluates them side by side meanwhile; used in a `with` block."""
        return EvaluationStream(self)

    def evaluation(self, plan: Plan, *, repeated: bool) -> Evaluation:
        """Return what is known of a plan that was tried."""
        if plan.digest in self.failures:
            return Evaluation(plan, FAILED, 0.0, 0, repeated, self.failures[plan.digest])
        return Evaluation(plan, *self.known[plan.digest], repeated, stopped=plan.digest in self.stopped)

    def knows(self, plan: Plan) -> bool:
        """Return whether a plan was tried."""
        return plan.digest in self.known or plan.digest in self.failures

    def remember(self, plan: Plan, found: Estimate | Failed) -> None:
        """Keep what came of a plan."""
        if isinstance(found, Failed):
            self.failures[plan.digest] = found
            return
        self.failures.pop(plan.digest, None)
        self.known[plan.digest] = (found.value, found.seconds, found.passes)
        if found.stopped:
            self.stopped.add(plan.digest)
        else:
            self.stopped.discard(plan.digest)
        if self.leaders is not None and found.scores is not None:
            self.leaders.enter(plan.digest, found.value, found.scores)

    @property
    def tried(self) -> int:
        """How many different plans were tried, those that failed included."""
        return len(self.known) + len(self.failures)

    def state_dict(self) -> State:
        """Return the known values as plain JSON; a fourth entry tells those that were stopped."""
        known = {digest: [*found, *([1] if digest in self.stopped else [])] for digest, found in self.known.items()}
        return {**known, **{digest: asdict(failed) for digest, failed in self.failures.items()}}

    def load_state_dict(self, state: State) -> None:
        """Take up what `state_dict` returned."""
        self.known, self.failures, self.stopped = {}, {}, set()
        for digest, found in state.items():
            if isinstance(found, dict):
                self.failures[digest] = Failed(**found)
            else:
                value, seconds, passes, *stopped = found
                self.known[digest] = (float(value), float(seconds), int(passes))
                self.stopped |= {digest} if stopped else set()


class EvaluationStream:
    """Evaluations of plans in the order in which they were put; each distinct plan is evaluated once.

    A plan counts as known, and as repeated, by those put before it, whichever of them is done first.
    """

    def __init__(self, fitness: FitnessFunction) -> None:
        self.fitness = fitness
        self.results: Stream[Task, Estimate | Failed] = fitness.pool.stream()
        self.plans: deque[Plan] = deque()
        self.written: dict[str, Estimate] = {}

    def put(self, plan: Plan) -> None:
        """Have a plan evaluated, unless it is known or under way."""
        if not self.fitness.knows(plan) and all(plan.digest != one.digest for one in self.plans):
            written = self.fitness.written(plan)
            if written is None:
                self.results.put(Task(plan))
            else:
                self.written[plan.digest] = written
        self.plans.append(plan)

    def take(self) -> Evaluation:
        """Return the evaluation of the oldest plan that was not taken, once it is there."""
        plan = self.plans.popleft()
        repeated = self.fitness.knows(plan)
        if not repeated:
            found = self.written.pop(plan.digest, None) or self.results.take()
            self.fitness.write(plan, found)
            self.fitness.remember(plan, found)
        return self.fitness.evaluation(plan, repeated=repeated)

    def __enter__(self) -> EvaluationStream:
        self.results.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.results.__exit__(kind, error, trace)


def _estimate(proxy: Proxy, task: Task) -> Estimate:
    context = proxy.context
    sliced = context.structure.slice(context.network, task.plan)
    if context.racing is None and not task.scored:
        return proxy.estimate(sliced, task.plan)
    return proxy.race(sliced, task.plan, task.rival)


def _compared(plan: Plan, found: Estimate | Failed) -> Evaluation:
    """Return what came of a plan that was compared with another one."""
    if isinstance(found, Failed):
        return Evaluation(plan, FAILED, 0.0, 0, False, found)
    return Evaluation(plan, found.value, found.seconds, found.passes, False, stopped=found.stopped, error=found.error)
