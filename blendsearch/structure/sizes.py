"""What a sliced network is beside its tensors: the sizes its modules declare, and the buffers no state dict holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from blendsearch.structure.copying import copy_with
from blendsearch.structure.slicing import CONVOLUTIONS, tensor_dims

DECLARED = (
    "in_channels", "out_channels", "groups", "in_features", "out_features", "num_features", "normalized_shape",
    "num_channels", "num_groups", "num_parameters", "channels",
)  # fmt: skip
"""Attributes in which modules say how many channels they have; `slicing` changes no others."""

Sizes = Mapping[str, Mapping[str, Any]]
"""Module path -> attribute -> an integer, or several."""


def declared_sizes(network: nn.Module) -> dict[str, dict[str, int | list[int]]]:
    """Return what the modules that can be sliced say of their channels, whether or not they have lost any."""
    result = {}
    for path, module in network.named_modules():
        own = {name: vars(module)[name] for name in DECLARED if name in vars(module)} if tensor_dims(module) else {}
        if own:
            result[path] = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
    return result


def size_contradicted(network: nn.Module) -> str:
    """Return a convolution or linear layer whose weight is of other sizes than it declares, in words; "" for none."""
    for path, module in network.named_modules():
        if isinstance(module, CONVOLUTIONS):
            declared = (module.out_channels, module.in_channels / module.groups)
        elif isinstance(module, nn.Linear):
            declared = (module.out_features, module.in_features)
        else:
            continue
        if tuple(module.weight.shape[:2]) != declared:
            return f"'{path}' has a weight of {tuple(module.weight.shape)}"
    return ""


def unsaved_buffers(network: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that slicing changes and a state dict leaves out (they are not persistent), by their keys."""
    saved = network.state_dict()
    result = {}
    for path, module in network.named_modules():
        for name in tensor_dims(module) or {}:
            buffer, key = module._buffers.get(name), f"{path}.{name}" if path else name
            if buffer is not None and key not in saved:
                result[key] = buffer.detach()
    return result


def resized_copy(network: nn.Module, sizes: Sizes, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Copy `network` with other tensors, of whatever shape, and the declared sizes that go with them.

    tensors: by the keys of the state dict, and those of `unsaved_buffers`; what is not among them is copied as it is.
    """

    def change(path: str, name: str, tensor: Tensor, module: nn.Module) -> Tensor:
        return tensors.get(f"{path}.{name}" if path else name, tensor).clone()

    result = copy_with(network, change)
    for path, own in sizes.items():
        module = result.get_submodule(path)
        for name, value in own.items():
            setattr(module, name, tuple(value) if isinstance(value, list) else value)
    return result
