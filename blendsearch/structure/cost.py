"""What a network costs: FLOPs, parameters, filters from the kept counts alone; latency by a measured table.

Convention: one multiply-accumulate is one FLOP (as in the pruning literature; ResNet-20 on CIFAR has 40.6 M).
Convolutions and matrix products count, whether modules or not; biases, norms, activations and additions do not.
Parameters are all that the network has, frozen ones too; one that several modules share counts once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median

import torch
from torch import Tensor, nn

from blendsearch.errors import StructureError
from blendsearch.structure.groups import Group
from blendsearch.structure.latency import LatencyTable
from blendsearch.structure.polynomial import Channels, Polynomial, Term
from blendsearch.structure.slicing import tensor_dims
from blendsearch.structure.trace import Trace


class CostModel:
    """What a network costs as functions of the kept counts of the groups, without building a network.

    layers: convolution or linear layer -> side ("in", "out") -> its channels. latency_table: what latency is read
    from; None until one is given. It speaks of absolute channel counts, so that it serves sliced networks as well.
    more: FLOPs that are no module's, see structure/unowned.py.
    """

    def __init__(self, network: nn.Module, groups: Sequence[Group], trace: Trace, more: Sequence[Term] = ()) -> None:
        self.widths = {group.name: group.width for group in groups}
        owners = _owners(groups)
        free = {member.module: member.dim for group in groups for member in group.members if member.side == "parameter"}
        self.layers: dict[str, dict[str, Channels]] = {}
        self.latency_table: LatencyTable | None = None
        self._terms: dict[str, list[Term]] = {"flops": list(more), "params": []}
        for full, parameter in network.named_parameters():  # one that modules share comes once
            path, _, name = full.rpartition(".")
            dims = tensor_dims(network.get_submodule(path)) or {}
            sides = {"parameter": free[full]} if full in free else dims.get(name, {})
            self._add(full, parameter, sides, owners, trace)
        self._sums = {kind: Polynomial(terms) for kind, terms in self._terms.items()}
        self._whole = {"flops": self.flops(self.widths), "params": self.params(self.widths)}

    def _add(
        self,
        full: str,
        parameter: nn.Parameter,
        sides: Mapping[str, int],
        owners: dict[tuple[str, str], dict[str, int]],
        trace: Trace,
    ) -> None:
        """Add what a parameter costs. sides: "out", "in" or "parameter" -> its dimension of the parameter."""
        path, _, name = full.rpartition(".")
        channels: list[Channels] = []
        by_side: dict[str, Channels] = {}
        rest = parameter.numel()
        for side, dim in sides.items():
            key = (full if side == "parameter" else path, side)
            size = parameter.shape[dim]
            by_side[side] = _channels(size, owners.get(key, {}), self.widths)
            if key in owners:
                rest //= size
                channels.append(by_side[side])
        self._terms["params"].append(Term(rest, tuple(channels)))
        if name == "weight" and path in trace.positions:
            self._terms["flops"].append(Term(rest * trace.positions[path], tuple(channels)))
            self.layers[path] = by_side

    def flops(self, counts: Mapping[str, int]) -> int:
        """Multiply-accumulates of one image."""
        return self._sums["flops"].value(counts)

    def params(self, counts: Mapping[str, int]) -> int:
        """Trainable parameters."""
        return self._sums["params"].value(counts)

    def filters(self, counts: Mapping[str, int]) -> int:
        """Kept filters of all groups."""
        return sum(counts[group] for group in self.widths)

    def latency(self, counts: Mapping[str, int]) -> int:
        """Nanoseconds of one forward pass by the latency table; StructureError without one."""
        table = self.latency_table
        if table is None:
            raise StructureError(
                "latency: no table was measured for this network; Structure.measure_latencies makes one"
            )
        return table.rest + sum(
            table.layers[path].at(*(sides[side].count(counts) if side in sides else 1 for side in ("in", "out")))
            for path, sides in self.layers.items()
        )

    def ratio(self, kind: str, counts: Mapping[str, int]) -> float:
        """Return cost under `counts` over the unpruned cost; kind is as for `measure`."""
        whole = self._whole[kind] if kind in self._whole else self.measure(kind, self.widths)
        return self.measure(kind, counts) / whole

    def measure(self, kind: str, counts: Mapping[str, int]) -> int:
        """Return the cost under `counts`; kind is "flops", "params", "filters" or "latency"."""
        costs = {"flops": self.flops, "params": self.params, "filters": self.filters, "latency": self.latency}
        return costs[kind](counts)


def _owners(groups: Sequence[Group]) -> dict[tuple[str, str], dict[str, int]]:
    owners: dict[tuple[str, str], dict[str, int]] = {}
    for group in groups:
        for member in group.members:
            owners.setdefault((member.module, member.side), {})[group.name] = len(member.index)
    return owners


def _channels(size: int, owners: Mapping[str, int], widths: Mapping[str, int]) -> Channels:
    multiples = tuple((group, covered // widths[group]) for group, covered in owners.items())
    return Channels(size - sum(owners.values()), multiples)


def measure_latency(network: nn.Module, example: Tensor, *, repeats: int = 20, warmup: int = 3) -> float:
    """Return the median seconds of one forward pass of `example` in evaluation mode, on its own device."""
    training = {module: module.training for module in network.modules()}
    network.eval()
    times = []
    try:
        with torch.inference_mode():
            for i in range(warmup + repeats):
                start = time.perf_counter()
                network(example)
                if example.is_cuda:
                    torch.cuda.synchronize(example.device)
                if i >= warmup:
                    times.append(time.perf_counter() - start)
    finally:
        for module, flag in training.items():
            module.training = flag
    return median(times)


__all__ = ["CostModel", "measure_latency"]
