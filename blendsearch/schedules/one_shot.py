"""Prune everything at once, then retrain."""

from __future__ import annotations

from torch import nn

from blendsearch.schedules.base import Job, Outcome, Schedule, register_schedule
from blendsearch.training.early_stop import weights_of


@register_schedule
class OneShot(Schedule):
    """Scores once, slices once, retrains for the whole of the epochs."""

    name = "one_shot"
    source = "Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (prune once and retrain)"

    def run(self, network: nn.Module, job: Job) -> Outcome:
        plan = job.allocation.plan(job.structure, job.scorer(network, job.structure), job.budget)
        pruned = job.cut(job.structure, network, plan)
        before = weights_of(pruned) if job.trains else None
        return Outcome(pruned, plan, job.fit(pruned, checkpoint=job.checkpoint), before)
