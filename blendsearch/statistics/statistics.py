"""The gathered statistics: weights as they are, and averages over the calibration samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.structure import Group, Structure
from blendsearch.structure.slicing import channels_first
from blendsearch.structure.trace import Site


@dataclass(frozen=True)
class Norm:
    """A batch norm's tensors, each float32 [C].

    beta is zero where it has no bias; mean and var are not numbers where it keeps no running statistics.
    """

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    var: Tensor
    eps: float


@dataclass
class Statistics:
    """What criteria read; all tensors float32 on the CPU.

    weights: convolution -> [C_out, ...]. norms: convolution -> its batch norm, where one with scale follows.
    readers: group -> one tensor [C, ...] for each layer that reads its filters. averages: site -> measure ->
    [C, ...], mostly means over samples. layers: measure -> convolution or group -> [C, ...], what is measured on
    parameters or on readers. samples: how many images were seen. seed: for criteria that draw numbers.
    ratings: group -> [C], people's mean marks, nan where there is none. fallback: criterion that stands in for these.
    unavailable: need -> why this network or these data do not give it. Gradients and relevance are zero at filters that
    they do not reach: inside of a gate (relevance), or before a part that runs without gradients.
    """

    weights: dict[str, Tensor]
    norms: dict[str, Norm]
    readers: dict[str, list[Tensor]]
    averages: dict[Site, dict[str, Tensor]] = field(default_factory=dict)
    samples: int = 0
    seed: int = 0
    layers: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    ratings: dict[str, Tensor] = field(default_factory=dict)
    fallback: str | None = None
    unavailable: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_weights(cls, network: nn.Module, structure: Structure, seed: int = 0) -> Statistics:
        """Return the part that needs no data."""
        weights: dict[str, Tensor] = {}
        norms: dict[str, Norm] = {}
        for group in structure.groups:
            for conv, norm in zip(group.convolutions, group.norms, strict=True):
                weights[conv] = _channels_first(network.get_submodule(conv), "out")
                found = _norm(network, norm)
                if found is not None:
                    norms[conv] = found
        readers = {group.name: list(_reader_weights(network, group)) for group in structure.groups}
        return cls(weights, norms, readers, seed=seed)


def _channels_first(module: Any, side: str) -> Tensor:
    return channels_first(module, module.weight.detach().float().cpu(), side).contiguous().clone()


def _norm(network: nn.Module, name: str) -> Norm | None:
    module = network.get_submodule(name) if name else None
    if not isinstance(module, nn.modules.batchnorm._BatchNorm) or module.weight is None:
        return None
    gamma = module.weight.detach().float().cpu().clone()

    def plain(tensor: Tensor | None, otherwise: float) -> Tensor:
        return torch.full_like(gamma, otherwise) if tensor is None else tensor.detach().float().cpu().clone()

    mean, var = plain(module.running_mean, math.nan), plain(module.running_var, math.nan)
    return Norm(gamma, plain(module.bias, 0.0), mean, var, module.eps)


def _reader_weights(network: nn.Module, group: Group) -> list[Tensor]:
    """Return, for each layer that reads the group, its weights as [C, everything that reads this filter]."""
    result = []
    for member in group.members:
        module = network.get_submodule(member.module) if member.side == "in" else None
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            columns = _channels_first(module, "in")[list(member.index)]
            order = torch.tensor(member.root).argsort(stable=True)
            result.append(columns[order].reshape(group.width, -1))
    return result
