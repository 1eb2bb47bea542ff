"""What a forward pass multiplies: every convolution and matrix product, whoever calls it, as torch dispatches it.

Modules are what pruning slices, but not all that costs: weights that are computed (weight norm, standardisation),
`F.conv2d` on a parameter, blur pooling and attention multiply as well. Counted is what torch's own counter counts
(torch.utils.flop_counter), one multiply-accumulate as one FLOP.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten


@dataclass(frozen=True)
class Operator:
    """One call: its multiply-accumulates are the product of its sizes.

    sizes: of a convolution (positions of the whole batch, kernel, input channels a weight sees, output channels), of a
    matrix product (batch, rows, inner, columns). weight: module path of the plain weight that it applies, "" where the
    operands are computed or no module's own.
    """

    sizes: tuple[int, ...]
    weight: str = ""

    @property
    def flops(self) -> int:
        """Multiply-accumulates of the whole batch."""
        return math.prod(self.sizes)


WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear)


class OperatorCounter(TorchDispatchMode):
    """Inside this context, `found` lists the multiplying operators of a network in the order of their calls.

    A convolution or linear layer owns a call with its weight, and, while it runs, one with a weight that it makes from
    its own (weight standardisation).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.found: list[Operator] = []
        self._layers = {path: one for path, one in network.named_modules() if isinstance(one, WEIGHTED)}
        weights = {path: one._parameters.get("weight") for path, one in self._layers.items()}
        self._weights = {path: one for path, one in weights.items() if one is not None}
        # Of layers that share a weight the first owns it.
        self._owners = {storage_of(self._weights[path]): path for path in reversed(self._weights)}
        self._running: list[str] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> Self:
        for path, layer in self._layers.items():
            self._hooks.append(layer.register_forward_pre_hook(lambda *given, path=path: self._running.append(path)))
            self._hooks.append(layer.register_forward_hook(lambda *given: self._running.pop() and None))
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        sizes = SIZES.get(func._overloadpacket)
        if sizes is not None:
            found = sizes(args, output)
            self.found.append(Operator(found, self._owner(args, found)))
        return output

    def _owner(self, args: tuple[Any, ...], sizes: tuple[int, ...]) -> str:
        owners = (self._owners.get(storage_of(one), "") for one in args if isinstance(one, Tensor))
        owner = next((path for path in owners if path), "")
        running = self._running[-1] if self._running else ""
        own = not owner and running in self._weights and math.prod(sizes[1:]) == self._weights[running].numel()
        return running if own else owner


@contextlib.contextmanager
def composed_attention() -> Iterator[None]:
    """Keep torch from running attention in evaluation as one operator of its own, in which nothing can be counted."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class MemoryRead(TorchDispatchMode):
    """Inside this context, `storages` holds the memory of every tensor that an operator of torch is given."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.storages |= {storage_of(one) for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        return func(*args, **(kwargs or {}))


def storage_of(tensor: Tensor) -> int:
    """Return what identifies a tensor's memory, also of views, also on the meta device, where no memory is."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout is torch.strided else 0


def _convolution(args: tuple[Any, ...], output: Tensor) -> tuple[int, ...]:
    given, weight, transposed = args[0], args[1], args[6]
    places = given if transposed else output
    return (len(given) * math.prod(places.shape[2:]), math.prod(weight.shape[2:]), weight.shape[1], weight.shape[0])


def _product(args: tuple[Any, ...], output: Tensor) -> tuple[int, ...]:
    one, other = args[0], args[1]
    batch = math.prod(one.shape[:-2])
    return (batch, one.shape[-2], one.shape[-1], other.shape[-1])


def _attention(args: tuple[Any, ...], output: Tensor) -> tuple[int, ...]:
    query, key, value = args[:3]
    batch, queries, size = math.prod(query.shape[:-2]), query.shape[-2], query.shape[-1]
    return (batch, queries, size + value.shape[-1], key.shape[-2])


SIZES: dict[Any, Callable[[tuple[Any, ...], Tensor], tuple[int, ...]]] = {
    aten.convolution: _convolution,
    aten.mm: _product,
    aten.bmm: _product,
    aten.addmm: lambda args, output: _product(args[1:], output),
    aten.baddbmm: lambda args, output: _product(args[1:], output),
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention: _attention,
    aten._scaled_dot_product_efficient_attention: _attention,
}
