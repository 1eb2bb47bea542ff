"""Torch-Pruning's dependency graph of a network; apart, since that package takes as long to import as torch does."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from blendsearch.errors import StructureError
from blendsearch.models.shortcuts import ZeroPadShortcut
from blendsearch.structure.example import Example
from blendsearch.structure.slicing import passes_channels, side_size


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


class _NormPruner(tp.pruner.function.BasePruningFunc):
    """Tells Torch-Pruning that what goes in at a channel of a norm comes out at the same one."""

    def prune_out_channels(self, layer: nn.Module, idxs: Any) -> nn.Module:
        raise NotImplementedError("blendsearch slices networks itself")

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: nn.Module) -> int:
        return side_size(layer, "out")

    get_in_channels = get_out_channels


def dependency_graph(network: nn.Module, example: Example, *, training: bool = False) -> Any:
    """Build Torch-Pruning's graph; `network` should be a copy, its parameters all get requires_grad.

    training: run it in training mode, in which networks with auxiliary heads run more layers.
    """
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    unknown = {type(one) for one in network.modules() if passes_channels(one)}
    # Efficient channel attention convolves over channels: for the graph a function like any other, not one channel.
    over_channels = [
        one for one in network.modules() if isinstance(one, nn.Conv1d) and one.in_channels == one.out_channels == 1
    ]
    pruners: dict[Any, Any] = {ZeroPadShortcut: _ShortcutPruner(), **{kind: _NormPruner() for kind in unknown}}

    def outputs(model: nn.Module, given: Example) -> list[Tensor]:
        found = given.outputs(model.train(training))
        model.eval()
        followed = [one for one in found if one.grad_fn is not None]
        _check_transparent(followed)
        return followed

    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        try:
            return tp.DependencyGraph().build_dependency(
                network,
                example,
                forward_fn=outputs,
                customized_pruners=pruners,
                ignored_layers=over_channels,
                verbose=False,
            )
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind = type(network).__name__
            raise StructureError(
                f"{kind}: Torch-Pruning's dependency graph cannot follow this network "
                f"({type(error).__name__}: {error}); channel shuffles by reshaping are a known cause"
            ) from error


def _check_transparent(outputs: list[Tensor]) -> None:
    """Raise StructureError where a reentrant checkpoint, whose inside autograd does not see, leads to the outputs."""
    open_nodes: list[Any] = [one.grad_fn for one in outputs]
    seen = set(open_nodes)
    while open_nodes:
        node = open_nodes.pop()
        if type(node).__name__ == "CheckpointFunctionBackward":
            raise StructureError(
                "gradient checkpointing with use_reentrant=True hides the layers that it covers; turn it off for "
                "scoring and pruning"
            )
        further = {one for one, _ in node.next_functions if one is not None} - seen
        seen |= further
        open_nodes += further
