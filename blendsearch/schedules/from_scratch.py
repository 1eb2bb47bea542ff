"""The pruned structure trained anew: is it the structure that counts, or the weights that were kept?"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from blendsearch.compute import child_seed
from blendsearch.errors import ConfigError, StructureError
from blendsearch.schedules.base import Job, Outcome, Schedule, register_schedule

EQUAL = ("steps", "flops")


@register_schedule
class FromScratch(Schedule):
    """Prunes once, gives every weight a new random value, and trains the small network from there.

    equal: "steps" trains for as many optimiser steps as retraining would; "flops" for as many floating-point
    operations as those steps cost on the unpruned network, which is longer the smaller the network. New values are
    those that PyTorch gives a new module of that kind (its `reset_parameters`), not a scheme of the network's own.
    """

    name = "from_scratch"
    source = "Liu et al., ICLR 2019, Scratch-E and Scratch-B; Chang et al., 2020 (uniform channel pruning)"
    keeps_weights = False

    def __init__(self, equal: str = "steps") -> None:
        if equal not in EQUAL:
            raise ConfigError(f"schedule.equal: '{equal}' given, allowed: {', '.join(EQUAL)}")
        self.equal = equal

    def run(self, network: nn.Module, job: Job) -> Outcome:
        check_resettable(network)
        plan = job.allocation.plan(job.structure, job.scorer(network, job.structure), job.budget)
        pruned = job.cut(job.structure, network, plan)
        reinitialise(pruned, child_seed(job.seed, "initialise"))
        longer = 1.0 if self.equal == "steps" else 1 / job.structure.cost.ratio("flops", plan.counts)
        training = job.training.model_copy(update={"epochs": job.training.epochs * longer})
        return Outcome(pruned, plan, job.fit(pruned, training=training, checkpoint=job.checkpoint))


def check_resettable(network: nn.Module) -> None:
    """Raise StructureError that names the modules with parameters of their own and no `reset_parameters`."""
    strange = [
        f"'{name}' ({type(module).__name__})"
        for name, module in network.named_modules()
        if next(module.parameters(recurse=False), None) is not None and not hasattr(module, "reset_parameters")
    ]
    if strange:
        raise StructureError(
            f"schedule 'from_scratch': no way to re-initialise {', '.join(strange[:5])}; "
            "give such a module a reset_parameters method or choose another schedule"
        )


def reinitialise(network: nn.Module, seed: int) -> None:
    """Give every parameter a new value and every norm fresh statistics, in place; the seed decides, on any device."""
    network.cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in network.modules():
            reset: Any = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
