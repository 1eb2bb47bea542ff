"""Networks in the one form that all measures take: float32, and every weight a parameter of its own."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils import parametrize

from blendsearch.compute import in_float32


def with_plain_weights(network: nn.Module) -> nn.Module:
    """Return the network itself, or a float32 copy where it has other numbers, or weights that are computed.

    Weights computed from other parameters (weight norm, spectral norm) become parameters, of the values that they
    have in evaluation mode: what a filter's weights are, and how the loss answers to them, can then be asked.
    """
    network = in_float32(network)
    if not any(parametrize.is_parametrized(module) for module in network.modules()):
        return network
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        if parametrize.is_parametrized(module):
            _settle(module)
    return network


def _settle(module: nn.Module) -> None:
    # Not torch's own `remove_parametrizations`: it changes the class, which a copy shares with its original.
    values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}  # type: ignore[union-attr]
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module._modules["parametrizations"]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))
