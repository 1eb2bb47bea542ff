"""The structure of a network: its groups, how to slice it, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from blendsearch.compute import Compute
from blendsearch.errors import StructureError, nearest
from blendsearch.progress import Progress, silent
from blendsearch.structure.cost import CostModel
from blendsearch.structure.groups import Group, Member, find_groups, masked_copy
from blendsearch.structure.latency import LatencyTable, measure_table
from blendsearch.structure.merging import merge_into
from blendsearch.structure.plan import Plan
from blendsearch.structure.slicing import copy_with, side_size, sliced_copy
from blendsearch.structure.trace import Trace, trace

SCOPES = ("all", "inner")


@dataclass(frozen=True)
class Again:
    """With what a structure was read, to read that of a sliced network in the same way."""

    example: Tensor
    scope: str
    ignore: tuple[str, ...]


class Structure:
    """Everything about a network's shape that pruning needs, found once per network.

    groups: prunable groups in forward order. refused: convolution -> why its group is left alone.
    cost: FLOPs, parameters and filters of any kept counts. trace: the forward pass it was read from.
    left: what is left of the network that was read first, in its indices; all of it unless pruned in between.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        refused: Mapping[str, str],
        cost: CostModel,
        trace: Trace,
        again: Again | None = None,
    ) -> None:
        self.groups = tuple(groups)
        self.refused = dict(refused)
        self.cost = cost
        self.trace = trace
        self._by_name = {group.name: group for group in groups}
        self._sides = _owner_tables(self.groups)
        self._again = again
        self.left = Plan.full(self.widths)

    @classmethod
    def of(cls, network: nn.Module, example: Tensor, *, scope: str = "all", ignore: Sequence[str] = ()) -> Structure:
        """Read the structure of `network`, which is left untouched.

        example: a batch [N, C, H, W] of the right shape. scope: "all", or "inner" for only the groups that no
        residual addition ties. ignore: module paths (or prefixes of paths) whose groups are left alone.
        Raises StructureError when nothing can be pruned.
        """
        if scope not in SCOPES:
            raise StructureError(f"scope: '{scope}' given, allowed: {', '.join(SCOPES)}")
        copy = _fresh_copy(network).cpu().eval()
        example = example[:2].detach().cpu().float()
        traced = trace(copy, example)
        groups, refused = find_groups(copy, example, traced)
        groups = _leave_out(copy, groups, refused, scope, ignore)
        groups = _verified(copy, example, groups, refused, traced)
        if not groups:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(refused.items())[:5])
            raise StructureError(f"no filter of the network can be pruned ({reasons or 'it has no convolutions'})")
        again = Again(example, scope, tuple(ignore))
        return cls(groups, refused, CostModel(copy, groups, traced), traced, again)

    def again(self, network: nn.Module, plan: Plan) -> Structure:
        """Read the structure of a copy sliced by `plan`, with the example, scope and ignored modules of this one."""
        assert self._again is not None
        smaller = Structure.of(network, self._again.example, scope=self._again.scope, ignore=self._again.ignore)
        smaller.cost.latency_table = self.cost.latency_table
        smaller.left = self.left.then(plan)
        return smaller

    def measure_latencies(
        self, network: nn.Module, *, compute: Compute, images: int, progress: Progress = silent
    ) -> LatencyTable:
        """Measure the latency table of a network of this structure, and read latency from it from now on.

        images: how many a forward pass takes. See blendsearch.structure.latency.
        """
        varying = {
            path: {side: bool(channels.multiples) for side, channels in sides.items()}
            for path, sides in self.cost.layers.items()
        }
        self.cost.latency_table = measure_table(
            network, self.trace, varying, self.example, compute=compute, images=images, progress=progress
        )
        return self.cost.latency_table

    @property
    def example(self) -> Tensor:
        """The images [N, C, H, W] with which the structure was read."""
        assert self._again is not None
        return self._again.example

    @property
    def widths(self) -> dict[str, int]:
        """Filters of every group before pruning."""
        return {group.name: group.width for group in self.groups}

    @property
    def stages(self) -> dict[str, tuple[str, ...]]:
        """Stage name -> its groups, in forward order."""
        result: dict[str, tuple[str, ...]] = {}
        for group in self.groups:
            result[group.stage] = (*result.get(group.stage, ()), group.name)
        return result

    def units(self, unit: str) -> dict[str, tuple[str, ...]]:
        """Return which groups share genes when they are shared per "network", "stage" or "layer"."""
        if unit == "network":
            return {"network": tuple(self.widths)}
        if unit == "stage":
            return self.stages
        return {group.name: (group.name,) for group in self.groups}

    def group(self, name: str) -> Group:
        """Return a group by name; raise StructureError with the nearest one when there is none."""
        if name not in self._by_name:
            close = nearest(name, self._by_name)
            raise StructureError(f"no group '{name}'" + (f"; did you mean '{close}'?" if close else ""))
        return self._by_name[name]

    def slice(self, network: nn.Module, plan: Plan) -> nn.Module:
        """Return a pruned copy of `network` (of this structure, any weights); milliseconds, no tracing."""
        return sliced_copy(network, *self.kept_channels(network, plan))

    def merge(self, network: nn.Module, sliced: nn.Module, plan: Plan) -> None:
        """Write a pruned copy's tensors back into `network`, in place; what the copy lacks stays as it is.

        The inverse of `slice`. Raises StructureError when the copy is of another plan.
        """
        merge_into(network, sliced, *self.kept_channels(network, plan))

    def kept_channels(
        self, network: nn.Module, plan: Plan
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, tuple[int, Tensor]]]:
        """Return which channels stay under `plan`, where any are lost.

        Two tables: module -> side ("out", "in") -> kept indices; free-standing parameter -> (dimension, kept indices).
        """
        if plan.widths != {name: self.widths.get(name) for name in plan.widths}:
            wrong = next(name for name, width in plan.widths.items() if self.widths.get(name) != width)
            raise StructureError(
                f"plan: group '{wrong}' has width {plan.widths[wrong]} in the plan, "
                f"{self.widths.get(wrong, 'none')} in the network"
            )
        masks = {name: _mask(width, plan.keep.get(name, range(width))) for name, width in self.widths.items()}
        kept: dict[str, dict[str, Tensor]] = {}
        parameters: dict[str, tuple[int, Tensor]] = {}
        for (module, side), owners in self._sides.items():
            size = _side_size(network, module, side, owners[0][1].dim)
            stays = _stays(size, owners, masks)
            if bool(stays.all()):
                continue
            if side == "parameter":
                parameters[module] = (owners[0][1].dim, stays.nonzero().flatten())
            else:
                kept.setdefault(module, {})[side] = stays.nonzero().flatten()
        return kept, parameters

    def pruned_inputs(self, plan: Plan) -> list[str]:
        """Return the modules that lose input channels under `plan`, in forward order."""
        lost = {
            member.module
            for group in self.groups
            if len(plan.keep.get(group.name, range(group.width))) < group.width
            for member in group.members
            if member.side == "in" and member.module in self.trace.calls
        }
        return sorted(lost, key=self.trace.order.index)

    def kept_outputs(self, module: str, plan: Plan) -> Tensor | None:
        """Return the kept output channels of a module under `plan`, or None when no group holds any of them."""
        return self._kept(module, "out", self.trace.output_shape[module][1], plan)

    def kept_inputs(self, module: str, plan: Plan) -> Tensor | None:
        """Return the kept input channels (last dimension of a linear layer), as `kept_outputs` does the output ones."""
        shape = self.trace.input_shape[module]
        return self._kept(module, "in", shape[1] if len(shape) == 4 else shape[-1], plan)

    def _kept(self, module: str, side: str, size: int, plan: Plan) -> Tensor | None:
        owners = self._sides.get((module, side), [])
        if not owners:
            return None
        masks = {name: _mask(self.widths[name], plan.keep.get(name, range(self.widths[name]))) for name, _ in owners}
        return _stays(size, owners, masks).nonzero().flatten()


def _fresh_copy(network: nn.Module) -> nn.Module:
    try:
        return copy_with(network, lambda path, name, tensor, module: tensor.clone())
    except RuntimeError as error:
        raise StructureError(
            f"{type(network).__name__}: the network cannot be copied ({str(error).splitlines()[0][:150]})"
        ) from error


def _owner_tables(groups: Sequence[Group]) -> dict[tuple[str, str], list[tuple[str, Member]]]:
    tables: dict[tuple[str, str], list[tuple[str, Member]]] = {}
    for group in groups:
        for member in group.members:
            tables.setdefault((member.module, member.side), []).append((group.name, member))
    return tables


def _mask(width: int, keep: Sequence[int]) -> Tensor:
    mask = torch.zeros(width, dtype=torch.bool)
    mask[list(keep)] = True
    return mask


def _stays(size: int, owners: Sequence[tuple[str, Member]], masks: Mapping[str, Tensor]) -> Tensor:
    """Return which channels of one side of a module stay, given which filters of each group do."""
    stays = torch.ones(size, dtype=torch.bool)
    for name, member in owners:
        stays[list(member.index)] = masks[name][list(member.root)]
    return stays


def _side_size(network: nn.Module, module: str, side: str, dim: int) -> int:
    if side == "parameter":
        return network.get_parameter(module).shape[dim]
    return side_size(network.get_submodule(module), side)


def _leave_out(
    network: nn.Module, groups: list[Group], refused: dict[str, str], scope: str, ignore: Sequence[str]
) -> list[Group]:
    modules = {name for name, _ in network.named_modules()}
    for pattern in ignore:
        if pattern not in modules:
            close = nearest(pattern, modules)
            raise StructureError(
                f"structure.ignore: the network has no module '{pattern}'"
                + (f"; did you mean '{close}'?" if close else "")
            )
    kept = []
    for group in groups:
        touched = [c for c in group.convolutions for p in ignore if c == p or c.startswith(p + ".")]
        if touched:
            refused[group.name] = f"'{touched[0]}' is to be ignored"
        elif scope == "inner" and not group.inner:
            refused[group.name] = "a residual addition ties it and the scope is 'inner'"
        else:
            kept.append(group)
    return kept


def _verified(
    network: nn.Module, example: Tensor, groups: list[Group], refused: dict[str, str], traced: Trace
) -> list[Group]:
    """Keep the groups for which the sliced network computes the same as the masked one; refuse the others by name."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    good = []
    with torch.no_grad():
        shape = network(example).shape
        for group in groups:
            reason = _difference(network, example, group, shape, traced) if group.width > 1 else "it has one filter"
            if reason:
                refused[group.name] = reason
            else:
                good.append(group)
    return good


def _difference(network: nn.Module, example: Tensor, group: Group, shape: torch.Size, traced: Trace) -> str:
    alone = Structure([group], {}, CostModel(network, [group], traced), traced)
    keep = tuple(range(0, group.width, 2))
    plan = Plan({group.name: keep}, {group.name: group.width})
    try:
        sliced = alone.slice(network, plan)(example)
    except (RuntimeError, IndexError, ValueError) as error:
        return f"the network does not run without half of its filters ({str(error).splitlines()[0][:90]})"
    if sliced.shape != shape:
        return "it reaches the network's output"
    masked = masked_copy(network, group, set(range(group.width)) - set(keep))(example)
    scale = masked.abs().max().clamp(min=1e-6)
    if not torch.allclose(sliced / scale, masked / scale, atol=1e-3):
        return "slicing it changes more than its own channels (coupled in a way that cannot be followed)"
    return ""
