"""Batch norms folded into the convolutions that they follow: the same network in evaluation mode, in fewer steps.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
CVPR 2018, section 3.2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.structure.trace import NORMS, Trace
from blendsearch.training.evaluation import evaluating

TOLERANCE = 1e-3
"""Largest deviation of the folded network's answers, over their standard deviation, that rounding may explain."""


def foldable_norms(network: nn.Module, trace: Trace, images: Tensor) -> dict[str, str]:
    """Return convolution -> batch norm that can be folded into it; none where the answers for images then differ.

    images: a few, normalised, [N, C, H, W]. Both modules must be torch's own and be called once, and no hook may look
    at what they give. Whatever else a network does with them, such as reading the norm's weights, shows in its answers.
    """
    found = {name: norm for name, norm in trace.norm.items() if _plain(network, trace, name, norm)}
    if not found:
        return {}
    images = images.to(next(network.parameters()).device)
    plain = copy.deepcopy(network).float()
    with torch.no_grad(), evaluating(plain):
        wanted = plain(images)
        fold_norms(plain, found)
        try:
            given = plain(images)
        except Exception:  # whatever a network does that asks more of a norm than to be called
            return {}
    same = isinstance(given, Tensor) and isinstance(wanted, Tensor) and given.shape == wanted.shape
    return found if same and _close(given, wanted) else {}


def fold_norms(network: nn.Module, norms: Mapping[str, str]) -> None:
    """Fold batch norms, by the name of the convolution that they follow, in place; those that are folded stay so."""
    with torch.no_grad():
        for name, norm_name in norms.items():
            fold_norm(network, name, norm_name)


def fold_norm(network: nn.Module, path: str, norm_path: str) -> Callable[[], None]:
    """Fold a batch norm into the layer before it, in place, and return what undoes it; what cannot be folded stays."""
    layer: Any = network.get_submodule(path)
    norm: Any = network.get_submodule(norm_path)
    foldable = isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear) and isinstance(norm, NORMS)
    plain = "weight" in layer._parameters  # one that is computed from others cannot be set
    if not foldable or not plain or norm.running_mean is None or norm.running_var is None:
        return lambda: None
    weight, bias = layer.weight, layer.bias
    scale = (norm.running_var + norm.eps).rsqrt() * (1.0 if norm.weight is None else norm.weight)
    shift = (0.0 if bias is None else bias) - norm.running_mean
    layer.weight = nn.Parameter(weight * scale.reshape(-1, *[1] * (weight.dim() - 1)), requires_grad=False)
    layer.bias = nn.Parameter(shift * scale + (0.0 if norm.bias is None else norm.bias), requires_grad=False)
    restore = _without_norm(network, norm_path)

    def undo() -> None:
        layer.weight, layer.bias = weight, bias
        restore()

    return undo


def _without_norm(network: nn.Module, path: str) -> Callable[[], None]:
    """Make a batch norm do nothing, and return what undoes it; what a subclass does besides, it still does."""
    norm: Any = network.get_submodule(path)
    if type(norm).forward is nn.modules.batchnorm._BatchNorm.forward:
        network.set_submodule(path, nn.Identity())
        return lambda: network.set_submodule(path, norm)
    kept = norm.eps, norm.running_mean, norm.running_var, norm.weight, norm.bias
    norm.eps, norm.running_mean = 0.0, torch.zeros_like(norm.running_mean)  # x / sqrt(1 + 0), to the last digit
    norm.running_var, norm.weight, norm.bias = torch.ones_like(norm.running_var), None, None

    def undo() -> None:
        norm.eps, norm.running_mean, norm.running_var, norm.weight, norm.bias = kept

    return undo


def _plain(network: nn.Module, trace: Trace, name: str, norm_name: str) -> bool:
    layer, norm = network.get_submodule(name), network.get_submodule(norm_name)
    if type(layer) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d or norm.running_mean is None:
        return False
    once = trace.calls[name] == trace.calls[norm_name] == 1
    hooks = (one._forward_hooks or one._forward_pre_hooks for one in (layer, norm))
    return once and "weight" in layer._parameters and not any(hooks)


def _close(given: Tensor, wanted: Tensor) -> bool:
    given, wanted = given.float(), wanted.float()
    deviation = (given - wanted).abs().max()
    return bool(deviation <= TOLERANCE * wanted.std(unbiased=False).clamp(min=1e-12))
