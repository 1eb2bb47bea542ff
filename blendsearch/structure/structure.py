"""The structure of a network: its groups, how to slice it, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.compute import Compute, on_own_terms
from blendsearch.errors import StructureError, listed, nearest
from blendsearch.progress import Progress, Reporting, silent, tell
from blendsearch.progress.shown import AUTO, reporting
from blendsearch.results.words import plural
from blendsearch.structure.check import Check
from blendsearch.structure.cost import CostModel
from blendsearch.structure.example import Example, Forward, call
from blendsearch.structure.given import check_network, detached, float_copy, layers_left_out, left_out_of_training
from blendsearch.structure.groups import Group, find_groups
from blendsearch.structure.kept import kept_channels, masks_of, owner_tables, side_sizes, stays
from blendsearch.structure.latency import LatencyTable, measure_table
from blendsearch.structure.leaving import leave_out
from blendsearch.structure.merging import merge_into
from blendsearch.structure.plan import Plan
from blendsearch.structure.slicing import beside, sliced_copy
from blendsearch.structure.trace import Trace, trace
from blendsearch.structure.unowned import unowned_terms

SCOPES = ("all", "inner")
UNSEEN = "it does not run in evaluation, and training does not run on the example, so that what it reads is not known"
IDLE = "it runs neither in evaluation nor in training on the example, so that what it reads is not known"


@dataclass(frozen=True)
class Again:
    """With what a structure was read, to read that of a sliced network in the same way."""

    example: Example
    scope: str
    ignore: tuple[str, ...]
    ignore_inputs: tuple[str, ...]


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
        sizes: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        self.groups = tuple(groups)
        self.refused = dict(refused)
        self.cost = cost
        self.trace = trace
        self._by_name = {group.name: group for group in groups}
        self._sides = owner_tables(self.groups)
        self._sizes = dict(sizes or {})
        self._again = again
        self.left = Plan.full(self.widths)

    @classmethod
    def of(
        cls,
        network: nn.Module,
        example: Any,
        *,
        scope: str = "all",
        ignore: Sequence[str] = (),
        ignore_inputs: Sequence[str] = (),
        forward: Forward = call,
        progress: Reporting = AUTO,
    ) -> Structure:
        """Read the structure of `network`, which is left untouched.

        example: a batch [N, C, H, W] of the right shape, or what `forward(network, example)` takes, of whose outputs
        all tensors count. scope: "all", or "inner" for only the groups that no residual addition ties. ignore: module
        paths (or prefixes of paths) whose groups are left alone. ignore_inputs: those that keep all their input
        channels, so that all groups that they read stay whole. progress: as in `blendsearch.score`.
        Raises StructureError when nothing can be pruned, and for networks of which no copy can be made or read.
        """
        if scope not in SCOPES:
            raise StructureError(f"scope: '{scope}' given, allowed: {', '.join(SCOPES)}")
        check_network(network)
        # Dropout in training mode, where there is an auxiliary head, draws numbers that are the caller's.
        with on_own_terms(), torch.random.fork_rng(devices=[]), reporting(progress) as report:
            few = detached(Example(example, forward).take(2))
            return cls._read(float_copy(network), Again(few, scope, tuple(ignore), tuple(ignore_inputs)), report)

    @classmethod
    def _read(cls, copy: nn.Module, again: Again, progress: Progress) -> Structure:
        example = again.example
        progress("structure", 0, 0, "forward pass")
        traced = trace(copy, example)
        extra = layers_left_out(copy, example, traced)
        quiet = left_out_of_training(copy, example, extra) if extra else []
        trains = quiet is not None and len(quiet) < len(extra)
        progress("structure", 0, 0, "coupled channels")
        graphed = float_copy(copy) if trains else copy  # running it in training changes the statistics of its norms
        groups, refused = find_groups(graphed, example, traced, training=trains)
        groups = leave_out(copy, groups, refused, again.scope, again.ignore, again.ignore_inputs)
        groups, wrong = Check(float_copy(copy), example, trains=trains, progress=progress).sort(groups)
        refused |= {**wrong, **(dict.fromkeys(extra, UNSEEN) if quiet is None else dict.fromkeys(quiet, IDLE))}
        if quiet:
            shown = listed([f"'{name}'" for name in quiet])
            said = f"{plural(len(quiet), 'layer')} left alone ({shown}), as training and evaluation run without on the"
            tell(progress, f"{said} example; where other images need one, the pruned network may fail")
        if not groups:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(refused.items())[:5])
            raise StructureError(f"no filter of the network can be pruned ({reasons or 'it has no convolutions'})")
        more = unowned_terms(copy, example, groups) if traced.unowned else []
        return cls(groups, refused, CostModel(copy, groups, traced, more), traced, again, side_sizes(copy, groups))

    def again(self, network: nn.Module, plan: Plan, progress: Progress = silent) -> Structure:
        """Read the structure of a copy sliced by `plan`, with the example, scope and ignored modules of this one."""
        given = self._again
        assert given is not None
        smaller = Structure.of(
            network,
            given.example.batch,
            scope=given.scope,
            ignore=given.ignore,
            ignore_inputs=given.ignore_inputs,
            forward=given.example.forward,
            progress=progress,
        )
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
        """The images [N, C, H, W] with which the structure was read; StructureError where it was something else."""
        assert self._again is not None
        return self._again.example.images

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
        kept, parameters = self.kept_channels(network, plan)
        return sliced_copy(network, beside(network, kept), parameters)

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
        return kept_channels(network, self._sides, masks_of(self.widths, plan))

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
        """Return the kept output channels of a module under `plan`, or None when no group holds any of them.

        Those of a linear layer are its last dimension, whatever it reads.
        """
        return self._kept(module, "out", plan)

    def kept_inputs(self, module: str, plan: Plan) -> Tensor | None:
        """Return the kept input channels of a module, as `kept_outputs` does the output ones."""
        return self._kept(module, "in", plan)

    def _kept(self, module: str, side: str, plan: Plan) -> Tensor | None:
        owners = self._sides.get((module, side), [])
        if not owners:
            return None
        masks = masks_of({name: self.widths[name] for name, _ in owners}, plan)
        return stays(self._sizes[module, side], owners, masks).nonzero().flatten()
