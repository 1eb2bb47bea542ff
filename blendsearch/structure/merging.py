"""Merging: the tensors of a pruned copy are written back into the network it was sliced from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from blendsearch.errors import StructureError
from blendsearch.models.shortcuts import ZeroPadShortcut
from blendsearch.structure.slicing import Sides, tensor_dims


def merge_into(
    network: nn.Module, sliced: nn.Module, kept: Mapping[str, Sides], parameters: Mapping[str, tuple[int, Tensor]]
) -> None:
    """Undo `sliced_copy` with the same tables, in place: kept entries come from the copy, the others stay.

    Buffers go along (batch-norm statistics); the source tables of zero-padding shortcuts say where channels lie, hence
    stay. Raises StructureError when a tensor of the copy has not the shape that the tables give it.
    """
    small = dict(_tensors(sliced))
    with torch.no_grad():
        for path, module in network.named_modules():
            if isinstance(module, ZeroPadShortcut):
                continue
            for full, tensor in _tensors(module, path, recurse=False):
                index = _index(path, full, module, kept, parameters)
                _write(full, tensor, small[full], index)


def _tensors(module: nn.Module, path: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
    """Yield every parameter and buffer under its full name; one that has several names under each of them."""
    yield from module.named_parameters(path, recurse, remove_duplicate=False)
    yield from module.named_buffers(path, recurse, remove_duplicate=False)


def _index(
    path: str, full: str, module: nn.Module, kept: Mapping[str, Sides], parameters: Mapping[str, tuple[int, Tensor]]
) -> dict[int, Tensor]:
    """Return dimension -> kept indices of one tensor; dimensions that lose nothing are absent."""
    if full in parameters:
        return dict([parameters[full]])
    dims = (tensor_dims(module) or {}).get(full.rpartition(".")[2], {})
    return {dim: kept[path][side] for side, dim in dims.items() if side in kept.get(path, {})}


def _write(name: str, target: Tensor, source: Tensor, index: Mapping[int, Tensor]) -> None:
    expected = tuple(len(index[dim]) if dim in index else size for dim, size in enumerate(target.shape))
    if tuple(source.shape) != expected:
        raise StructureError(
            f"merge: '{name}' has shape {tuple(source.shape)} in the pruned network, {expected} under the plan"
        )
    source = source.detach().to(target.device, target.dtype)
    if not index:
        target.copy_(source)
        return
    places = [index.get(dim, torch.arange(size)).to(target.device) for dim, size in enumerate(target.shape)]
    target[torch.meshgrid(*places, indexing="ij")] = source
