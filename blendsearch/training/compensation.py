"""Least-squares compensation: after pruning, the next layers' weights are refitted in closed form, without labels.

Every layer that lost inputs gets the weights with which it best reproduces what it gave in the unpruned network
(at the kept filters), on the inputs that the pruned and already compensated layers before it produce. Where a
residual addition follows, the target is the sum, so the refit also makes up for what the shortcut lost.
Source: He et al., Channel Pruning, ICCV 2017, section 3.1 (least-squares reconstruction), done in one forward
pass over all layers; the ridge pulls towards the weights that slicing left.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.compute import Compute, generator, moved
from blendsearch.structure import Plan, Structure
from blendsearch.structure.trace import CallCounter, Join
from blendsearch.training.evaluation import evaluating
from blendsearch.training.moments import LeastSquares, RowSquares, Solution
from blendsearch.training.windows import Windows, WindowSquares, windows_for


@dataclass(frozen=True)
class Target:
    """What a layer should give: `values` [P, C_out] at output positions `index` (flat over N, H, W).

    windows: what these positions are, where the layer is one for windows; None: drawn one by one.
    """

    values: Tensor
    index: Tensor
    windows: Windows | None = None


class WatchingPass(CallCounter):
    """A forward pass in which some convolutions are watched; a join hands over both operands of the addition."""

    def __init__(self, network: nn.Module, watched: list[str], joins: dict[str, Join]) -> None:
        super().__init__()
        self.network = network
        self.watched = watched
        self.joins = {join.index: join for name, join in joins.items() if name in watched}
        self.joined = {join.convolution for join in self.joins.values()}

    def on_addition(self, index: int, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        join = self.joins.get(index)
        return output if join is None else self.at_join(join, inputs, output)

    def at_join(self, join: Join, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        """Take a watched addition; return what the network goes on with."""
        raise NotImplementedError


class _Recorder(WatchingPass):
    """Records the targets on the unpruned network."""

    def __init__(
        self,
        network: nn.Module,
        watched: list[str],
        joins: dict[str, Join],
        norms: dict[str, str],
        count: int,
        seed: int,
    ) -> None:
        super().__init__(network, watched, joins)
        self.count, self.seed = count, seed
        self.targets: dict[str, Target] = {}
        self.handles = []
        for name in watched:
            if name not in self.joined:
                norm = network.get_submodule(norms[name]) if name in norms else None
                self.handles.append(network.get_submodule(name).register_forward_hook(self._hook(name, norm)))

    def _hook(self, name: str, norm: nn.Module | None) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            with self.paused():
                self._record(name, output if norm is None else normalised(norm, output))

        return hook

    def at_join(self, join: Join, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        self._record(join.convolution, output)
        return output

    def _record(self, name: str, output: Tensor) -> None:
        layer = self.network.get_submodule(name)
        rows, draws = feature_rows(layer, output), generator(self.seed, "positions", name)
        windows = None
        if isinstance(layer, nn.Conv2d):
            height, width = output.shape[2:]
            windows = windows_for(layer, len(output), (height, width), self.count, draws)
        if windows is not None:
            windows = windows.to(output.device)
            index = windows.index(height, width)
        else:
            index = torch.arange(len(rows))
            if len(rows) > self.count:
                index = torch.randperm(len(rows), generator=draws)[: self.count].sort().values
        index = index.to(output.device)
        self.targets[name] = Target(rows[index].float(), index, windows)


FORWARDS = (nn.Linear.forward, nn.Conv2d.forward)


@dataclass(frozen=True)
class Reached:
    """A layer that a pass has come to, and what its least squares need; norm: None where none follows.

    lengths: of its filters' weights in the unpruned network, [C_out].
    """

    layer: Any
    norm: Any
    start: Tensor
    squares: LeastSquares
    lengths: Tensor

    def put(self, solution: Solution) -> None:
        """Give the layer, and its norm, a solution."""
        put_solution(self.layer, self.norm, solution, self.squares, self.lengths)


class RefittingPass(WatchingPass):
    """Hands over each watched layer when the forward pass reaches it, and goes on with what it then gives."""

    def __init__(self, outer: Compensation, network: nn.Module, watched: list[str], plan: Plan) -> None:
        super().__init__(network, watched, outer.joins)
        self.outer, self.plan = outer, plan
        self.inputs: dict[str, Tensor] = {}
        self.handles = [network.get_submodule(name).register_forward_pre_hook(self._hook(name)) for name in watched]

    def refit(self, name: str, x: Tensor, other: Tensor | None) -> None:
        """Change the layer in place for its input `x`; `other` is what an addition contributes beside it."""
        raise NotImplementedError

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if name in self.joined:
                self.inputs[name] = inputs[0]
            else:
                with self.paused():
                    self._refit_exactly(name, inputs[0], None)

        return hook

    def at_join(self, join: Join, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        other = inputs[1 - join.operand]
        x = self.inputs.pop(join.convolution)
        self._refit_exactly(join.convolution, x, other)
        return self.outer.applied(self.network, join.convolution, x) + other

    def _refit_exactly(self, name: str, x: Tensor, other: Tensor | None) -> None:
        with torch.autocast(device_type=x.device.type, enabled=False):
            self.refit(name, x, other)


class _Refitter(RefittingPass):
    """Refits the watched layers of a network that was sliced by the plan."""

    def __init__(self, outer: Compensation, network: nn.Module, watched: list[str], plan: Plan) -> None:
        super().__init__(outer, network, watched, plan)
        kept = {name: outer.structure.kept_outputs(name, plan) for name in watched}
        left = {name: index for name, index in kept.items() if index is not None}
        self.kept = dict(zip(left, moved(list(left.values()), outer.images.device), strict=True))

    def refit(self, name: str, x: Tensor, other: Tensor | None) -> None:
        reached = self.outer.reach(self.network, name, x, other, self.kept.get(name))
        reached.put(reached.squares.solve(reached.start, self.outer.ridge))


class Compensation:
    """Refits pruned copies of one network on one set of calibration images.

    images: [N, C, H, W], normalised; no labels needed. positions: output positions per layer that enter the
    least squares. ridge: share (above 0) of the mean diagonal of the Gram matrix that is added to its diagonal.
    """

    def __init__(
        self,
        network: nn.Module,
        structure: Structure,
        images: Tensor,
        *,
        positions: int = 20_000,
        ridge: float = 1e-3,
        compute: Compute | None = None,
        seed: int = 0,
    ) -> None:
        self.structure, self.ridge = structure, ridge
        self.compute = compute or Compute()
        self.images = self.compute.images(images)
        # What shares its norm is refitted to what it gives itself: any other reader goes on as before.
        trace = structure.trace
        self.norms = trace.own_norm
        self.joins = {join.convolution: join for join in trace.joins if join.convolution not in trace.shared}
        readers = {m.module for g in structure.groups for m in g.members if m.side == "in"}
        watched = [n for n in structure.trace.order if n in readers and self._refittable(network, n)]
        replica = self.compute.place(copy.deepcopy(network)).eval()
        recorder = _Recorder(replica, watched, self.joins, self.norms, positions, seed)
        self.forward(recorder)
        self.targets = recorder.targets
        self.lengths = {name: _lengths(replica.get_submodule(name)) for name in watched}

    def _refittable(self, network: nn.Module, name: str) -> bool:
        """Tell whether a layer can take a solution: linear or plain convolution; its norm has scale and statistics.

        One that does more than torch's own in `forward`, or whose weight is computed from others or is another
        layer's, too, cannot.
        """
        layer = network.get_submodule(name)
        norm: Any = network.get_submodule(self.norms[name]) if name in self.norms else None
        plain = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
        plain = plain and type(layer).forward in FORWARDS and "weight" in layer._parameters
        plain = plain and sum(layer.weight is own for one in network.modules() for own in one._parameters.values()) == 1
        return plain and (norm is None or (norm.weight is not None and norm.running_var is not None))

    def refit(self, network: nn.Module, plan: Plan, settled: Collection[str] = ()) -> None:
        """Refit a network that was sliced by `plan`, in place; training flags are kept.

        settled: layers that have their solutions already.
        """
        lost = self.losing(plan)
        if not lost:
            return
        with evaluating(network):  # a pass, and counted as one, also where all is settled
            self.forward(_Refitter(self, network, [name for name in lost if name not in settled], plan))

    def losing(self, plan: Plan) -> list[str]:
        """Return the layers that lose inputs under a plan and can be refitted, in forward order."""
        return [name for name in self.structure.pruned_inputs(plan) if name in self.targets]

    def applied(self, network: nn.Module, name: str, x: Tensor) -> Tensor:
        """Return what a layer of a network and its norm give for `x`, past their hooks."""
        own: Tensor = network.get_submodule(name).forward(x)
        norm = self.norms.get(name)
        return normalised(network.get_submodule(norm), own) if norm else own

    def forward(self, run: Any) -> None:
        """Run a pass's network on the images once, and take its hooks away."""
        try:
            with torch.no_grad(), run, self.compute.autocast(cache=False):
                run.network(self.images)
        finally:
            for handle in run.handles:
                handle.remove()

    def reach(self, network: nn.Module, name: str, x: Tensor, other: Tensor | None, kept: Tensor | None) -> Reached:
        """Return a layer's least squares for its input at the kept outputs (None: all); other: see `RefittingPass`."""
        layer = network.get_submodule(name)
        norm = network.get_submodule(self.norms[name]) if name in self.norms else None
        target = self.targets[name]
        wanted, lengths = target.values, self.lengths[name]
        if kept is not None:
            wanted, lengths = wanted[:, kept], lengths[kept]
        if other is not None:
            wanted = wanted - feature_rows(layer, other)[target.index].float()
        offset = has_offset(layer, norm)
        squares: LeastSquares
        if target.windows is None or x.device.type != "cpu":  # elsewhere many small products cost more than a large one
            squares = RowSquares(patches(layer, x, target.index).float(), wanted, offset)
        else:
            squares = WindowSquares(layer, x, target.windows, wanted, offset)
        return Reached(layer, norm, effective_weight(layer, norm), squares, lengths)


def normalised(norm: Any, features: Tensor) -> Tensor:
    """Return what a batch norm gives, before any activation that it may hold."""
    return nn.modules.batchnorm._BatchNorm.forward(norm, features)


def feature_rows(layer: nn.Module, features: Tensor) -> Tensor:
    """View a layer's input or output as [positions, C]; a convolution has its channels first, a linear layer last."""
    return (features.movedim(1, -1) if isinstance(layer, nn.Conv2d) else features).flatten(0, -2)


def patches(layer: nn.Module, x: Tensor, index: Tensor) -> Tensor:
    """Return what the layer reads at the given output positions: [P, k * k * C_in] (or [P, C_in])."""
    if not isinstance(layer, nn.Conv2d):
        return feature_rows(layer, x)[index]
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    pad = layer._reversed_padding_repeated_twice
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    out_h, out_w = _output_size(layer, x)
    x = F.pad(x, pad, mode=mode) if any(pad) else x
    _, channels, height, width = x.shape
    flat = x.permute(0, 2, 3, 1).reshape(-1, channels)
    sample, rest = index // (out_h * out_w), index % (out_h * out_w)
    corner = (sample * height + rest // out_w * sh) * width + rest % out_w * sw
    rows = torch.arange(kh, device=x.device) * dh * width
    offsets = (rows[:, None] + torch.arange(kw, device=x.device) * dw).flatten()
    return flat.index_select(0, (corner[:, None] + offsets).flatten()).view(len(index), -1)


def _output_size(layer: nn.Conv2d, x: Tensor) -> tuple[int, int]:
    left, right, top, bottom = layer._reversed_padding_repeated_twice
    height = (x.shape[2] + top + bottom - layer.dilation[0] * (layer.kernel_size[0] - 1) - 1) // layer.stride[0] + 1
    width = (x.shape[3] + left + right - layer.dilation[1] * (layer.kernel_size[1] - 1) - 1) // layer.stride[1] + 1
    return height, width


def effective_weight(layer: Any, norm: Any) -> Tensor:
    """Return the layer's weight as [inputs, C_out] in the order of `patches`, with the norm's scale folded in."""
    rows = weight_rows(layer.weight.detach().float())
    return rows if norm is None else rows * norm_scale(norm)


def norm_scale(norm: Any) -> Tensor:
    """Return by what a batch norm in evaluation mode multiplies what it is given, [C]."""
    return torch.rsqrt(norm.running_var + norm.eps) * norm.weight.detach()


def weight_rows(weight: Tensor) -> Tensor:
    """View a layer's weight, [C_out, C_in, kh, kw] or [C_out, C_in], as [inputs, C_out] in the order of `patches`."""
    return (weight.permute(0, 2, 3, 1).flatten(1) if weight.dim() == 4 else weight).T


def _lengths(layer: Any) -> Tensor:
    """Return the Euclidean length of each filter's weights, [C_out]."""
    return weight_rows(layer.weight.detach()).norm(dim=0)


def has_offset(layer: Any, norm: Any) -> bool:
    return layer.bias is not None or norm is not None


LONGEST = 10
"""A filter that a norm follows is at most so many times as long after a refit as in the unpruned network."""
LEAST = 1e-12
"""A norm that multiplies by less gives nothing: float32 could not hold the variance of weights that make up for it."""


def put_solution(layer: Any, norm: Any, solution: Solution, squares: LeastSquares, lengths: Tensor) -> None:
    """Put the solution into the layer, and what it gives on the calibration data into the norm after it.

    lengths: see `Reached`. The norm goes on multiplying by what it did, so that weights of the same answers are the
    same weights. What a batch norm follows answers alike at any length, but training changes it the slower the longer
    it is, by the square: weights that held the norm's scale were trained at nine times the pace of before, on average,
    in ResNet-20.
    """
    weight = solution.weights
    scale = torch.ones_like(solution.variance) if norm is None else _kept_scale(norm_scale(norm), weight, lengths)
    weight = weight / scale
    columns = weight.T
    if layer.weight.dim() == 4:
        out, _, kh, kw = layer.weight.shape
        columns = columns.reshape(out, kh, kw, -1).permute(0, 3, 1, 2)
    layer.weight.copy_(columns)
    if norm is None:
        if layer.bias is not None:
            layer.bias.copy_(squares.mean_out - squares.mean_in @ weight)
        return
    if layer.bias is not None:
        layer.bias.zero_()
    norm.running_mean.copy_(squares.mean_in @ weight)
    norm.running_var.copy_(solution.variance / scale.square())
    norm.weight.copy_(torch.sqrt(norm.running_var + norm.eps) * scale)
    norm.bias.copy_(squares.mean_out)


def _kept_scale(scale: Tensor, weight: Tensor, before: Tensor) -> Tensor:
    """Return what a norm multiplies by, [C_out]; where weights [D, C_out] then got too long, what keeps their length.

    before: that length, [C_out]. A norm that gives next to nothing, as those that begin at zero, would have weights as
    long as it likes.
    """
    length = weight.norm(dim=0)
    fits = (length <= LONGEST * scale.abs() * before) & (scale.abs() > LEAST)
    same = torch.where((before > 0) & (length > LEAST * before), length / before, 1.0)
    return torch.where(fits, scale, same)
