"""Latency as a function of the kept counts: a table measured layer by layer, read between its points.

A layer is measured as one block with the batch norm and the activation that follow it, at a grid of input and output
channel counts, on a device, with one thread. A network's latency is the sum over its layers plus a rest (additions,
poolings, whatever else) that is measured once and does not depend on the counts.
Source: Yang et al., NetAdapt, ECCV 2018, section 3.3 (layer-wise look-up tables).
"""

from __future__ import annotations

import copy
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blendsearch.compute import Compute, threads
from blendsearch.errors import StructureError
from blendsearch.plain import State, Unchecked
from blendsearch.progress import Progress, silent
from blendsearch.structure.slicing import blocks_of, sliced_copy, tensor_dims
from blendsearch.structure.trace import Trace

SCHEMA = 1
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
PER_SECOND = 1e9


@dataclass(frozen=True)
class LayerTable:
    """Nanoseconds of a layer: `nanoseconds[i][o]` at `inputs[i]` and `outputs[o]` channels, not decreasing."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    nanoseconds: tuple[tuple[int, ...], ...]

    def at(self, inputs: int, outputs: int) -> int:
        """Return the nanoseconds at any channel counts, linear between the points of the grid and flat beyond."""
        low, high, across = _between(self.inputs, inputs)
        left, right, along = _between(self.outputs, outputs)
        rows = [row[left] + along * (row[right] - row[left]) for row in (self.nanoseconds[low], self.nanoseconds[high])]
        return round(rows[0] + across * (rows[1] - rows[0]))


def _between(points: Sequence[int], value: int) -> tuple[int, int, float]:
    """Return the points around a value by number, and how far it is from the first to the second, in [0, 1]."""
    above = bisect_right(points, value)
    if above == 0 or above == len(points):
        end = min(above, len(points) - 1)
        return end, end, 0.0
    return above - 1, above, (value - points[above - 1]) / (points[above] - points[above - 1])


@dataclass(frozen=True)
class LatencyTable:
    """Module path -> its table, and the nanoseconds of all that the layers do not account for.

    whole: measured nanoseconds of the unpruned network, to which layers and rest add up. images: images in a batch.
    """

    layers: dict[str, LayerTable]
    rest: int
    whole: int
    images: int
    device: str

    def to_dict(self) -> State:
        """Return plain JSON."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Unchecked) -> LatencyTable:
        """Read what `to_dict` returned; StructureError for another schema."""
        if data.get("schema") != SCHEMA:
            raise StructureError(f"latency table: schema {data.get('schema')} given, allowed: {SCHEMA}")
        layers = {
            name: LayerTable(
                tuple(one["inputs"]), tuple(one["outputs"]), tuple(tuple(row) for row in one["nanoseconds"])
            )
            for name, one in data["layers"].items()
        }
        return cls(layers, data["rest"], data["whole"], data["images"], data["device"])


@dataclass(frozen=True)
class Block:
    """What is measured together: a layer's module paths in order, the shape [C, ...] of one input, calls a pass."""

    modules: tuple[str, ...]
    activated: bool
    shape: tuple[int, ...]
    calls: int


def blocks(network: nn.Module, trace: Trace, layers: Mapping[str, object]) -> dict[str, Block]:
    """Return how each layer is measured: with its batch norm, and with a ReLU where its output is activated."""
    activated = {site.convolutions[-1] for site in trace.sites if site.index >= 0}
    activated -= {layer for layer, norm in trace.norm.items() if norm in trace.activating}
    return {
        name: Block(
            (name, trace.norm[name]) if name in trace.norm else (name,),
            name in activated,
            tuple(trace.input_shape[name][1:]),
            trace.calls[name],
        )
        for name in layers
    }


def measure_table(
    network: nn.Module,
    trace: Trace,
    varying: Mapping[str, Mapping[str, bool]],
    example: Tensor,
    *,
    compute: Compute,
    images: int,
    rounds: int = 7,
    progress: Progress = silent,
) -> LatencyTable:
    """Measure a network's table on the compute's device with one thread; the network is left untouched.

    varying: layer -> side ("in", "out") -> whether pruning may change its channels. example: images [N, C, H, W].
    Every round measures all points once, so that a machine that is busy for a while slows all of them alike; a point
    is the median of its rounds. Noise is then taken out so that more channels are never faster.
    """
    parts = blocks(network, trace, varying)
    grids = {name: _grid(network.get_submodule(name), sides) for name, sides in varying.items()}
    points = [(name, i, o) for name, (inputs, outputs) in grids.items() for i in inputs for o in outputs]
    times: dict[tuple[str, int, int], list[float]] = {point: [] for point in points}
    whole: list[float] = []
    with torch.inference_mode(), threads(1):
        full = _prepared(copy.deepcopy(network), batch_of(example, images), compute)
        for done in range(rounds):
            progress("latency", done, rounds, f"{len(points)} points")
            whole.append(_seconds(full, compute))
            for point in points:  # cut anew each time: kept together, the layers could be larger than the memory
                times[point].append(_seconds(_runner(network, parts[point[0]], *point[1:], images, compute), compute))
        progress("latency", rounds, rounds)
    seconds = {
        name: np.array([[median(times[name, i, o]) for o in outputs] for i in inputs]) * parts[name].calls
        for name, (inputs, outputs) in grids.items()
    }
    return table_of(grids, seconds, median(whole), images, compute.device)


def side_by_side(
    networks: Sequence[nn.Module], example: Tensor, *, compute: Compute, images: int, rounds: int = 7
) -> list[float]:
    """Return the median seconds of a forward pass of each network, by turns, as the table is measured."""
    with torch.inference_mode(), threads(1):
        runs = [_prepared(copy.deepcopy(network), batch_of(example, images), compute) for network in networks]
        times = [[_seconds(run, compute) for run in runs] for _ in range(rounds)]
    return [median(column) for column in zip(*times, strict=True)]


def batch_of(example: Tensor, images: int) -> Tensor:
    """Return a batch of so many images, made of those of the example."""
    return example[torch.arange(images) % len(example)].detach().cpu().float()


def table_of(
    grids: Mapping[str, tuple[Sequence[int], Sequence[int]]],
    seconds: Mapping[str, np.ndarray],
    whole: float,
    images: int,
    device: str,
) -> LatencyTable:
    """Make a table of measured seconds [inputs, outputs] a layer: smoothed, and adding up to the whole network's.

    Layers that measure more in sum than the whole network are scaled down to it; otherwise the difference is the rest.
    """
    smooth = {name: monotone(values) for name, values in seconds.items()}
    total = sum(float(values[-1, -1]) for values in smooth.values())
    scale = min(1.0, whole / total) * PER_SECOND
    layers = {
        name: LayerTable(
            tuple(grids[name][0]),
            tuple(grids[name][1]),
            tuple(tuple(round(float(value) * scale) for value in row) for row in values),
        )
        for name, values in smooth.items()
    }
    of_layers = sum(layer.nanoseconds[-1][-1] for layer in layers.values())
    full = max(round(whole * PER_SECOND), of_layers)  # each layer is rounded, which may come to a few more
    return LatencyTable(layers, full - of_layers, full, images, device)


def monotone(values: np.ndarray) -> np.ndarray:
    """Return the values [inputs, outputs] without decreases along both axes.

    The mean of the running maximum from below and the running minimum from above: where noise makes a value too
    high, the one lifts its followers, the other lowers it, and their mean is in between.
    """
    up = np.maximum.accumulate(np.maximum.accumulate(values, 0), 1)
    turned = values[::-1, ::-1]
    down = np.minimum.accumulate(np.minimum.accumulate(turned, 0), 1)[::-1, ::-1]
    return (up + down) / 2


def _grid(layer: nn.Module, sides: Mapping[str, bool]) -> tuple[list[int], list[int]]:
    """Return the input and output channel counts to measure; a side that pruning never changes has one.

    Of a grouped convolution they are those of whole blocks, of which at least one is left.
    """
    dims = (tensor_dims(layer) or {"weight": {}})["weight"]
    weight = layer.get_parameter("weight")

    def points(side: str, blocks: int = 1) -> list[int]:
        size = weight.shape[dims[side]] if side in dims else 1
        block = size // blocks if blocks > 1 else 1
        return sorted({block * max(1, round(share * size / block)) for share in SHARES}) if sides.get(side) else [size]

    return points("in"), points("out", blocks_of(layer))


def _runner(
    network: nn.Module, block: Block, inputs: int, outputs: int, images: int, compute: Compute
) -> Callable[[], object]:
    """Return one forward pass of a copy of a block, cut down to so many channels."""
    part = nn.Sequential(*(network.get_submodule(name) for name in block.modules))
    dims = (tensor_dims(part[0]) or {"weight": {}})["weight"]
    kept = {"0": {side: torch.arange(count) for side, count in (("in", inputs), ("out", outputs)) if side in dims}}
    if len(part) > 1:
        kept["1"] = {"out": torch.arange(outputs)}
    layer: Any = sliced_copy(part, kept if dims else {}, {})
    if block.activated:
        layer.append(nn.ReLU())
    shape = list(block.shape)
    if "in" in dims:
        shape[-1 if isinstance(part[0], nn.Linear) else 0] = inputs
    elif dims:  # depthwise and other grouped ones: as many blocks of inputs as of outputs
        shape[0] = layer[0].in_channels
    return _prepared(layer, torch.randn(images, *shape, generator=torch.Generator().manual_seed(0)), compute)


def _prepared(network: nn.Module, batch: Tensor, compute: Compute) -> Callable[[], object]:
    placed = compute.place(network).eval()
    batch = compute.images(batch)

    def run() -> object:
        with compute.autocast():
            return placed(batch)

    run()  # memory and kernels are set up before anything is timed
    return run


def _seconds(run: Callable[[], object], compute: Compute, passes: int = 10) -> float:
    """Return the seconds of the fastest of a few passes."""
    times = []
    for _ in range(passes):
        start = time.perf_counter()
        run()
        if compute.device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)
