"""Layer by layer from the input on, retraining what lies before while what lies behind waits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from blendsearch.errors import ConfigError
from blendsearch.schedules.base import Job, register_schedule
from blendsearch.schedules.stages import Place, Stage, StagedSchedule
from blendsearch.structure import Group, Plan, Structure
from blendsearch.structure.trace import CONVOLUTIONS
from blendsearch.training.loop import History


@register_schedule
class Progressive(StagedSchedule):
    """Prunes one layer after the other; after each, everything up to the layer that reads it trains, the rest waits.

    How many filters each layer keeps is settled at the beginning by the allocation; which ones, when it is the
    layer's turn, from scores of the network as it then is. Layers behind the reading one stay as they are, weights
    and batch-norm statistics, bit for bit. Layers coupled by residual additions are one group: its turn comes with
    its first convolution, and everything up to its last reader trains. After the last group everything trains.
    final: share of the optimiser steps for the last stage; null (the default) divides them equally.
    """

    name = "progressive"
    source = "Osaku, Gomes & Falcão, Convolutional neural network simplification, 2021 (arXiv 2101.04699)"

    def __init__(self, final: float | None = None) -> None:
        if final is not None and not 0 <= final <= 1:
            raise ConfigError(f"schedule.final: {final} given, 0 to 1 expected")
        self.final = final

    def stages(self, network: nn.Module, job: Job) -> Sequence[Stage]:
        counts = job.allocation.allocate(job.structure, job.scorer(network, job.structure), job.budget)
        groups = job.structure.groups
        early = groups[:-1]
        final = 1 / len(groups) if self.final is None or not early else self.final
        shares = [(1 - final) / len(early)] * len(early) + [final] if early else [final]
        waiting = [waiting_modules(network, job.structure, group) for group in early]
        return [
            _Layer(f"layer {group.name}", share, group.name, counts[group.name], later)
            for group, share, later in zip(groups, shares, [*waiting, frozenset()], strict=True)
        ]


def waiting_modules(network: nn.Module, structure: Structure, group: Group) -> frozenset[str]:
    """Return the modules behind the layers that hold or read a group's filters, by path.

    A layer is a convolution or linear module with what is called after it, up to the next one. A module that the
    forward pass does not show (a container with parameters of its own) waits as well.
    """
    order = structure.trace.order
    kinds = (*CONVOLUTIONS, nn.Linear)
    weighted = [i for i, name in enumerate(order) if isinstance(network.get_submodule(name), kinds)]
    touched = {member.module for member in group.members}
    last = max(i for i in weighted if order[i] in touched)
    trained = set(order[: min((i for i in weighted if i > last), default=len(order))])
    return frozenset(name for name, _ in network.named_modules() if name not in trained)


@dataclass
class _Layer(Stage):
    """The turn of one group: it goes down to `count` filters, then all modules but the waiting ones train."""

    group: str
    count: int
    waiting: frozenset[str]

    def plan(self, place: Place) -> Plan | None:
        if place.plan.counts[self.group] == self.count:
            return None
        scores = place.job.scorer(place.network, place.structure)
        return Plan.top(scores, {**place.structure.widths, self.group: self.count})

    def train(self, network: nn.Module, job: Job, **terms: Any) -> History:
        with frozen(network, self.waiting):
            return super().train(network, job, mode=partial(_train_but, waiting=self.waiting), **terms)


@contextlib.contextmanager
def frozen(network: nn.Module, modules: frozenset[str]) -> Iterator[None]:
    """Take the gradients from the modules' own parameters inside the block."""
    held = [p for name in modules for p in network.get_submodule(name).parameters(recurse=False) if p.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)


def _train_but(network: nn.Module, waiting: frozenset[str]) -> None:
    """Put a network into training mode, all but the waiting modules (those that hold others do as these do)."""
    network.train()
    for name in waiting:
        module = network.get_submodule(name)
        if not any(module.children()):
            module.eval()
