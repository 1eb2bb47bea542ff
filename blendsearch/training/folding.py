"""Batch norms folded into the convolutions that they follow: the same network in evaluation mode, in fewer steps.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
CVPR 2018, section 3.2.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from blendsearch.structure.trace import Trace
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
            layer, norm = network.get_submodule(name), network.get_submodule(norm_name)
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None
                assert norm.running_var is not None
                layer.weight, layer.bias = fuse_conv_bn_weights(
                    layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                )
                parent, _, leaf = norm_name.rpartition(".")
                setattr(network.get_submodule(parent), leaf, nn.Identity())


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
