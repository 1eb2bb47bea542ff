"""Prune a little, train a little, score again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from blendsearch.allocation import Budget, Limits, plan_rest, rungs
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
            whole = sum(job.structure.widths.values())
            # A trifle more, so that the count is not lost to rounding when it becomes a share and a count again.
            shares_left = [(left + 1e-6) / whole for left in remaining_filters(network, job, self.share)]
            targets = [*(job.budget.under({"filters": share}) for share in shares_left), job.budget]
        else:
            targets = rungs(job.budget, self.steps or STEPS)
        each = self.between / len(targets)
        shares = [each] * (len(targets) - 1) + [1 - each * (len(targets) - 1)]
        limits = Limits.of(job.budget, job.structure)
        return [
            _Step(f"step {number}", share, target, limits)
            for number, (share, target) in enumerate(zip(shares, targets, strict=True), start=1)
        ]


def remaining_filters(network: nn.Module, job: Job, share: float) -> list[int]:
    """Return how many filters are left after each step but the last, a share of the remaining ones going in each.

    The step that would meet the budget, judged by the scores of the network as it is now, is the last one.
    """
    cost, limits = job.structure.cost, Limits.of(job.budget, job.structure)
    scores = job.scorer(network, job.structure)
    whole = left = sum(cost.widths.values())
    result: list[int] = []
    while True:
        left = min(left - 1, round(left * (1 - share)))
        if left <= sum(limits.floors.values()):
            return result
        counts = job.allocation.allocate(job.structure, scores, job.budget.under({"filters": left / whole}), limits)
        if job.budget.allows(counts, cost):
            return result
        result.append(left)


@dataclass
class _Step(Stage):
    """A pruning step down to a target, a budget of the unpruned network, never below that of the job."""

    target: Budget
    limits: Limits

    def plan(self, place: Place) -> Plan | None:
        if max(place.plan.counts.values()) == 1:
            return None
        job = place.job
        scores = job.scorer(place.network, place.structure)
        plan = self._down_to(self.target, place, scores)
        if self.target.kind != job.budget.kind and job.budget.allows(place.plan.then(plan).counts, job.structure.cost):
            plan = self._down_to(job.budget, place, scores)
        return plan

    def _down_to(self, target: Budget, place: Place, scores: Mapping[str, Tensor]) -> Plan:
        job, limits = place.job, self.limits
        return plan_rest(job.allocation, target, limits, job.structure, place.plan, place.structure, scores)
