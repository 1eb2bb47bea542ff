"""Slicing: a pruned network is a copy whose tensors were indexed, made in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.compute import moved
from blendsearch.models.shortcuts import ZeroPadShortcut
from blendsearch.structure.copying import copy_with

Sides = Mapping[str, Tensor]
"""Kept indices of a module's output ("out") and input ("in") channels; a side that keeps all is absent."""


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def is_depthwise(module: nn.Module) -> bool:
    """Tell whether a convolution filters each channel by itself."""
    return (
        isinstance(module, CONVOLUTIONS)
        and module.groups > 1
        and module.groups == module.in_channels == module.out_channels
    )


def is_frozen_norm(module: nn.Module) -> bool:
    """Tell a batch norm whose tensors are all buffers, as detectors have (torchvision's FrozenBatchNorm2d)."""
    return not module._parameters and not module._modules and set(module._buffers) == set(NORM_TENSORS)


def passes_channels(module: nn.Module) -> bool:
    """Tell what Torch-Pruning does not know and what hands every channel on to the same one."""
    return is_frozen_norm(module) or isinstance(module, nn.RMSNorm) or is_fixed_filter(module)


def blocks_of(module: nn.Module) -> int:
    """Return of how many equal blocks a module's channels can only go as wholes; 1 for those that may go one by one.

    Grouped convolutions and group norms: a whole block of channels goes, and the convolution or norm has one less.
    """
    if isinstance(module, CONVOLUTIONS):
        return 1 if is_depthwise(module) else int(module.groups)
    return int(module.num_groups) if isinstance(module, nn.GroupNorm) else 1


def normalises_channels(module: nn.Module) -> bool:
    """Tell whether a norm takes its statistics over channels that may go one by one."""
    return isinstance(module, nn.LayerNorm | nn.RMSNorm) or (
        isinstance(module, nn.GroupNorm) and module.num_groups == 1
    )


def tensor_dims(module: nn.Module) -> dict[str, dict[str, int]] | None:
    """Return, for each tensor of a module, which dimension holds its "out" and "in" channels.

    None for a module that cannot be sliced (grouped transposed convolutions, anything unknown). The input channels of
    a grouped convolution go with its output channels, block by block (`blocks_of`).
    """
    channel = {"out": 0}
    if isinstance(module, CONVOLUTIONS):
        own = {} if type(module) in CONVOLUTIONS else dict.fromkeys(_scales(module), channel)
        return {**own, "weight": {"out": 0, "in": 1} if module.groups == 1 else channel, "bias": channel}
    if isinstance(module, TRANSPOSED):
        return {"weight": {"out": 1, "in": 0}, "bias": channel} if module.groups == 1 else None
    if isinstance(module, nn.Linear):
        return {"weight": {"out": 0, "in": 1}, "bias": channel}
    if isinstance(module, nn.modules.batchnorm._NormBase) or is_frozen_norm(module):
        return dict.fromkeys(NORM_TENSORS, channel)
    if isinstance(module, nn.LayerNorm | nn.RMSNorm) and len(module.normalized_shape) == 1:
        return {"weight": channel, "bias": channel}
    if isinstance(module, nn.GroupNorm):
        return {"weight": channel, "bias": channel}
    if isinstance(module, nn.PReLU):
        return {"weight": channel} if module.num_parameters > 1 else {}
    if isinstance(module, ZeroPadShortcut):
        return {"source": channel}
    return dict.fromkeys(module._buffers, channel) if is_fixed_filter(module) else None


def _scales(convolution: Any) -> list[str]:
    """Return the names of a user's convolution's further tensors that have one number for each output channel."""
    tensors = {**convolution._parameters, **convolution._buffers}
    shape = (convolution.out_channels, *[1] * (convolution.weight.dim() - 1))
    return [name for name, one in tensors.items() if one is not None and tuple(one.shape) in (shape, shape[:1])]


def is_fixed_filter(module: Any) -> bool:
    """Tell a module that filters every channel with a buffer of its own, such as blur pooling, by what it holds."""
    channels = getattr(module, "channels", None)
    return (
        isinstance(channels, int)
        and not (module._parameters or module._modules)
        and len(module._buffers) > 0
        and all(
            one is not None and one.dim() > 1 and one.shape[:2] == (channels, 1) for one in module._buffers.values()
        )
    )


def channels_first(module: nn.Module, tensor: Tensor, side: str, name: str = "weight") -> Tensor:
    """Return a tensor of the shape of the module's `name` with its "out" or "in" channels moved to the front."""
    dim = (tensor_dims(module) or {name: {"out": 0, "in": 1}})[name][side]
    return tensor.movedim(dim, 0)


def _set_sizes(module: Any, sides: Sides) -> None:
    """Make a module's declared sizes agree with its tensors."""
    if isinstance(module, CONVOLUTIONS):
        size = module.out_channels // module.groups
        module.out_channels = module.weight.shape[0]
        module.groups = module.groups if module.groups == 1 else module.out_channels // size
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, TRANSPOSED):
        module.in_channels, module.out_channels = module.weight.shape[:2]
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.normalized_shape = (len(sides["out"]),)
    elif isinstance(module, nn.GroupNorm):
        size = module.num_channels // module.num_groups
        module.num_channels = len(sides["out"])
        module.num_groups = 1 if module.num_groups == 1 else module.num_channels // size
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.numel()
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        module.num_features = len(sides["out"])
    elif hasattr(module, "channels"):  # a fixed filter, see is_fixed_filter
        module.channels = len(sides["out"])
    elif isinstance(module, ZeroPadShortcut):
        module.out_channels = len(module.source)
        module.in_channels = len(sides["in"]) if "in" in sides else module.in_channels


def beside(network: nn.Module, kept: Mapping[str, Sides]) -> Mapping[str, Sides]:
    """Return a table of kept indices on the device of the network; all are copied at once."""
    places = [(path, side) for path, sides in kept.items() for side in sides]
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    found: dict[str, dict[str, Tensor]] = {path: {} for path in kept}
    for (path, side), index in zip(places, moved([kept[path][side] for path, side in places], device), strict=True):
        found[path][side] = index
    return found


def _slice_shortcut(module: ZeroPadShortcut, sides: Sides) -> Tensor:
    """Return the new source table: rows of kept outputs, renumbered to kept inputs, -1 for inputs that left."""
    source = module.source
    if "out" in sides:
        source = source[sides["out"].to(source.device)]
    if "in" in sides:
        # The last entry serves -1.
        position = torch.full((module.in_channels + 1,), -1, dtype=torch.long, device=source.device)
        position[sides["in"].to(source.device)] = torch.arange(len(sides["in"]), device=source.device)
        source = position[source]
    return source


def sliced_copy(
    network: nn.Module, kept: Mapping[str, Sides], parameters: Mapping[str, tuple[int, Tensor]]
) -> nn.Module:
    """Copy `network` keeping only the channels in `kept[module path]`; the given network is not changed.

    parameters: free-standing parameters, path -> (dimension, kept indices). Gradients are not copied.
    """

    dims: dict[str, Mapping[str, Mapping[str, int]]] = {}

    def change(path: str, name: str, tensor: Tensor, module: nn.Module) -> Tensor:
        sides = kept.get(path)
        if sides and isinstance(module, ZeroPadShortcut):
            return _slice_shortcut(module, sides)
        full = f"{path}.{name}" if path else name
        if full in parameters:
            dim, index = parameters[full]
            return tensor.index_select(dim, index.to(tensor.device))
        if not sides:
            return tensor.clone()
        if path not in dims:
            dims[path] = tensor_dims(module) or {}
        result = tensor
        for side, dim in dims[path].get(name, {}).items():
            if side in sides:
                result = result.index_select(dim, sides[side].to(tensor.device))
        return tensor.clone() if result is tensor else result

    result = copy_with(network, change)
    modules = dict(result.named_modules())
    for path, sides in kept.items():
        _set_sizes(modules[path], sides)
    return result


def side_size(module: Any, side: str) -> int:
    """Return how many channels a module has on its "out" or "in" side."""
    if isinstance(module, ZeroPadShortcut):
        return module.out_channels if side == "out" else module.in_channels
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return module.num_features  # there may be no tensor at all
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return module.normalized_shape[0]
    dims = tensor_dims(module) or {}
    name = next(n for n in dims if getattr(module, n, None) is not None and side in dims[n])
    return int(getattr(module, name).shape[dims[name][side]])
