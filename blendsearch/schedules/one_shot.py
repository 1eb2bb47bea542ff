"""Prune everything at once, then retrain."""

from __future__ import annotations

from torch import nn

from blendsearch.schedules.base import Job, Outcome, Schedule, register_schedule
from blendsearch.training.loop import train


@register_schedule
class OneShot(Schedule):
    """Scores once, slices once, retrains for the whole of the epochs."""

    name = "one_shot"
    source = "Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (prune once and retrain)"

    def run(self, network: nn.Module, job: Job) -> Outcome:
        plan = job.allocation.plan(job.structure, job.scorer(network, job.structure), job.budget)
        pruned = job.structure.slice(network, plan)
        history = train(
            pruned, job.train, job.training, seed=job.seed, compute=job.compute,
            progress=job.progress, task=job.task, checkpoint=job.checkpoint,
        )  # fmt: skip
        return Outcome(pruned, plan, history)
