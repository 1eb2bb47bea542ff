"""A compensation pass that also chooses: each layer's inputs from what the already pruned layers before it give.

The network stays at full size. As the forward pass reaches a layer that reads filters nobody has chosen among yet, the
layer is refitted with all of them, and the caller says which to keep; the weights of the others become zero, so that
all that follows sees a network without them. Chosen on the unpruned network, filters would be fitted to inputs that the
pruned one no longer gives.
Source: El Halabi et al., Data-Efficient Structured Pruning via Submodular Optimization, NeurIPS 2022 (pruned inputs
against the original target).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.structure import Plan
from blendsearch.structure.trace import Join
from blendsearch.training.compensation import (
    Compensation,
    Moments,
    WatchingPass,
    effective_weight,
    feature_rows,
    has_offset,
    patches,
    put_solution,
)


@dataclass(frozen=True)
class Refitted:
    """A layer refitted with all inputs that are left, as the one who chooses among them sees it.

    gram [D, D]: of its inputs, means taken off where an offset can make up for them; rows tap by tap, in each the
    channels. weights [D, C_out]: towards what the layer's norm gives (or the layer, without one). scale [C_out]: by
    which the norm multiplies what the layer gives. left: bool [C_in], the channels that are still in; the others'
    rows are zero.
    """

    gram: Tensor
    weights: Tensor
    scale: Tensor
    left: Tensor


Choose = Callable[[str, Refitted], Mapping[str, tuple[int, ...]]]
"""Path of a layer and how it was refitted -> filters to keep of each group that is decided here."""


def choose_in_passing(compensation: Compensation, network: nn.Module, plan: Plan, choose: Choose) -> Plan:
    """Return the plan with the sets that `choose` gave, layer by layer; groups that it leaves alone stay as they are.

    network: the unpruned one, which is left untouched. plan: how many filters each group keeps, and which, where
    `choose` does not say.
    """
    run = _Chooser(compensation, compensation.compute.place(copy.deepcopy(network)).eval(), plan, choose)
    compensation.forward(run)
    return Plan({**plan.keep, **run.chosen}, dict(plan.widths))


class _Chooser(WatchingPass):
    """The pass itself; layers that lose inputs are watched."""

    def __init__(self, outer: Compensation, network: nn.Module, plan: Plan, choose: Choose) -> None:
        lost = [name for name in outer.structure.pruned_inputs(plan) if name in outer.targets]
        super().__init__(network, lost, outer.joins)
        self.outer, self.plan, self.choose = outer, plan, choose
        self.chosen: dict[str, tuple[int, ...]] = {}
        self.inputs: dict[str, Tensor] = {}
        self.handles = [network.get_submodule(name).register_forward_pre_hook(self._hook(name)) for name in lost]

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if name in self.joined:
                self.inputs[name] = inputs[0]
            else:
                with self.paused():
                    self._refit(name, inputs[0], None)

        return hook

    def at_join(self, join: Join, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        other = inputs[1 - join.operand]
        x = self.inputs.pop(join.convolution)
        self._refit(join.convolution, x, other)
        return self.outer.applied(self.network, join.convolution, x) + other

    def _refit(self, name: str, x: Tensor, other: Tensor | None) -> None:
        layer: Any = self.network.get_submodule(name)
        norm: Any = self.network.get_submodule(self.outer.norms[name]) if name in self.outer.norms else None
        target = self.outer.targets[name]
        wanted = target.values
        if other is not None:
            wanted = wanted - feature_rows(layer, other)[target.index].float()
        with torch.autocast(device_type=x.device.type, enabled=False):
            rows, start = patches(layer, x.float(), target.index), effective_weight(layer, norm)
            moments = Moments.of(rows, wanted, has_offset(layer, norm))
            left = self._left(name, layer)
            weights = moments.solve(start, self.outer.ridge, _rows_of(left, len(start)))
            scale = torch.ones(start.shape[1], device=x.device)
            if norm is not None:
                scale = torch.rsqrt(norm.running_var + norm.eps) * norm.weight.detach()
            self.chosen |= self.choose(name, Refitted(moments.gram, weights, scale, left))
            left = self._left(name, layer)
            weights = moments.solve(start, self.outer.ridge, _rows_of(left, len(start)))
            put_solution(layer, norm, weights, rows, moments)

    def _left(self, name: str, layer: Any) -> Tensor:
        """Return which of a layer's channels are still in: bool [C_in]."""
        known = Plan(dict(self.chosen), {group: self.plan.widths[group] for group in self.chosen})
        kept = self.outer.structure.kept_inputs(name, known)
        left = torch.ones(layer.weight.shape[1], dtype=torch.bool, device=layer.weight.device)
        if kept is not None:
            left = torch.zeros_like(left)
            left[kept.to(left.device)] = True
        return left


def _rows_of(left: Tensor, rows: int) -> Tensor:
    """Return the numbers of the rows, tap by tap, that belong to the channels that are in."""
    return left.repeat(rows // len(left)).nonzero().flatten()
