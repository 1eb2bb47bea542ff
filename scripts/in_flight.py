"""Several candidates at a time on one device: as one network of groups, by vmap, on streams, as CUDA graphs.

For scripts/gpu_engine.py, which measures which of them pays. Candidates of a stack have equal widths, as all have whose
shares are equal; a graph serves every candidate of its widths, whose tensors are copied into the one it was captured
with. Without CUDA streams do nothing and a graph is the work itself, so that all of it can be tried on the CPU.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from blendsearch.compute import Compute
from blendsearch.data.batches import Split
from blendsearch.models.shortcuts import ZeroPadShortcut
from blendsearch.training.evaluation import evaluating, recalibrate

Answers = Callable[[Tensor], Tensor]
"""Images [N, C, H, W] -> logits [N, classes], or [N, K, classes] of K candidates."""


class JoinedLinear(nn.Module):
    """The linear layers of K networks: [N, K * C] -> [N, K, classes]."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach().T for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach()[None] for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.view(len(x), len(self.weight), -1).transpose(0, 1)
        return torch.baddbmm(self.bias, rows, self.weight).transpose(0, 1)


def joined(networks: Sequence[nn.Module], first: str) -> nn.Module:
    """Return one network that gives the logits of K networks of equal widths [N, K, classes], with K groups.

    first: path of the convolution that reads the images. ValueError for layers of other kinds than the zoo's.
    """
    result = copy.deepcopy(networks[0])
    for path, module in list(result.named_modules()):
        parts = [network.get_submodule(path) for network in networks]
        if path and (module._parameters or module._buffers):
            owner, _, name = path.rpartition(".")
            setattr(result.get_submodule(owner), name, _joined_module(parts, reads_images=path == first))
    return result.train(networks[0].training)


def _joined_module(parts: Sequence[Any], *, reads_images: bool) -> nn.Module:
    one, count = parts[0], len(parts)
    if isinstance(one, nn.Linear):
        return JoinedLinear(parts)
    if isinstance(one, ZeroPadShortcut):
        return _joined_shortcut(parts)
    if isinstance(one, nn.Conv2d) and one.groups == 1:
        inputs = one.in_channels if reads_images else count * one.in_channels
        made: Any = nn.Conv2d(
            inputs, count * one.out_channels, one.kernel_size, one.stride, one.padding, one.dilation,
            1 if reads_images else count, one.bias is not None, one.padding_mode, device="meta",
        )  # fmt: skip
    elif isinstance(one, nn.BatchNorm2d):
        made = nn.BatchNorm2d(count * one.num_features, one.eps, one.momentum, device="meta")
    else:
        raise ValueError(f"{type(one).__name__}: no way to join several of them")
    for name, _ in one.named_parameters():
        made._parameters[name] = nn.Parameter(torch.cat([part.get_parameter(name).detach() for part in parts]))
    for name, buffer in one.named_buffers():
        whole = [part.get_buffer(name) for part in parts]
        made._buffers[name] = torch.cat(whole) if buffer.dim() else buffer.clone()
    return made  # type: ignore[no-any-return]


def _joined_shortcut(parts: Sequence[ZeroPadShortcut]) -> ZeroPadShortcut:
    made = copy.deepcopy(parts[0])
    inputs = made.in_channels
    sources = [torch.where(one.source < 0, one.source, one.source + k * inputs) for k, one in enumerate(parts)]
    made.source = torch.cat(sources)
    made.in_channels, made.out_channels = len(parts) * inputs, len(made.source)
    return made


def stacked(networks: Sequence[nn.Module]) -> Answers:
    """Return what gives the logits of K networks of equal widths [N, K, classes], by vmap over their tensors."""
    parameters, buffers = stack_module_state(list(networks))
    parameters = {name: tensor.detach() for name, tensor in parameters.items()}
    base = copy.deepcopy(networks[0]).to("meta")

    def call(own: dict[str, Tensor], others: dict[str, Tensor], images: Tensor) -> Tensor:
        return functional_call(base, (own, others), (images,))

    several = vmap(call, in_dims=(0, 0, None), out_dims=1)
    return lambda images: several(parameters, buffers, images)


@dataclass(frozen=True)
class Passes:
    """What an evaluation runs: batch norms on the calibration images, hits on the search images; nothing waits."""

    calibration: Split
    search: Split
    compute: Compute

    def recalibrate(self, network: nn.Module) -> None:
        """Take the statistics of the batch norms anew."""
        recalibrate(network, self.calibration.batches(250), self.compute)

    def hits(self, answers: Answers | nn.Module, batch: int = 500) -> Tensor:
        """Return how many search images are right, int64 [] or [K], on the device."""
        with torch.no_grad(), self.compute.autocast(), _in_evaluation(answers):
            return torch.stack([hits_of(answers(images), labels) for images, labels in self.batches(batch)]).sum(0)

    def batches(self, batch: int = 500) -> list[tuple[Tensor, Tensor]]:
        """Return the search images, normalised."""
        return [(self.compute.images(images), labels) for images, labels in self.search.batches(batch)]

    def evaluation(self, network: nn.Module) -> Tensor:
        """Do both."""
        self.recalibrate(network)
        return self.hits(network)


def hits_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many rows of logits [N, classes] or [N, K, classes] have the label's class highest: [] or [K]."""
    return (logits.argmax(-1) == labels.view(-1, *[1] * (logits.dim() - 2))).sum(0)


def _in_evaluation(answers: object) -> contextlib.AbstractContextManager[None]:
    return evaluating(answers) if isinstance(answers, nn.Module) else contextlib.nullcontext()


class Streams:
    """`count` streams of a device; on the CPU, which has none, as many contexts that do nothing."""

    def __init__(self, device: str, count: int) -> None:
        self.streams: list[Any] = [torch.cuda.Stream() for _ in range(count)] if device.startswith("cuda") else []
        self.count = count

    def on(self, number: int) -> contextlib.AbstractContextManager[object]:
        """Return a context in which work goes to a stream."""
        return torch.cuda.stream(self.streams[number]) if self.streams else contextlib.nullcontext()

    def begin(self) -> None:
        """Let all wait for what the current stream was given before."""
        for stream in self.streams:
            stream.wait_stream(torch.cuda.current_stream())

    def end(self) -> None:
        """Let the current stream wait for all."""
        for stream in self.streams:
            torch.cuda.current_stream().wait_stream(stream)


class Captured:
    """Work captured as a CUDA graph; `result` is where each replay leaves what it returned. Elsewhere the work itself.

    The work must not copy from the host, nor wait; what it reads lies where it lay when it was captured.
    """

    def __init__(self, work: Callable[[], Tensor], device: str) -> None:
        self.work, self.graph = work, None
        if not device.startswith("cuda"):
            self.result = work()
            return
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # on the stream of the capture, where libraries then have what they work with
            for _ in range(2):
                work()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            self.result = work()

    def replay(self) -> Tensor:
        """Do the work again."""
        if self.graph is None:
            self.result = self.work()
        else:
            self.graph.replay()
        return self.result


class Slot:
    """A network into which the tensors of candidates of equal widths are copied."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def fill(self, candidate: nn.Module) -> None:
        """Take over a candidate's tensors."""
        own, given = (list(tensors_of(network)) for network in (self.network, candidate))
        with torch.no_grad():
            for kind in (True, False):  # one launch for many tensors needs one number type
                chosen = [(a, b) for a, b in zip(own, given, strict=True) if a.is_floating_point() == kind]
                if chosen:
                    torch._foreach_copy_([a for a, _ in chosen], [b for _, b in chosen])


def tensors_of(network: nn.Module) -> list[Tensor]:
    """Return all tensors of a network, always in the same order."""
    return [*(parameter.detach() for parameter in network.parameters()), *network.buffers()]
