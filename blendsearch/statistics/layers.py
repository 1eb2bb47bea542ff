"""What is recorded at layers while the one pass runs: gradients of parameters, and what readers make of a filter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.compute import generator
from blendsearch.statistics.measures import MEASURES
from blendsearch.statistics.patches import at_positions, filter_rows, weight_gradients
from blendsearch.structure import Group, Structure
from blendsearch.structure.groups import Member
from blendsearch.structure.slicing import channels_first

Paused = Callable[[], AbstractContextManager[None]]
READERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
"""Layers that read what filters give, and whose weights say how."""


class Recorder:
    """Watches layers of a network during the pass, by hooks or after each backward pass.

    What hooks compute goes inside `paused()`, so that it is not taken for a call of the network.
    """

    limit: int | None = None

    def __init__(self, network: nn.Module, structure: Structure, paused: Paused) -> None:
        self.network = network
        self.structure = structure
        self.paused = paused
        self.hooks: list[Any] = []

    def end_batch(self, samples: int) -> None:
        """Learn that the pass over a batch is over; gradients of the summed loss lie in the parameters."""

    def value(self) -> dict[str, Tensor]:
        """Return convolution or group -> tensor [C, ...]."""
        raise NotImplementedError

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self.hooks:
            hook.remove()


@dataclass(frozen=True)
class LayerMeasure:
    """A named quantity of layers; `recorder(network, structure, paused)` makes what records it."""

    name: str
    recorder: Callable[[nn.Module, Structure, Paused], Recorder]

    @property
    def uses_gradients(self) -> bool:
        """Whether a backward pass is needed."""
        return self.name.startswith("gradients.")


def recorded(name: str) -> Callable[[type[Recorder]], type[Recorder]]:
    """Register a Recorder class as the measure `name`; usable as a decorator."""

    def add(recorder: type[Recorder]) -> type[Recorder]:
        MEASURES.register(name)(LayerMeasure(name, recorder))
        return recorder

    return add


class MeanGradient(Recorder):
    """Gradient of the mean loss with respect to one parameter of each convolution or of its norm: [C, ...].

    Zero where the loss does not reach it.
    """

    def __init__(self, network: nn.Module, structure: Structure, paused: Paused) -> None:
        super().__init__(network, structure, paused)
        self.modules = dict(self.owners())
        self.totals = {name: torch.zeros_like(p, dtype=torch.double) for name, p in self._parameters()}
        self.count = 0

    parameter = "weight"

    def owners(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield convolution -> the module whose parameter is meant."""
        for conv in convolutions(self.structure):
            yield conv, self.network.get_submodule(conv)

    def _parameters(self) -> Iterator[tuple[str, Tensor]]:
        for name, module in self.modules.items():
            yield name, getattr(module, self.parameter)

    def end_batch(self, samples: int) -> None:
        for name, parameter in self._parameters():
            if parameter.grad is not None:
                self.totals[name] += parameter.grad
        self.count += samples

    def value(self) -> dict[str, Tensor]:
        return {
            name: channels_first(self.modules[name], total / self.count, "out") for name, total in self.totals.items()
        }


@recorded("gradients.weight")
class WeightGradient(MeanGradient):
    """Gradient of the mean loss with respect to the weights: convolution -> [C, ...]."""


@recorded("gradients.scale")
class ScaleGradient(MeanGradient):
    """Gradient of the mean loss with respect to the batch norm's gamma: convolution -> [C]."""

    def owners(self) -> Iterator[tuple[str, nn.Module]]:
        for group in self.structure.groups:
            for conv, norm in zip(group.convolutions, group.norms, strict=True):
                module = self.network.get_submodule(norm) if norm else None
                if module is not None and getattr(module, self.parameter, None) is not None:
                    yield conv, module


@recorded("gradients.shift")
class ShiftGradient(ScaleGradient):
    """Gradient of the mean loss with respect to the batch norm's beta, where it has one: convolution -> [C]."""

    parameter = "bias"


@recorded("gradients.weight_square")
class SquaredGradient(Recorder):
    """Mean over the first `limit` samples of each weight's squared gradient (empirical Fisher): [C, ...].

    Zero where the loss does not reach it.
    """

    limit = 64

    def __init__(self, network: nn.Module, structure: Structure, paused: Paused) -> None:
        super().__init__(network, structure, paused)
        self.counts = dict.fromkeys(convolutions(structure), 0)
        self.totals: dict[str, Tensor] = {}
        for conv in self.counts:
            module: Any = network.get_submodule(conv)
            self.totals[conv] = torch.zeros_like(module.weight, dtype=torch.double)
            self.hooks.append(module.register_forward_hook(self._hook(conv)))

    def _hook(self, conv: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            room = self.limit - self.counts[conv]
            if room > 0 and output.requires_grad:
                given = inputs[0].detach()[:room].float()
                with self.paused():
                    output.register_hook(lambda gradient: self._add(conv, module, given, gradient[:room]))

        return hook

    def _add(self, conv: str, module: nn.Module, given: Tensor, gradient: Tensor) -> None:
        for one in weight_gradients(module, given, gradient.detach().float()):
            self.totals[conv] += one.square().sum(0)
            self.counts[conv] += len(one)

    def value(self) -> dict[str, Tensor]:
        return {
            conv: channels_first(self.network.get_submodule(conv), total / max(self.counts[conv], 1), "out")
            for conv, total in self.totals.items()
        }


@recorded("activations.contributions")
class Contributions(Recorder):
    """Inner products [C, C] of what the filters of a group contribute to outputs of the layers that read them.

    Sampled at POSITIONS places, the same for every image, of all output channels, on the first `limit` images;
    each reader's matrix is divided by its trace, so that no layer outweighs another. group -> [C, C].
    """

    limit = 128
    POSITIONS = 10

    def __init__(self, network: nn.Module, structure: Structure, paused: Paused) -> None:
        super().__init__(network, structure, paused)
        self.products: dict[tuple[str, int], Tensor] = {}
        self.counts: dict[tuple[str, int], int] = {}
        for group in structure.groups:
            for number, member in enumerate(group.members):
                module = network.get_submodule(member.module) if member.side == "in" else None
                if isinstance(module, READERS):
                    self.counts[group.name, number] = 0
                    self.hooks.append(module.register_forward_pre_hook(self._hook(group, number, member)))

    def _hook(self, group: Group, number: int, member: Member) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        key = (group.name, number)

        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            given = inputs[0].detach()[: max(self.limit - self.counts[key], 0)].float()
            self.counts[key] += len(given)
            with self.paused(), torch.no_grad():
                if len(given):
                    self._add(key, module, group, member, given)

        return hook

    def _add(self, key: tuple[str, int], module: nn.Module, group: Group, member: Member, given: Tensor) -> None:
        weights, patches = at_positions(module, given, self._places)
        weights = filter_rows(weights, member, group.width).flatten(1, 2)  # [C, readings x kernel, outputs]
        patches = filter_rows(patches, member, group.width).flatten(1, 2)  # [C, readings x kernel, samples]
        at_once = max(2**23 // (weights.shape[2] * group.width), 1)
        for part in patches.split(at_once, dim=2):
            made = (part.mT @ weights).flatten(1)
            product = (made @ made.T).double()
            self.products[key] = self.products[key] + product if key in self.products else product

    def _places(self, count: int) -> Tensor:
        draw = generator(0, "contributions", count)
        return torch.randperm(count, generator=draw)[: self.POSITIONS]

    def value(self) -> dict[str, Tensor]:
        result: dict[str, Tensor] = {}
        for (group, _), product in self.products.items():
            trace = product.trace()
            scaled = product / trace if trace > 0 else product
            result[group] = result[group] + scaled if group in result else scaled
        return result


def convolutions(structure: Structure) -> list[str]:
    """Return the convolutions of all groups."""
    return [conv for group in structure.groups for conv in group.convolutions]
