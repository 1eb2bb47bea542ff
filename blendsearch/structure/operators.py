"""What a forward pass multiplies: every convolution and matrix product, whoever calls it, as torch dispatches it.

Modules are what pruning slices, but not all that costs: weights that are computed (weight norm, standardisation),
`F.conv2d` on a parameter, blur pooling and attention multiply as well. Counted is what torch's own counter counts
(torch.utils.flop_counter), one multiply-accumulate as one FLOP.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


@dataclass(frozen=True)
class Operator:
    """One call: its multiply-accumulates are the product of its sizes.

    sizes: of a convolution (positions of the whole batch, kernel, input channels a weight sees, output channels), of a
    matrix product (batch, rows, inner, columns). weight: module path of the plain weight that it applies, "" where the
    operands are computed or no module's own.
    """

    kind: str
    sizes: tuple[int, ...]
    weight: str = ""

    @property
    def flops(self) -> int:
        """Multiply-accumulates of the whole batch."""
        return math.prod(self.sizes)


class OperatorCounter(TorchDispatchMode):
    """Inside this context, `found` lists the multiplying operators in the order of their calls.

    owners: see `weight_owners`.
    """

    def __init__(self, owners: Mapping[int, str]) -> None:
        super().__init__()
        self.found: list[Operator] = []
        self._owners = owners

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        sizes = SIZES.get(func._overloadpacket)
        if sizes is not None:
            weights = [self._owners.get(_storage(one), "") for one in args if isinstance(one, Tensor)]
            name = next((weight for weight in weights if weight), "")
            self.found.append(Operator(func._overloadpacket.__name__, sizes(args, output), name))
        return output


@contextlib.contextmanager
def composed_attention() -> Iterator[None]:
    """Keep torch from running attention in evaluation as one operator of its own, in which nothing can be counted."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def weight_owners(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> dict[int, str]:
    """Return storage -> module path of the weights of these kinds of modules, as far as they are plain parameters."""
    found: dict[int, str] = {}
    for path, module in network.named_modules():
        weight = module._parameters.get("weight")
        if isinstance(module, kinds) and weight is not None:
            found.setdefault(_storage(weight), path)
    return found


def _storage(tensor: Tensor) -> int:
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
