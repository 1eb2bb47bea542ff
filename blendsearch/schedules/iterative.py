"""Prune a little, train a little, score again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from blendsearch.allocation import Budget
from blendsearch.errors import ConfigError
from blendsearch.schedules.base import Job, register_schedule
from blendsearch.schedules.stages import Place, Stage, StagedSchedule
from blendsearch.structure import Plan

STEPS = 5


@register_schedule
class Iterative(StagedSchedule):
    """Reaches the budget step by step; after each step the network trains and is scored anew.

    steps: number of pruning steps (default 5), equal in the budget's cost. share: instead of steps, the share of
    all remaining filters that goes in each step (0.05 in the source) until the budget is met; how many steps that
    takes is told by the scores of the unpruned network, and the last step goes down to the budget. With allocation
    `global_threshold` the filters of all layers are ranked together, as in the source.
    between: share of the epochs spent between the steps, in equal parts (scenario A of the source); the rest
    follows the last step, so that the whole is as long as one-shot retraining. 0 prunes step by step without
    training in between (scenario B, with retraining.epochs 0).
    """

    name = "iterative"
    source = "Yeom et al., Pruning by Explaining, Pattern Recognition 2021, algorithm 1"

    def __init__(self, steps: int | None = None, between: float = 0.5, share: float | None = None) -> None:
        if steps is not None and share is not None:
            raise ConfigError(f"schedule: steps {steps} and share {share} given, one of the two expected")
        if steps is not None and steps < 1:
            raise ConfigError(f"schedule.steps: {steps} given, at least 1 expected")
        if share is not None and not 0 < share < 1:
            raise ConfigError(f"schedule.share: {share} given, more than 0 and below 1 expected")
        if not 0 <= between < 1:
            raise ConfigError(f"schedule.between: {between} given, 0 to below 1 expected")
        self.steps, self.between, self.share = steps, between, share

    def stages(self, network: nn.Module, job: Job) -> Sequence[Stage]:
        if self.share is not None:
            targets = [("filters", float(left)) for left in remaining_filters(network, job, self.share)]
        else:
            targets = [(job.budget.kind, amount) for amount in _equal_steps(job, self.steps or STEPS)]
        each = self.between / (len(targets) + 1)
        shares = [each] * len(targets) + [1 - each * len(targets)]
        targets.append((job.budget.kind, _amount(job)))
        return [_Step(f"step {i + 1}", shares[i], *target) for i, target in enumerate(targets)]


def _amount(job: Job) -> float:
    cost = job.structure.cost
    return job.budget.ratio * cost.measure(job.budget.kind, cost.widths)


def _equal_steps(job: Job, steps: int) -> list[float]:
    """Return what the steps before the last leave, in the budget's cost."""
    cost = job.structure.cost
    whole = cost.measure(job.budget.kind, cost.widths)
    return [whole * (1 - (1 - job.budget.ratio) * step / steps) for step in range(1, steps)]


def remaining_filters(network: nn.Module, job: Job, share: float) -> list[int]:
    """Return how many filters are left after each step but the last, a share of the remaining ones going in each.

    The step that would meet the budget, judged by the scores of the network as it is now, is the last one.
    """
    cost, floors = job.structure.cost, job.budget.floors(job.structure.widths)
    scores = job.scorer(network, job.structure)
    whole = left = sum(cost.widths.values())
    result: list[int] = []
    while True:
        left = min(left - 1, round(left * (1 - share)))
        if left <= sum(floors.values()):
            return result
        counts = job.allocation.allocate(job.structure, scores, Budget("filters", left / whole), floors)
        if job.budget.allows(counts, cost):
            return result
        result.append(left)


@dataclass
class _Step(Stage):
    """A pruning step down to an amount of a kind of cost, never below the job's budget."""

    kind: str
    amount: float

    def plan(self, place: Place) -> Plan | None:
        if max(place.plan.counts.values()) == 1:
            return None
        job = place.job
        scores = job.scorer(place.network, place.structure)
        budget, floors = self._budget(place, self.kind, self.amount), self._floors(place)
        plan = job.allocation.plan(place.structure, scores, budget, floors)
        if self.kind != job.budget.kind and job.budget.allows(place.plan.then(plan).counts, job.structure.cost):
            budget = self._budget(place, job.budget.kind, _amount(job))
            plan = job.allocation.plan(place.structure, scores, budget, floors)
        return plan

    def _budget(self, place: Place, kind: str, amount: float) -> Budget:
        """Return the amount as a budget for the network as it is now."""
        here = place.structure.cost.measure(kind, place.structure.widths)
        # Groups down to one filter are no groups any more; what they hold of the budget stays.
        settled = place.job.structure.cost.measure(kind, place.plan.counts) - here
        return Budget(kind, min(1.0, (amount - settled) / here), place.job.budget.min_keep)

    def _floors(self, place: Place) -> dict[str, int]:
        floors = place.job.budget.floors(place.job.structure.widths)
        return {group: floors[group] for group in place.structure.widths}
