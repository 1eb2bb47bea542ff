"""Channels that can only go in whole blocks: grouped convolutions and group norms make blocks a group's filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.structure.slicing import blocks_of, side_size


@dataclass(frozen=True)
class Member:
    """One side of one module that loses channels with the group.

    side: "out", "in", or "parameter" for a free-standing parameter (then `dim` is its dimension).
    index, root: channel `index[i]` of this side belongs to filter `root[i]` of the group.
    """

    module: str
    side: str
    index: tuple[int, ...]
    root: tuple[int, ...]
    dim: int = 0

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """Index and root as tensors, int64."""
        return torch.tensor(self.index), torch.tensor(self.root)

    @cached_property
    def whole(self) -> bool:
        """Whether channel `i` belongs to filter `i`, from 0 without a gap."""
        return self.index == self.root == tuple(range(len(self.index)))


def in_blocks(
    network: nn.Module, made_by: Callable[[str], Sequence[Member]], members: Sequence[Member], width: int
) -> tuple[list[Member], int]:
    """Return a group's members and width with blocks for filters, where something in it asks for blocks.

    made_by: convolution -> members of the group of its output channels. A grouped convolution that reads the filters
    makes its outputs part of the group. The filters are the smallest blocks, at least two, that part no block of any
    module; where there are none, the members come back as they were.
    """
    found = {(member.module, member.side): member for member in members}
    open_ = [member for member in members if _asks(network, member) and member.side == "in"]
    while open_:
        reader = open_.pop()
        for member in _outputs(network.get_submodule(reader.module), reader, made_by(reader.module)):
            if (member.module, member.side) not in found:
                found[member.module, member.side] = member
                open_ += [member] if _asks(network, member) and member.side == "in" else []
    asking = [member for member in found.values() if _asks(network, member)]
    if not asking or any(_half(network, member, found) for member in asking):
        return list(members), width
    for size in (size for size in range(1, width // 2 + 1) if width % size == 0):
        if all(whole_blocks(network.get_submodule(one.module), one, size) for one in asking):
            # A grouped convolution's inputs go with its outputs: its weights hold no dimension for them.
            kept = [one for one in found.values() if one not in asking or one.side == "out"]
            return [replace(one, root=tuple(root // size for root in one.root)) for one in kept], width // size
    return list(members), width


def _asks(network: nn.Module, member: Member) -> bool:
    return member.side != "parameter" and blocks_of(network.get_submodule(member.module)) > 1


def _half(network: nn.Module, member: Member, found: Mapping[tuple[str, str], Member]) -> bool:
    """Tell whether a grouped convolution's outputs are in the group and its inputs are not."""
    convolution = isinstance(network.get_submodule(member.module), nn.modules.conv._ConvNd)
    return convolution and member.side == "out" and (member.module, "in") not in found


def _outputs(convolution: Any, reader: Member, members: Sequence[Member]) -> list[Member]:
    """Return the members of a grouped convolution's outputs, each belonging to the first input of its block."""
    inputs = convolution.in_channels // convolution.groups
    outputs = convolution.out_channels // convolution.groups
    root = dict(zip(reader.index, reader.root, strict=True))
    if len(root) < convolution.in_channels:
        return []
    return [replace(one, root=tuple(root[channel // outputs * inputs] for channel in one.root)) for one in members]


def whole_blocks(module: nn.Module, member: Member, size: int) -> bool:
    """Tell whether each block of a module belongs to one filter, when filters are `size` channels of the root."""
    block = side_size(module, "out") // blocks_of(module) if member.side == "out" else _input_block(module)
    owners: dict[int, list[int]] = {}
    for channel, root in zip(member.index, member.root, strict=True):
        owners.setdefault(channel // block, []).append(root // size)
    return all(len(one) == block and len(set(one)) == 1 for one in owners.values())


def _input_block(module: Any) -> int:
    return int(module.in_channels // module.groups)
