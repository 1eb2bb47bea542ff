"""Groups are believed only as far as a network without their filters computes what it should.

Slicing and masking (everything that belongs to the dropped filters is zero, at full size) are the same function where
the coupling was understood. Compared are copies in float64 whose weights, norms and scales are random: a last gamma of
zero or a layer scale of 1e-6 would hide whatever its branch does wrong, dead filters what is done to them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.errors import first_line
from blendsearch.models.shortcuts import ZeroPadShortcut
from blendsearch.progress import Progress, silent
from blendsearch.structure.example import FAILURES, Example
from blendsearch.structure.groups import Group
from blendsearch.structure.kept import channels_under
from blendsearch.structure.operators import WEIGHTED
from blendsearch.structure.plan import Plan
from blendsearch.structure.slicing import CONVOLUTIONS, Sides, normalises_channels, sliced_copy, tensor_dims

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Relative to the largest output. Deep networks without norms hand on little of what goes wrong in them, so that of
float64 is near its rounding; float32 is for networks that do not run in float64."""


class Check:
    """Tells which of the groups of a network can be sliced.

    network: a copy that becomes ours. trains: whether to see to the training mode as well, in which networks with
    auxiliary heads run more layers. progress: told how many groups are settled.
    """

    def __init__(self, network: nn.Module, example: Example, *, trains: bool, progress: Progress = silent) -> None:
        self.progress = progress
        self.network, self.example, self.trains = randomised(network), example, trains
        self.tolerance = TOLERANCES[torch.float32]
        with torch.no_grad():
            try:
                self.network, self.example = self.network.double(), example.map(_double)
                self.example.outputs(self.network)
                self.tolerance = TOLERANCES[torch.float64]
            except FAILURES:
                self.network, self.example = self.network.float(), example

    def sort(self, groups: Sequence[Group]) -> tuple[list[Group], dict[str, str]]:
        """Return the groups that can be sliced, and the others by name with the reason.

        All are tried at once, then halves of those among which some fail: where all is well, one try is enough.
        """
        refused = {group.name: "it has one filter" for group in groups if group.width == 1}
        wide = [group for group in groups if group.width > 1]
        self.settled, self.total = 0, len(wide)
        self.progress("structure", 0, self.total, "groups checked")
        good = self._sort(wide, refused)
        if len(good) in (0, len(wide)) or not self.objection(good):  # the first two are known
            return good, refused
        apart, good = good, []
        for group in apart:  # each by itself is well, and together with others it is not
            reason = self.objection([*good, group])
            if reason:
                refused[group.name] = reason
            else:
                good.append(group)
        return good, refused

    def _sort(self, groups: list[Group], refused: dict[str, str]) -> list[Group]:
        reason = self.objection(groups) if groups else ""
        if not reason or len(groups) == 1:
            self.settled += len(groups)
            self.progress("structure", self.settled, self.total, "groups checked")
        if not reason:
            return groups
        if len(groups) == 1:
            refused[groups[0].name] = reason
            return []
        middle = len(groups) // 2
        return self._sort(groups[:middle], refused) + self._sort(groups[middle:], refused)

    def objection(self, groups: Sequence[Group]) -> str:
        """Return what is wrong with a network that has lost about half of these groups' filters, or an empty string."""
        plan = drawn_plan(groups)
        with torch.no_grad():
            try:
                sliced = sliced_copy(self.network, *channels_under(self.network, groups, plan))
                found = self.example.outputs(sliced.eval())
            except FAILURES as error:
                return f"the network does not run without half of its filters ({first_line(error)[:90]})"
            masked = masked_copy(self.network, groups, plan)
            expected = self.example.outputs(masked.eval())
            if [one.shape for one in found] != [one.shape for one in expected]:
                return "it reaches the network's output"
            if not all(self._alike(*pair) for pair in zip(found, expected, strict=True)):
                return "slicing it changes more than its own channels (coupled in a way that cannot be followed)"
            return self._in_training(sliced, masked) if self.trains else ""

    def _alike(self, found: Tensor, expected: Tensor) -> bool:
        scale = expected.abs().max().clamp(min=1e-6) if expected.numel() else 1.0
        return torch.allclose(found / scale, expected / scale, rtol=0, atol=self.tolerance, equal_nan=True)

    def _in_training(self, sliced: nn.Module, masked: nn.Module) -> str:
        """Return what is wrong in training mode. Only shapes are looked at: dropout draws other numbers each time."""
        try:
            found = self.example.outputs(sliced.train())
        except FAILURES as error:
            return f"the network does not train without half of its filters ({first_line(error)[:90]})"
        expected = self.example.outputs(masked.train())
        same = [one.shape for one in found] == [one.shape for one in expected]
        return "" if same else "it reaches an output that the network has in training"


SHARES = (0.5, 0.4, 0.6)


def drawn_plan(groups: Sequence[Group], seed: int = 0) -> Plan:
    """Return a plan that keeps about half of every group, which filters is drawn.

    Shares differ, so that groups that would have to lose as many as each other, or the same ones, show.
    """
    draw = torch.Generator().manual_seed(seed)
    keep = {}
    for number, group in enumerate(groups):
        count = min(max(1, round(SHARES[number % len(SHARES)] * group.width)), group.width - 1)
        keep[group.name] = tuple(sorted(torch.randperm(group.width, generator=draw)[:count].tolist()))
    return Plan(keep, {group.name: group.width for group in groups})


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Draw weights, biases, norms and free-standing scales anew, in place; return the network.

    What a network has learnt may hide its structure: dead filters, branches that are switched off.
    """
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            for name, tensor in module._parameters.items():
                if tensor is not None and tensor.is_floating_point() and tensor.numel() > 0:
                    _draw(module, name, tensor, draw)
    return network


def _draw(module: nn.Module, name: str, tensor: Tensor, draw: torch.Generator) -> None:
    scale = sum(size > 1 for size in tensor.shape) <= 1 and tensor.numel() > 1
    if name != "bias" and scale and (_is_norm(module) or tensor_dims(module) is None):
        tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
    elif isinstance(module, WEIGHTED) and name == "weight" and tensor.dim() > 1:
        tensor.copy_(torch.randn(tensor.shape, generator=draw) * (2 / tensor[0].numel()) ** 0.5)
    elif name == "bias" or _is_norm(module) or not bool(tensor.any()):
        tensor.copy_(torch.randn(tensor.shape, generator=draw) / 4)


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm)


def masked_copy(network: nn.Module, groups: Sequence[Group], plan: Plan) -> nn.Module:
    """Return a copy in which everything that belongs to the dropped filters is zero, at full size.

    A norm that takes its statistics over all channels takes them over the kept ones, as the sliced network does; so
    does a convolution of the user's own kind, which may standardise its weights.
    """
    result = copy.deepcopy(network)
    kept, parameters = channels_under(network, groups, plan)
    with torch.no_grad():
        for path, sides in kept.items():
            module = result.get_submodule(path)
            if normalises_channels(module):
                _normalise_kept(module, sides)
                continue
            for side, index in sides.items():
                _zero(module, side, index)
            if "in" in sides and isinstance(module, CONVOLUTIONS) and type(module) not in CONVOLUTIONS:
                _read_kept(module, sides["in"])
        for name, (dim, index) in parameters.items():
            tensor = result.get_parameter(name)
            tensor.index_fill_(dim, _complement(index, tensor.shape[dim]), 0.0)
    return result


def _complement(index: Tensor, size: int) -> Tensor:
    gone = torch.ones(size, dtype=torch.bool)
    gone[index] = False
    return gone.nonzero().flatten()


def _normalise_kept(module: Any, sides: Sides) -> None:
    """Make a norm over channels work on the kept ones alone; the others become zero."""
    index = sides["out"]
    small = sliced_copy(module, {"": {"out": index}}, {})

    def forward(given: Tensor) -> Tensor:
        last = type(module) is nn.LayerNorm or given.shape[1] != _channels(module)
        dim = given.dim() - 1 if last else 1
        result = torch.zeros_like(given)
        return result.index_copy(dim, index, small(given.index_select(dim, index)))

    module.forward = forward


def _read_kept(convolution: nn.Module, index: Tensor) -> None:
    """Make a convolution see the kept inputs alone."""
    small = sliced_copy(convolution, {"": {"in": index}}, {})
    convolution.forward = lambda given: small(given.index_select(1, index))


def _channels(module: Any) -> int:
    return int(module.num_channels if isinstance(module, nn.GroupNorm) else module.normalized_shape[0])


def _zero(module: nn.Module, side: str, kept: Tensor) -> None:
    if isinstance(module, ZeroPadShortcut):
        if side == "out":
            module.source.index_fill_(0, _complement(kept, len(module.source)), -1)
        else:
            module.source[~torch.isin(module.source, kept)] = -1
        return
    for name, dims in (tensor_dims(module) or {}).items():
        tensor = getattr(module, name, None)
        if tensor is not None and side in dims:
            gone = _complement(kept, tensor.shape[dims[side]])
            tensor.index_fill_(dims[side], gone.to(tensor.device), 1.0 if name == "running_var" else 0.0)
