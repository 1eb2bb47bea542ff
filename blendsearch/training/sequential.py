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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.structure import Plan, Structure
from blendsearch.structure.groups import Member
from blendsearch.training.compensation import Compensation, Reached, RefittingPass, norm_scale
from blendsearch.training.moments import Solution


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


class _Chooser(RefittingPass):
    """The pass itself; layers that lose inputs are watched."""

    def __init__(self, outer: Compensation, network: nn.Module, plan: Plan, choose: Choose) -> None:
        super().__init__(outer, network, outer.losing(plan), plan)
        self.choose = choose
        self.chosen: dict[str, tuple[int, ...]] = {}
        self.handles += silence(network, outer, lambda: self.chosen)

    def refit(self, name: str, x: Tensor, other: Tensor | None) -> None:
        reached = self.outer.reach(self.network, name, x, other, None)
        left = self._left(name, reached.layer)
        weights = self._solve(reached, left).weights
        self.chosen |= self.choose(name, Refitted(reached.squares.moments.gram, weights, _scale(reached), left))
        reached.put(self._solve(reached, self._left(name, reached.layer)))

    def _solve(self, reached: Reached, left: Tensor) -> Solution:
        return reached.squares.solve(reached.start, self.outer.ridge, rows_of(left, len(reached.start)))

    def _left(self, name: str, layer: Any) -> Tensor:
        """Return which of a layer's channels are still in: bool [C_in]."""
        known = Plan(dict(self.chosen), {group: self.plan.widths[group] for group in self.chosen})
        return left_inputs(self.outer.structure, name, layer, known)


def silence(
    network: nn.Module, compensation: Compensation, kept: Callable[[], Mapping[str, Sequence[int]]]
) -> list[Any]:
    """Keep filters that went out of what no refit reaches in a network at full size; return the hooks' handles.

    A refitted layer has weights of zero for them; a shortcut that only pads, or a layer that cannot be refitted, would
    hand them on. kept: group -> its filters that stay, as it stands when the pass comes by; others lose none.
    """
    handles = []
    for group in compensation.structure.groups:
        for member in group.members:
            if member.side == "in" and member.module not in compensation.targets:
                hook = _Silencer(group.name, group.width, member, kept)
                handles.append(network.get_submodule(member.module).register_forward_pre_hook(hook))
    return handles


@dataclass(frozen=True)
class _Silencer:
    """A hook that sets a module's inputs from filters that went to zero."""

    group: str
    width: int
    member: Member
    kept: Callable[[], Mapping[str, Sequence[int]]]

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        kept = self.kept().get(self.group)
        if kept is None or len(kept) == self.width or not isinstance(inputs[0], Tensor):
            return None
        index, root = self.member.places
        dim = 1 if inputs[0].dim() == 4 and not isinstance(module, nn.Linear) else -1
        gone = index[~torch.isin(root, torch.tensor(list(kept)))].to(inputs[0].device)
        return (inputs[0].index_fill(dim, gone, 0.0), *inputs[1:])


def left_inputs(structure: Structure, name: str, layer: Any, plan: Plan) -> Tensor:
    """Return which channels of a layer at full size are in under a plan, bool [C_in]; name: its path."""
    kept = structure.kept_inputs(name, plan)
    left = torch.ones(layer.weight.shape[1], dtype=torch.bool, device=layer.weight.device)
    if kept is not None:
        left = torch.zeros_like(left)
        left[kept.to(left.device)] = True
    return left


def rows_of(left: Tensor, rows: int) -> Tensor:
    """Return the numbers of the rows, tap by tap, that belong to the channels that are in."""
    return left.repeat(rows // len(left)).nonzero().flatten()


def _scale(reached: Reached) -> Tensor:
    """Return by what a layer's norm multiplies its outputs [C_out]: ones without a norm."""
    norm = reached.norm
    if norm is None:
        return torch.ones(reached.start.shape[1], device=reached.start.device)
    return norm_scale(norm)
