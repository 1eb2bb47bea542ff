"""What the layers that read a group's filters see of them, and how much the loss cares for their outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.compute import generator
from blendsearch.statistics.layers import READERS, Paused, Recorder, recorded
from blendsearch.statistics.passes import Held, own_pass
from blendsearch.statistics.patches import at_positions, filter_rows, gram, input_weights
from blendsearch.structure import Group, Structure
from blendsearch.structure.groups import Member
from blendsearch.structure.slicing import channels_first

WIDEST = 2304
"""Rows (filters x taps) of the largest Gram matrix that is kept whole: 21 MB in float32."""


def readers_of(network: nn.Module, group: Group) -> Iterator[tuple[str, Member]]:
    """Yield key and member of each layer that reads a group's filters with weights of its own."""
    for number, member in enumerate(group.members):
        if member.side == "in" and isinstance(network.get_submodule(member.module), READERS):
            yield f"{group.name}#{number}", member


def taps_apart(rows: int) -> bool:
    """Tell whether a reader has so many rows (filters x taps) that its taps are taken as uncorrelated.

    Its Gram matrix is then that of the filters alone, the mean over the taps: k * k times fewer rows. Exact where taps
    are independent and alike; for neighbouring pixels an approximation.
    """
    return rows > WIDEST


@own_pass("weights.readers", limit=0)
def reader_weights(network: nn.Module, structure: Structure, batches: Held) -> dict[str, Tensor]:
    """Weights of every layer that reads a group: key of the reader -> [rows, columns], rows as in its Gram matrix.

    Where taps are apart, those of one output are columns beside each other.
    """
    result = {}
    for group in structure.groups:
        for key, member in readers_of(network, group):
            module = network.get_submodule(member.module)
            shape = structure.trace.input_shape[member.module]
            given = module.get_parameter("weight").new_zeros(1, *shape[1:])
            weights = filter_rows(input_weights(module, given), member, group.width)
            rows = weights.flatten(0, 2)  # from [C, readings, taps, outputs]
            result[key] = weights.flatten(1) if taps_apart(len(rows)) else rows
    return result


@recorded("activations.reader_gram")
class ReaderGram(Recorder):
    """Covariance of what a reader sees of a group's filters, rows filter by filter: key of the reader -> [D, D].

    D = filters x readings x taps of its kernel, or, where that is above WIDEST, filters alone (see `taps_apart`). From
    POSITIONS places, the same for every image, of the first `limit` images. Means are taken off where the reader has
    a bias or a norm after it, which can make up for them; else the matrix holds plain second moments.
    What does not lie on the diagonal is shrunk by (D / samples)^2, up to all of it: with as few samples as rows any row
    could be made up for by others, on these samples alone.
    """

    limit = 512
    POSITIONS = 48

    def __init__(self, network: nn.Module, structure: Structure, paused: Paused) -> None:
        super().__init__(network, structure, paused)
        self.products: dict[str, Tensor] = {}
        self.sums: dict[str, Tensor] = {}
        self.samples: dict[str, int] = {}
        self.images: dict[str, int] = {}
        self.offset: dict[str, bool] = {}
        for group in structure.groups:
            for key, member in readers_of(network, group):
                module: Any = network.get_submodule(member.module)
                self.images[key] = self.samples[key] = 0
                self.offset[key] = module.bias is not None or member.module in structure.trace.own_norm
                self.hooks.append(module.register_forward_pre_hook(self._hook(key, group, member)))

    def _hook(self, key: str, group: Group, member: Member) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            given = inputs[0].detach()[: max(self.limit - self.images[key], 0)]
            self.images[key] += len(given)
            with self.paused(), torch.no_grad():
                if len(given):
                    self._add(key, module, group, member, given)

        return hook

    def _add(self, key: str, module: nn.Module, group: Group, member: Member, given: Tensor) -> None:
        _, patches = at_positions(module, given.float(), self._places)
        rows = filter_rows(patches, member, group.width)  # [C, readings, taps, samples]
        apart = taps_apart(rows[..., 0].numel())
        # Where taps are apart, each is one more sample of its filter.
        rows = rows.flatten(1) if apart else rows.flatten(0, 2)
        product, total = gram(rows).double(), rows.sum(1, dtype=torch.double)
        self.products[key] = self.products[key] + product if key in self.products else product
        self.sums[key] = self.sums[key] + total if key in self.sums else total
        self.samples[key] += rows.shape[1]

    def _places(self, count: int) -> Tensor:
        draw = generator(0, "reader_gram", count)
        return torch.randperm(count, generator=draw)[: self.POSITIONS]

    def value(self) -> dict[str, Tensor]:
        return {key: self._shrunk(key, product / self.samples[key]) for key, product in self.products.items()}

    def _shrunk(self, key: str, moments: Tensor) -> Tensor:
        if self.offset[key]:
            mean = self.sums[key] / self.samples[key]
            moments = moments - torch.outer(mean, mean)
        share = min(1.0, (len(moments) / self.samples[key]) ** 2)
        shrunk = moments * (1 - share) + (moments.diagonal() * share).diag()
        shrunk.diagonal().clamp_(min=0)  # a variance below zero is rounding
        return shrunk


@recorded("gradients.reader_outputs")
class ReaderOutputGradient(Recorder):
    """Mean over samples of the squared gradient at a reader's outputs, summed over positions: reader -> [C_out].

    The diagonal of the (empirical) Fisher information, so that squared errors of all readers have one unit: loss.
    Zero where the loss does not reach them.
    """

    def __init__(self, network: nn.Module, structure: Structure, paused: Paused) -> None:
        super().__init__(network, structure, paused)
        self.totals: dict[str, Tensor] = {}
        self.count = 0
        self.keys: dict[str, list[str]] = {}
        for group in structure.groups:
            for key, member in readers_of(network, group):
                self.keys.setdefault(member.module, []).append(key)
        for path in self.keys:
            module: Any = network.get_submodule(path)
            outputs = channels_first(module, module.weight, "out").shape[0]
            self.totals[path] = torch.zeros(outputs, dtype=torch.double, device=module.weight.device)
            self.hooks.append(module.register_forward_hook(self._hook(path)))

    def _hook(self, path: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if output.requires_grad:
                with self.paused():
                    output.register_hook(lambda gradient: self._add(path, module, gradient.detach()))

        return hook

    def _add(self, path: str, module: nn.Module, gradient: Tensor) -> None:
        last = isinstance(module, nn.Linear)
        squares = gradient.float().square()  # of one sample in float32, over the samples in float64
        of_samples = squares.flatten(1, -2).sum(1) if last and squares.dim() > 2 else squares
        self.totals[path] += (of_samples if last else squares.sum((2, 3))).sum(0, dtype=torch.double)

    def end_batch(self, samples: int) -> None:
        self.count += samples

    def value(self) -> dict[str, Tensor]:
        return {key: total / self.count for path, total in self.totals.items() for key in self.keys[path]}
