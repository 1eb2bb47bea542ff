"""Networks as they are given: what cannot be read is refused in one line, everything else is read from a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from blendsearch.errors import StructureError, blame
from blendsearch.structure.copying import copy_with
from blendsearch.structure.example import FAILURES, Example
from blendsearch.structure.operators import WEIGHTED, MemoryRead, composed_attention, storage_of
from blendsearch.structure.trace import Trace

COMPUTED = {
    "weight_orig": "a mask of torch.nn.utils.prune or a spectral norm; prune.remove or remove_spectral_norm",
    "weight_g": "a weight norm of the old kind; torch.nn.utils.remove_weight_norm",
}
"""Parameter that stands for a weight worked out at every call -> what it is, and what makes the weight a plain one."""


def check_network(network: Any) -> None:
    """Raise StructureError for what is no network, or one that cannot be copied, sliced or scored."""
    kind = type(network).__name__
    if not isinstance(network, nn.Module):
        raise StructureError(f"network: {kind} given, a torch.nn.Module expected")
    if isinstance(network, torch.jit.ScriptModule):
        raise StructureError(
            "network: a scripted module given, which has no modules to slice; give the one it was made of"
        )
    if hasattr(network, "_orig_mod"):
        raise StructureError("network: a compiled module given; give the one that torch.compile was called with")
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise StructureError(f"network: a {kind} given; give the network in it, its attribute 'module'")
    for mode in ("eval", "train"):
        if getattr(type(network), mode) is not getattr(nn.Module, mode) and not _gives_itself(network, mode):
            raise StructureError(f"network: {kind}.{mode}() gives something else than the network itself")
    for name, module in network.named_modules():
        for attribute, remedy in COMPUTED.items():
            if attribute in module._parameters:
                raise StructureError(
                    f"network: '{name}' has {remedy} makes its weight a plain one, which can be copied"
                )
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
            raise StructureError(f"network: '{name}' is not made before the first forward pass; run the network once")
        if tensor.is_complex():
            raise StructureError(f"network: '{name}' holds complex numbers, real ones expected")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.detach()).all()):
            raise StructureError(f"network: '{name}' holds values that are not finite (nan or infinity)")


def _gives_itself(network: nn.Module, mode: str) -> bool:
    """Tell whether a network's own eval() or train() gives the network, as torch's do; it is left as it was."""
    flags = {module: module.training for module in network.modules()}
    try:
        return getattr(network, mode)() is network
    except Exception as error:
        raise StructureError(f"network: {type(network).__name__}.{mode}() raised {blame(error)}") from error
    finally:
        for module, training in flags.items():
            module.training = training


def float_copy(network: nn.Module) -> nn.Module:
    """Return a copy on the CPU in float32, in evaluation mode; raise StructureError when there can be none."""

    def plain(path: str, name: str, tensor: Tensor, module: nn.Module) -> Tensor:
        return tensor.to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)

    try:
        copied = copy_with(network, plain)
        copied.eval()
    except Exception as error:
        raise StructureError(
            f"{type(network).__name__}: the network cannot be copied ({blame(error)}); an attribute that "
            "copy.deepcopy does not take can be left out by its own __deepcopy__ or kept outside the network"
        ) from error
    return copied


def detached(example: Example) -> Example:
    """Return the example on the CPU, in float32 where it holds fractions, apart from any graph or inference mode."""
    alone = example.map(lambda one: one.detach().clone().to("cpu"))
    return alone.map(lambda one: one.float() if one.is_floating_point() else one)


def layers_left_out(network: nn.Module, example: Example, trace: Trace) -> list[str]:
    """Return the layers with weights that do not run in evaluation: those of an auxiliary head, most likely.

    Those are not among them that others read the weights of, as attention does.
    """
    idle = [path for path, one in network.named_modules() if isinstance(one, WEIGHTED) and path not in trace.calls]
    return _idle(network, example, idle) if idle else []


def left_out_of_training(network: nn.Module, example: Example, layers: Sequence[str]) -> list[str] | None:
    """Return those of the layers that do not run in training mode either.

    None where that mode cannot be run on the example, whose images may be too small for an auxiliary head.
    """
    try:
        return _idle(float_copy(network).train(), example, layers)
    except FAILURES:
        return None


def _idle(network: nn.Module, example: Example, layers: Sequence[str]) -> list[str]:
    """Return those of the layers none of whose parameters is read when the network runs."""
    with torch.no_grad(), composed_attention(), MemoryRead() as read:
        example.outputs(network)
    own = {path: {storage_of(one) for one in network.get_submodule(path).parameters()} for path in layers}
    return [path for path in layers if own[path].isdisjoint(read.storages)]
