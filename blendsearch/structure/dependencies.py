"""Torch-Pruning's dependency graph of a network; apart, since that package takes as long to import as torch does."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from blendsearch.errors import StructureError
from blendsearch.models.shortcuts import ZeroPadShortcut


class _ShortcutPruner(tp.pruner.function.BasePruningFunc):
    """Tells Torch-Pruning that the two sides of a ZeroPadShortcut are independent, as in a convolution."""

    def prune_out_channels(self, layer: ZeroPadShortcut, idxs: Any) -> nn.Module:
        raise NotImplementedError("blendsearch slices networks itself")

    def prune_in_channels(self, layer: ZeroPadShortcut, idxs: Any) -> nn.Module:
        raise NotImplementedError("blendsearch slices networks itself")

    def get_out_channels(self, layer: ZeroPadShortcut) -> int:
        return layer.out_channels

    def get_in_channels(self, layer: ZeroPadShortcut) -> int:
        return layer.in_channels


def dependency_graph(network: nn.Module, example: Tensor) -> Any:
    """Build Torch-Pruning's graph; `network` should be a copy, its parameters all get requires_grad."""
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        try:
            return tp.DependencyGraph().build_dependency(
                network, example, customized_pruners={ZeroPadShortcut: _ShortcutPruner()}, verbose=False
            )
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind = type(network).__name__
            raise StructureError(
                f"{kind}: Torch-Pruning's dependency graph cannot follow this network "
                f"({type(error).__name__}: {error}); channel shuffles by reshaping are a known cause"
            ) from error
