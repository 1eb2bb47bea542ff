"""Groups of filters that must go together, from Torch-Pruning's dependency graph, checked by running the network."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.models.shortcuts import ZeroPadShortcut
from blendsearch.structure.slicing import is_depthwise, tensor_dims
from blendsearch.structure.trace import CONVOLUTIONS, Site, Trace


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


@dataclass(frozen=True)
class Group:
    """Filters coupled across layers; filter `j` is output channel `j` of each of its convolutions.

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


def find_groups(network: nn.Module, example: Tensor, trace: Trace) -> tuple[list[Group], dict[str, str]]:
    """Return the groups in forward order, and the refused ones: convolution -> reason.

    network: a copy in evaluation mode, see `dependency_graph`. Grouped (not depthwise) convolutions and modules
    whose channels cannot be indexed make a group refused, by name.
    """
    from blendsearch.structure.dependencies import dependency_graph  # slow to import; workers find no groups

    graph = dependency_graph(network, example)
    names = {module: name for name, module in network.named_modules()}
    groups: list[Group] = []
    refused: dict[str, str] = {}
    seen: set[str] = set()
    for name in trace.order:
        module = network.get_submodule(name)
        if not isinstance(module, CONVOLUTIONS) or name in seen:
            continue
        if module not in graph.module2node:
            refused[name] = "its output does not reach the network's output"
            continue
        pruner = graph.get_pruner_of_module(module)
        raw = graph.get_pruning_group(module, pruner.prune_out_channels, list(range(module.out_channels)))
        members = list(_members(graph, raw, names))
        convs = _producers(network, members, module.out_channels, trace)
        seen.update(convs, _followers(network, members))
        reason = _objection(network, members, convs, module.out_channels, trace)
        if reason:
            refused[name] = reason
        else:
            groups.append(_group(network, name, module.out_channels, members, convs, trace))
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
    return sorted(names, key=trace.order.index)


def _followers(network: nn.Module, members: Iterable[Member]) -> list[str]:
    return [m.module for m in members if m.side == "out" and is_depthwise(network.get_submodule(m.module))]


def _is_whole(module: Any, member: Member, width: int) -> bool:
    return module.out_channels == width and member.index == member.root == tuple(range(width))


def _objection(network: nn.Module, members: list[Member], convs: list[str], width: int, trace: Trace) -> str:
    """Return why a group cannot be pruned, or an empty string."""
    for member in members:
        if member.side == "parameter":
            continue
        module = network.get_submodule(member.module)
        if tensor_dims(module) is None:
            kind = type(module).__name__
            if isinstance(module, nn.Conv2d):
                kind = f"grouped convolution, {module.groups} groups"
            return f"'{member.module}' ({kind}) cannot lose single channels"
        if trace.calls.get(member.module, 0) > 1:
            return f"'{member.module}' is called {trace.calls[member.module]} times in one forward pass"
        if member.side == "out" and isinstance(module, nn.Linear):
            return f"it is coupled to the outputs of the linear layer '{member.module}'"
    for member in members:
        if len({member.root.count(filter) for filter in range(width)}) > 1 and member.side != "out":
            return f"'{member.module}' reads its filters unevenly"
        made_here = member.module in convs and member.side == "out"
        if made_here and not _is_whole(network.get_submodule(member.module), member, width):
            return f"only part of the channels of '{member.module}' are its filters (concatenation mixed with addition)"
    return ""


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


def masked_copy(network: nn.Module, group: Group, dropped: Iterable[int]) -> nn.Module:
    """Return a copy in which everything that belongs to the dropped filters is zero, at full size.

    Sliced and masked networks compute the same function when the coupling was understood; that is the check.
    """
    result = copy.deepcopy(network)
    gone = set(dropped)
    with torch.no_grad():
        for member in group.members:
            lost = [i for i, r in zip(member.index, member.root, strict=True) if r in gone]
            index = torch.tensor(lost, dtype=torch.long)
            if member.side == "parameter":
                result.get_parameter(member.module).index_fill_(member.dim, index, 0.0)
            else:
                _zero(result.get_submodule(member.module), member.side, index)
    return result


def _zero(module: nn.Module, side: str, index: Tensor) -> None:
    if isinstance(module, ZeroPadShortcut):
        if side == "out":
            module.source.index_fill_(0, index, -1)
        else:
            module.source[torch.isin(module.source, index)] = -1
        return
    for name, dims in (tensor_dims(module) or {}).items():
        tensor = getattr(module, name, None)
        if tensor is not None and side in dims:
            tensor.index_fill_(dims[side], index.to(tensor.device), 1.0 if name == "running_var" else 0.0)
