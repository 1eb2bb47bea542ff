"""Copies of networks: what `copy.deepcopy` gives, without its walk through all that modules hold and hardly use."""

from __future__ import annotations

import copy
import copyreg
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

SAME = frozenset({type(None), bool, int, float, complex, str, bytes, type, types.FunctionType, torch.dtype})
"""Types whose values deepcopy hands on as they are."""


def copy_with(network: nn.Module, change: Callable[[str, str, Tensor, nn.Module], Tensor]) -> nn.Module:
    """Deep-copy a network, replacing each tensor by `change(module path, tensor name, tensor, module)`.

    The new tensors are given to the copy as already copied, so that no full-size tensor is duplicated first.
    """
    memo: dict[int, Any] = {}
    with torch.no_grad():
        for path, module in network.named_modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and id(parameter) not in memo:
                    new = change(path, name, parameter.detach(), module)
                    memo[id(parameter)] = nn.Parameter(new, requires_grad=parameter.requires_grad)
            for name, buffer in module._buffers.items():
                if buffer is not None and id(buffer) not in memo:
                    memo[id(buffer)] = change(path, name, buffer.detach(), module)
    copied: nn.Module = deep_copy(network, memo)
    return copied


def deep_copy(value: Any, memo: dict[int, Any]) -> Any:
    """Return what `copy.deepcopy(value, memo)` does, faster where it is a module or what modules are made of."""
    kind: Any = type(value)
    if kind in SAME:
        return value
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, nn.Module) and _copied_by_its_state(kind):
        return _copy_module(value, memo)
    if kind is tuple and all(type(one) in SAME for one in value):
        return value
    if kind is dict or kind is OrderedDict:
        found = memo[id(value)] = kind()
        if value:  # most are empty: hooks that nobody registered
            found.update(_entries(value, memo))
        return found
    if (kind is list or kind is set) and all(type(one) in SAME for one in value):
        memo[id(value)] = kind(value)
        return memo[id(value)]
    return copy.deepcopy(value, memo)


def _copy_module(module: nn.Module, memo: dict[int, Any]) -> Any:
    kind: Any = type(module)
    found = memo[id(module)] = kind.__new__(kind)
    given = module.__getstate__() if hasattr(module, "__getstate__") else vars(module)
    found.__setstate__(dict(_entries(given, memo)))
    return found


def _entries(given: dict[Any, Any], memo: dict[int, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the copies of a mapping's keys and values; what is handed on as it is takes no call."""
    for key, value in given.items():
        yield (
            key if type(key) is str else deep_copy(key, memo),
            value if type(value) in SAME else deep_copy(value, memo),
        )


@cache
def _copied_by_its_state(kind: type) -> bool:
    """Tell whether deepcopy makes a new instance of a class and gives it a copy of its `__dict__`, and no more."""
    usual = all(
        getattr(kind, name, None) is getattr(object, name, None)
        for name in ("__new__", "__reduce__", "__reduce_ex__", "__deepcopy__", "__getnewargs__")
    )
    usual = usual and getattr(kind, "__getstate__", None) is getattr(nn.Module, "__getstate__", None)
    own = hasattr(kind, "__getnewargs_ex__") or kind in copyreg.dispatch_table
    return usual and not own
