"""Groups of filters that must go together, from Torch-Pruning's dependency graph; structure/check.py doubts them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from blendsearch.models.shortcuts import ZeroPadShortcut
from blendsearch.structure.blocks import Member, in_blocks, whole_blocks
from blendsearch.structure.example import Example
from blendsearch.structure.slicing import blocks_of, is_depthwise, tensor_dims
from blendsearch.structure.trace import CONVOLUTIONS, Site, Trace


@dataclass(frozen=True)
class Group:
    """Filters coupled across layers; filter `j` is output channel `j` of each of its convolutions.

    Where a grouped convolution or a group norm is among its members, filter `j` is the `j`-th block of channels: those
    from `j * n` to `(j + 1) * n` of a convolution with `n` times `width` output channels.

    name: module path of the first convolution in forward order. stage: groups of equal feature-map size share
    one. sites: where the group's feature maps are observed. inner: made by one convolution alone, no residual
    addition ties it.
    """

    name: str
    width: int
    convolutions: tuple[str, ...]
    norms: tuple[str, ...]
    sites: tuple[Site, ...]
    members: tuple[Member, ...]
    stage: str
    inner: bool


def find_groups(
    network: nn.Module, example: Example, trace: Trace, *, training: bool = False
) -> tuple[list[Group], dict[str, str]]:
    """Return the groups in forward order, and the refused ones: convolution -> reason.

    network: a copy in evaluation mode, see `dependency_graph`; so is `training`. Modules whose channels cannot be
    indexed make a group refused, by name.
    """
    from blendsearch.structure.dependencies import dependency_graph  # slow to import; workers find no groups

    graph = dependency_graph(network, example, training=training)
    names = {module: name for name, module in network.named_modules()}
    groups: list[Group] = []
    refused: dict[str, str] = {}
    seen: set[str] = set()

    def made_by(name: str) -> list[Member]:
        module: Any = network.get_submodule(name)
        prune = graph.get_pruner_of_module(module).prune_out_channels
        return list(_members(graph, graph.get_pruning_group(module, prune, list(range(module.out_channels))), names))

    for name in trace.order:
        module = network.get_submodule(name)
        if not isinstance(module, CONVOLUTIONS) or name in seen:
            continue
        if module not in graph.module2node:
            refused[name] = "its output does not reach the network's output"
            continue
        members, width = in_blocks(network, made_by, made_by(name), module.out_channels)
        convs = _producers(network, members, width, trace)
        seen.update(convs, _followers(network, members))
        reason = _objection(network, members, convs, width, trace)
        if reason:
            refused[name] = reason
        else:
            groups.append(_group(network, name, width, members, convs, trace))
    return groups, refused


def _members(graph: Any, raw: Any, names: dict[nn.Module, str]) -> Iterator[Member]:
    merged: dict[tuple[str, str], dict[int, int]] = {}
    dims: dict[tuple[str, str], int] = {}
    for item in raw:
        target = item.dep.target
        if isinstance(target.module, nn.Parameter):
            key = (graph._param_to_name[target.module], "parameter")
            dims[key] = target.pruning_dim
        elif target.module in names and tensor_dims(target.module) == {}:
            continue  # one slope for all channels: it has nothing to lose
        elif target.module in names:
            outward = graph.is_out_channel_pruning_fn(item.dep.handler)
            key = (names[target.module], "out" if outward else "in")
        else:
            continue  # an operation without channels of its own: add, concat, reshape
        merged.setdefault(key, {}).update(zip(item.idxs, item.root_idxs, strict=True))
    for (module, side), pairs in merged.items():
        index = tuple(sorted(pairs))
        yield Member(module, side, index, tuple(pairs[i] for i in index), dims.get((module, side), 0))


def _producers(network: nn.Module, members: Iterable[Member], width: int, trace: Trace) -> list[str]:
    """Return the convolutions that make the filters; not a depthwise one that only passes a part on (after cat)."""
    names = []
    for member in members:
        module = network.get_submodule(member.module) if member.side == "out" else None
        if isinstance(module, CONVOLUTIONS) and (_is_whole(module, member, width) or not is_depthwise(module)):
            names.append(member.module)
    return sorted(names, key=lambda name: trace.order.index(name) if name in trace.order else len(trace.order))


def _followers(network: nn.Module, members: Iterable[Member]) -> list[str]:
    return [m.module for m in members if m.side == "out" and is_depthwise(network.get_submodule(m.module))]


def _is_whole(module: Any, member: Member, width: int) -> bool:
    channels, size = range(module.out_channels), module.out_channels // width
    return size * width == len(channels) and (member.index, member.root) == (
        tuple(channels),
        tuple(channel // size for channel in channels),
    )


def _objection(network: nn.Module, members: list[Member], convs: list[str], width: int, trace: Trace) -> str:
    """Return why a group cannot be pruned, or an empty string."""
    for member in members:
        if member.side == "parameter":
            continue
        module = network.get_submodule(member.module)
        computed = _computed(module)
        if computed:
            return f"'{member.module}' {computed}"
        if tensor_dims(module) is None or _parted(module, member):
            return f"'{member.module}' ({_kind(module)}) cannot lose single channels"
        if trace.calls.get(member.module, 0) > 1:
            return f"'{member.module}' is called {trace.calls[member.module]} times in one forward pass"
    for member in members:
        if len({member.root.count(filter) for filter in range(width)}) > 1 and member.side != "out":
            return f"'{member.module}' reads its filters unevenly"
        made_here = member.module in convs and member.side == "out"
        if made_here and not _is_whole(network.get_submodule(member.module), member, width):
            return f"only part of the channels of '{member.module}' are its filters (concatenation mixed with addition)"
    return ""


def _computed(module: nn.Module) -> str:
    """Say that a weight is worked out from others at every call, which slicing would have to know; else say nothing."""
    if hasattr(module, "parametrizations"):
        return "has a weight that is computed; torch.nn.utils.parametrize.remove_parametrizations makes it a plain one"
    return ""


def _parted(module: nn.Module, member: Member) -> bool:
    """Tell whether the group's filters are parts of blocks that can only go as wholes."""
    return blocks_of(module) > 1 and not whole_blocks(module, member, 1)


def _kind(module: Any) -> str:
    if isinstance(module, nn.modules.conv._ConvNd):
        return f"grouped convolution, {module.groups} groups"
    return f"GroupNorm, {module.num_groups} groups" if isinstance(module, nn.GroupNorm) else type(module).__name__


def _group(network: nn.Module, name: str, width: int, members: list[Member], convs: list[str], trace: Trace) -> Group:
    norms = tuple(trace.norm.get(conv, "") for conv in convs)
    sites = tuple(site for site in trace.sites if set(site.convolutions) & set(convs))
    full = [conv for conv in convs if not is_depthwise(network.get_submodule(conv))]
    tied = any(m.side == "out" and isinstance(network.get_submodule(m.module), ZeroPadShortcut) for m in members)
    return Group(
        name=name,
        width=width,
        convolutions=tuple(convs),
        norms=norms,
        sites=sites,
        members=tuple(members),
        stage=_stage(convs[0], trace),
        inner=len(full) == 1 and not tied,
    )


def _stage(conv: str, trace: Trace) -> str:
    sizes = [trace.output_shape[name][2:] for name in trace.order if len(trace.output_shape[name]) == 4]
    distinct = sorted({size[0] * size[1] for size in sizes}, reverse=True)
    height, width = trace.output_shape[conv][2:]
    return f"stage{distinct.index(height * width) + 1}"
