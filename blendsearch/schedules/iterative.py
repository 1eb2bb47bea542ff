"""Prune a little, train a little, score again."""

from __future__ import annotations

from torch import nn

from blendsearch.allocation import Budget
from blendsearch.compute import child_seed
from blendsearch.errors import ConfigError
from blendsearch.schedules.base import Job, Outcome, Schedule, register_schedule
from blendsearch.structure import Plan, Structure
from blendsearch.training.loop import History


@register_schedule
class Iterative(Schedule):
    """Reaches the budget in equal steps of cost; after each step the network trains and is scored anew.

    steps: number of pruning steps. between: share of the epochs spent between the steps, in equal parts; the
    rest follows the last step, so that the whole is as long as one-shot retraining. 0 prunes step by step
    without training in between (scenario B of the source).
    """

    name = "iterative"
    source = "Yeom et al., Pruning by Explaining, Pattern Recognition 2021, algorithm 1"

    def __init__(self, steps: int = 5, between: float = 0.5) -> None:
        if steps < 1:
            raise ConfigError(f"schedule.steps: {steps} given, at least 1 expected")
        if not 0 <= between < 1:
            raise ConfigError(f"schedule.between: {between} given, 0 to below 1 expected")
        self.steps, self.between = steps, between

    def run(self, network: nn.Module, job: Job) -> Outcome:
        structure, plan = job.structure, Plan.full(job.structure.widths)
        parts: list[History] = []
        for step in range(1, self.steps + 1):
            step_plan = self._step(network, structure, plan, job, step)
            network = job.cut(structure, network, step_plan)
            plan = plan.then(step_plan)
            parts.append(self._train(network, job, step))
            if step < self.steps:
                structure = structure.again(network, step_plan)
        return Outcome(network, plan, History.joined(parts))

    def _step(self, network: nn.Module, structure: Structure, plan: Plan, job: Job, step: int) -> Plan:
        """Return the plan of one step, in the indices of the network as it is now."""
        target = 1 - (1 - job.budget.ratio) * step / self.steps
        kind, whole = job.budget.kind, job.structure.cost
        here = structure.cost.measure(kind, structure.widths)
        # Groups down to one filter are no groups any more; what they hold of the budget stays.
        settled = whole.measure(kind, plan.counts) - here
        ratio = (target * whole.measure(kind, whole.widths) - settled) / here
        budget = Budget(kind, min(1.0, ratio), job.budget.min_keep)
        floors = {g: n for g, n in job.budget.floors(job.structure.widths).items() if g in structure.widths}
        return job.allocation.plan(structure, job.scorer(network, structure), budget, floors)

    def _train(self, network: nn.Module, job: Job, step: int) -> History:
        last = step == self.steps
        share = 1 - self.between * (self.steps - 1) / self.steps if last else self.between / self.steps
        config = job.training.model_copy(update={"epochs": job.training.epochs * share, "warmup_epochs": 0.0})
        return job.fit(network, config=config, seed=child_seed(job.seed, "step", step), task=f"{job.task}, step {step}")
