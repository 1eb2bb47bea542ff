"""What the refitted layers' weights mean to a loss at the network's end: its slope in them, and its curvature.

A refit brings each layer as close as it can to what it gave before, and knows nothing of what follows. How the loss
changes with a layer's weights, those of inputs that are not there included, tells which other inputs would be better.
Source: LeCun et al., Optimal Brain Damage, 1990 (a loss by its Taylor expansion); the curvature by squared gradients as
in Theis et al., Faster Gaze Prediction with Dense Networks and Fisher Pruning, 2018.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.structure import Plan
from blendsearch.training.compensation import Compensation, RefittingPass, feature_rows, norm_scale, weight_rows
from blendsearch.training.moments import Moments
from blendsearch.training.sequential import left_inputs, rows_of, silence

Losses = Callable[[nn.Module], Iterable[Tensor]]
"""A network -> the losses of its images, [n] of one batch after the other, each with what it takes to go backward."""


@dataclass(frozen=True)
class Sensitivity:
    """One layer of a pruned network at full size: refitted, its inputs that went there as well, with weights of zero.

    moments: of all inputs, rows tap by tap, in each the channels. start [D, C_out]: the weights that the ridge pulls
    to. left: bool [C_in], the channels that are still in. slope [D, C_out]: by what the mean loss changes with a weight
    towards what the layer's norm gives (or the layer, without one), while its offset keeps up. curvature [C_out]: of
    each output, the sum over positions of the squared slope in what it gives, mean over images. ridge: of the refit.
    """

    moments: Moments
    start: Tensor
    left: Tensor
    slope: Tensor
    curvature: Tensor
    ridge: float


def sensitivities(compensation: Compensation, network: nn.Module, plan: Plan, losses: Losses) -> dict[str, Sensitivity]:
    """Return the layers that are refitted under a plan: path -> sensitivity; what is known on the compute's device.

    Those with more inputs than positions in their least squares are refitted, too, and left out. Norms over channels
    see filters that went, too: of networks that have such it is told what is true nearby.

    network: the unpruned one, which is left untouched.
    """
    run = _InFull(compensation, compensation.compute.place(copy.deepcopy(network)).eval(), plan)
    compensation.forward(run)
    return run.found(losses)


class _InFull(RefittingPass):
    """The refit of a plan in a network that keeps its size."""

    def __init__(self, outer: Compensation, network: nn.Module, plan: Plan) -> None:
        super().__init__(outer, network, outer.losing(plan), plan)
        self.moments: dict[str, tuple[Moments, Tensor, Tensor]] = {}
        silence(network, outer, lambda: plan.keep)  # also while gradients are taken

    def refit(self, name: str, x: Tensor, other: Tensor | None) -> None:
        layer: Any = self.network.get_submodule(name)
        left = left_inputs(self.outer.structure, name, layer, self.plan)
        if len(self.outer.targets[name].index) < layer.weight[0].numel():
            self._refit_wide(name, x, other, left)
            return
        reached = self.outer.reach(self.network, name, x, other, None)
        self.moments[name] = reached.squares.moments, reached.start, left
        reached.put(reached.squares.solve(reached.start, self.outer.ridge, rows_of(left, len(reached.start))))

    def _refit_wide(self, name: str, x: Tensor, other: Tensor | None, left: Tensor) -> None:
        """Refit a layer with more inputs than positions, whose products would fill the memory, from the other side."""
        there = left.to(x.dtype)
        linear = isinstance(self.network.get_submodule(name), nn.Linear)
        reached = self.outer.reach(self.network, name, x * (there if linear else there[:, None, None]), other, None)
        start = reached.start * left.repeat(len(reached.start) // len(left))[:, None]
        # The ridge is a share of the mean over all inputs there, zeros included.
        reached.put(reached.squares.solve(start, self.outer.ridge * len(left) / max(1, int(left.sum()))))

    def found(self, losses: Losses) -> dict[str, Sensitivity]:
        """Return what the refitted network's gradients come to."""
        self.network.requires_grad_(False)
        watches = {name: self._watch(name) for name in self.moments}
        count = 0
        with torch.enable_grad():
            for batch in losses(self.network):
                batch.sum().backward()
                count += len(batch)
        return {
            name: watch.sensitivity(*self.moments[name], count, self.outer.ridge) for name, watch in watches.items()
        }

    def _watch(self, name: str) -> _Watch:
        layer = self.network.get_submodule(name)
        norm = self.network.get_submodule(self.outer.norms[name]) if name in self.outer.norms else None
        return _Watch(layer, norm)


class _Watch:
    """Adds up a layer's gradients: those of its weights in the layer, those of what it gives here."""

    def __init__(self, layer: Any, norm: Any) -> None:
        self.layer, self.norm = layer, norm
        layer.weight.requires_grad_(True)
        outputs = torch.zeros(len(layer.weight), device=layer.weight.device)
        self.sum, self.squares = outputs, outputs.clone()
        (layer if norm is None else norm).register_forward_hook(self._hook)

    def _hook(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if output.requires_grad:
            output.register_hook(self._add)
        return output.clone()  # the network may change in place what it gets

    def _add(self, gradient: Tensor) -> None:
        rows = feature_rows(self.layer, gradient)
        self.sum = self.sum + rows.sum(0)
        self.squares = self.squares + rows.square().sum(0)

    def sensitivity(self, moments: Moments, start: Tensor, left: Tensor, images: int, ridge: float) -> Sensitivity:
        """Return what so many images came to."""
        scale = 1.0 if self.norm is None else norm_scale(self.norm)
        gradient = self.layer.weight.grad
        gradient = torch.zeros_like(self.layer.weight) if gradient is None else gradient  # where it leads nowhere
        slope = weight_rows(gradient) / scale - moments.mean_in[:, None] * self.sum
        return Sensitivity(moments, start, left, slope / images, self.squares / images, ridge)
