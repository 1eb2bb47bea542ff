"""Which channels of which modules stay under a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from blendsearch.structure.groups import Group, Member
from blendsearch.structure.plan import Plan
from blendsearch.structure.slicing import side_size

Owners = dict[tuple[str, str], list[tuple[str, Member]]]
"""Module and side -> the groups that hold channels of it, each with its member."""


def owner_tables(groups: Sequence[Group]) -> Owners:
    """Return which groups hold channels of each side of each module."""
    tables: Owners = {}
    for group in groups:
        for member in group.members:
            tables.setdefault((member.module, member.side), []).append((group.name, member))
    return tables


def side_sizes(network: nn.Module, groups: Sequence[Group]) -> dict[tuple[str, str], int]:
    """Return of each module and side of which a group holds channels how many channels it has."""
    return {
        (path, side): side_size(network.get_submodule(path), side)
        for path, side in owner_tables(groups)
        if side != "parameter"
    }


def mask_of(width: int, keep: Sequence[int]) -> Tensor:
    """Return bool [width], true where kept."""
    mask = torch.zeros(width, dtype=torch.bool)
    mask[list(keep)] = True
    return mask


def masks_of(widths: Mapping[str, int], plan: Plan) -> dict[str, Tensor]:
    """Return the mask of every group; one that is not in the plan keeps all."""
    return {name: mask_of(width, plan.keep.get(name, range(width))) for name, width in widths.items()}


def stays(size: int, owners: Sequence[tuple[str, Member]], masks: Mapping[str, Tensor]) -> Tensor:
    """Return which channels of one side of a module stay, given which filters of each group do."""
    if len(owners) == 1 and owners[0][1].whole and len(owners[0][1].index) == size:
        return masks[owners[0][0]]
    result = torch.ones(size, dtype=torch.bool)
    for name, member in owners:
        index, root = member.places
        result[index] = masks[name][root]
    return result


def kept_channels(
    network: nn.Module, sides: Owners, masks: Mapping[str, Tensor]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, tuple[int, Tensor]]]:
    """Return which channels stay, where any are lost.

    Two tables: module -> side ("out", "in") -> kept indices; free-standing parameter -> (dimension, kept indices).
    """
    kept: dict[str, dict[str, Tensor]] = {}
    parameters: dict[str, tuple[int, Tensor]] = {}
    modules = dict(network.named_modules(remove_duplicate=False))
    found: dict[int, tuple[Tensor, Tensor]] = {}  # most sides of a group share its mask; held, so that ids stay taken
    for (path, side), owners in sides.items():
        dim = owners[0][1].dim
        size = network.get_parameter(path).shape[dim] if side == "parameter" else side_size(modules[path], side)
        left = stays(size, owners, masks)
        if id(left) not in found:
            found[id(left)] = (left, left.nonzero().flatten())
        index = found[id(left)][1]
        if len(index) == size:
            continue
        if side == "parameter":
            parameters[path] = (dim, index)
        else:
            kept.setdefault(path, {})[side] = index
    return kept, parameters


def channels_under(
    network: nn.Module, groups: Sequence[Group], plan: Plan
) -> tuple[dict[str, dict[str, Tensor]], dict[str, tuple[int, Tensor]]]:
    """Return the tables of `kept_channels` for these groups alone."""
    return kept_channels(network, owner_tables(groups), masks_of(plan.widths, plan))
