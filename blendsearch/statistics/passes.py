"""Passes of their own, for quantities that no plain forward-backward pass can give; on few images or on none."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from blendsearch.errors import StructureError
from blendsearch.statistics.labels import check_labels, check_loss
from blendsearch.statistics.layers import convolutions
from blendsearch.statistics.measures import MEASURES
from blendsearch.structure import Structure
from blendsearch.structure.slicing import channels_first
from blendsearch.structure.trace import ACTIVATIONS, PRODUCTS, CallCounter, in_order

Held = Sequence[tuple[Tensor, Tensor]]
"""The first images and labels, on the device, in batches."""


@dataclass(frozen=True)
class Pass:
    """A named quantity with a pass of its own: `run(network, structure, batches)` -> convolution -> [C, ...].

    network: a copy in evaluation mode that requires gradients. limit: how many images it gets; 0 is data-free.
    Raises StructureError where the network does not allow it.
    """

    name: str
    run: Callable[[nn.Module, Structure, Held], dict[str, Tensor]]
    limit: int

    @property
    def uses_gradients(self) -> bool:
        """Whether the common pass must go backward for it; it goes by itself."""
        return False


def own_pass(name: str, limit: int) -> Callable[[Callable[[nn.Module, Structure, Held], dict[str, Tensor]]], Pass]:
    """Register a function (network, structure, batches) -> dict as the measure `name`; usable as a decorator."""

    def add(function: Callable[[nn.Module, Structure, Held], dict[str, Tensor]]) -> Pass:
        entry = Pass(name, function, limit)
        MEASURES.register(name)(entry)
        return entry

    return add


@own_pass("gradients.hessian_gradient", limit=32)
def hessian_gradient(network: nn.Module, structure: Structure, batches: Held) -> dict[str, Tensor]:
    """Hessian of the mean loss times its gradient, over all weights of convolutions and linear layers.

    The gradient first, then the gradient of its product with itself held fixed; two sweeps, so that memory is that of
    one batch. Source: Wang et al., Picking Winning Tickets Before Training (GraSP), ICLR 2020.
    """
    layers = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)}
    weights = [module.get_parameter("weight") for module in layers.values()]
    count = sum(len(labels) for _, labels in batches)
    # Of one batch both sweeps can take one graph; of several, each batch's must be gone before the next.
    total = None if len(batches) == 1 else _gradient(network, batches, weights, count)
    result = [torch.zeros_like(weight) for weight in weights]
    for loss in _losses(network, batches):
        gradients = torch.autograd.grad(loss / count, weights, create_graph=True, materialize_grads=True)
        fixed = [gradient.detach() for gradient in gradients] if total is None else total
        product = sum(((g * t).sum() for g, t in zip(gradients, fixed, strict=True)), loss.new_zeros(()))
        if product.requires_grad:
            _add(result, torch.autograd.grad(product, weights, materialize_grads=True))
    found = dict(zip(layers, result, strict=True))
    return {conv: channels_first(layers[conv], found[conv], "out") for conv in convolutions(structure)}


def _gradient(network: nn.Module, batches: Held, weights: Sequence[Tensor], count: int) -> list[Tensor]:
    total = [torch.zeros_like(weight) for weight in weights]
    for loss in _losses(network, batches):
        _add(total, torch.autograd.grad(loss / count, weights, materialize_grads=True))
    return total


def _losses(network: nn.Module, batches: Held) -> Iterator[Tensor]:
    """Yield the summed loss of each batch where it has a gradient; StructureError where it never has one."""
    with torch.enable_grad():
        for images, labels in batches:
            with _TwiceDifferentiable():
                logits = network(images)
            check_labels(logits, labels)
            check_loss(logits)
            loss = F.cross_entropy(logits.float(), labels, reduction="sum")
            if loss.requires_grad:
                yield loss


def _add(total: list[Tensor], parts: Sequence[Tensor]) -> None:
    for one, part in zip(total, parts, strict=True):
        one += part.detach()


class _TwiceDifferentiable(TorchFunctionMode):
    """Computes the hard sigmoid by functions that have a second derivative; that of torch has but one."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name not in ("hardsigmoid", "hardsigmoid_"):
            return func(*args, **(kwargs or {}))
        given: Tensor = args[0] if args else (kwargs or {})["input"]
        output = (given / 6 + 0.5).clamp(0, 1)
        in_place = name.endswith("_") or (kwargs or {}).get("inplace") or True in args[1:]
        return given.copy_(output) if in_place else output


class _Linear(CallCounter):
    """Replaces every activation by the identity, which a ReLU is where all weights are positive.

    gated: see `Trace`; those written by hand as products are activations as well.
    """

    def __init__(self, gated: Mapping[int, int]) -> None:
        super().__init__()
        self.gated = gated

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        operand = self.gated.get(self.activations) if name in PRODUCTS else 0 if name in ACTIVATIONS else None
        if operand is None:
            return super().__torch_function__(func, types, args, kwargs)
        self.activations += 1
        return in_order(args, kwargs)[0][operand]


@own_pass("weights.flow", limit=0)
def flow(network: nn.Module, structure: Structure, batches: Held) -> dict[str, Tensor]:
    """Share of each weight in the sum over all paths from input to output of the product of |weights| on the path.

    All-ones image, weights and norms' scales by magnitude, no biases or means, activations linear, in float64.
    The share divides by the whole flow, which is the same for every weight and overflows float32 in deep networks.
    Source: Tanaka et al., Pruning Neural Networks Without Any Data (SynFlow), NeurIPS 2020.
    """
    positive = copy.deepcopy(network).double()
    with torch.no_grad():
        for name, tensor in positive.state_dict().items():
            gone = name.rsplit(".", 1)[-1] in ("bias", "running_mean")
            tensor.zero_() if gone else tensor.abs_()
    ones = torch.ones_like(structure.example[:1], dtype=torch.double, device=next(positive.parameters()).device)
    layers: dict[str, Any] = {conv: positive.get_submodule(conv) for conv in convolutions(structure)}
    weights = [module.weight for module in layers.values()]
    with torch.enable_grad(), _Linear(structure.trace.gated):
        total = positive(ones).sum()
    if not total.requires_grad:
        raise StructureError("the network runs without gradients, by which its flow is found")
    if not bool(total.isfinite()):
        raise StructureError("the flow grows beyond all numbers, as where one gate after the other multiplies it")
    gradients = torch.autograd.grad(total, weights, materialize_grads=True)
    scale = total.detach() if total > 0 else 1.0
    shares = [(w * g).detach() / scale for w, g in zip(weights, gradients, strict=True)]
    return {conv: channels_first(layers[conv], share, "out") for conv, share in zip(layers, shares, strict=True)}
