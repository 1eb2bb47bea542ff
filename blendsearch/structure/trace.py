"""One traced forward pass: call order, output sizes, and where each convolution's output becomes a feature map."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from blendsearch.errors import BlendsearchError, StructureError, blame
from blendsearch.structure.example import Example
from blendsearch.structure.operators import Operator, OperatorCounter, composed_attention

# fmt: off
ACTIVATIONS = frozenset([
    "relu", "relu_", "relu6", "hardtanh", "hardtanh_", "silu", "silu_", "hardswish", "hardswish_", "gelu", "elu",
    "elu_", "leaky_relu", "leaky_relu_", "mish", "mish_", "selu", "selu_", "celu", "celu_", "prelu", "softplus",
    "sigmoid", "sigmoid_", "hardsigmoid", "hardsigmoid_", "tanh", "tanh_",
])
# fmt: on
ADDITIONS = frozenset(("add", "__add__", "__radd__"))
ADDITIONS_IN_PLACE = frozenset(("add_", "__iadd__", "iadd"))
PRODUCTS = frozenset(("mul", "multiply", "__mul__", "__rmul__", "mul_", "multiply_", "__imul__"))
COUNTED = ACTIVATIONS | ADDITIONS | ADDITIONS_IN_PLACE | PRODUCTS
MIXING = frozenset(
    "conv1d conv2d conv3d conv_transpose2d linear matmul bmm __matmul__ cat concat einsum".split()  # noqa: SIM905
)

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
NORMS = (nn.modules.batchnorm._BatchNorm,)
WATCHED = (*CONVOLUTIONS, *NORMS, nn.Linear)
"""Modules that are followed also where they hold others, such as a batch norm that holds its activation."""


@dataclass(frozen=True)
class Site:
    """Where feature maps are observed: the `index`-th activation call, or the output of `module` where none follows.

    Products count as activation calls: some are activations written by hand, x * sigmoid(x). convolutions: those
    whose outputs (after norm and addition) make up these feature maps.
    """

    convolutions: tuple[str, ...]
    index: int = -1
    module: str = ""

    @property
    def name(self) -> str:
        """What it is called for people: by the convolutions whose outputs are seen."""
        return " + ".join(self.convolutions)


@dataclass(frozen=True)
class Join:
    """A residual addition: the `index`-th addition call, to which `convolution` gives operand number `operand`."""

    index: int
    operand: int
    convolution: str


@dataclass
class Trace:
    """What one forward pass showed, by module path.

    positions: how often a convolution's or linear layer's weight is applied to one image, over all its calls.
    unowned: whether anything multiplies that is no such weight, see structure/operators.py.
    activating: convolutions and norms that hold an activation, so that what they give is activated already.
    shared: convolutions with a norm that is not theirs alone: something else reads what they give, or the norm norms
    more. gated: activation call that is a product, an activation written by hand -> its operand that is activated.
    """

    order: list[str] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    input_shape: dict[str, tuple[int, ...]] = field(default_factory=dict)
    output_shape: dict[str, tuple[int, ...]] = field(default_factory=dict)
    norm: dict[str, str] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    unowned: bool = False
    activating: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    gated: dict[int, int] = field(default_factory=dict)

    @property
    def own_norm(self) -> dict[str, str]:
        """The norms that are their convolutions' alone, so that both can be changed together."""
        return {name: norm for name, norm in self.norm.items() if name not in self.shared}


def in_order(args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with the operands that were given by name, `torch.add(input=a, other=b)`, in their places."""
    rest = dict(kwargs or {})
    for name in ("input", "other")[len(args) :]:
        if name in rest:
            args = (*args, rest.pop(name))
    return args, rest


class CallCounter(TorchFunctionMode):
    """Counts activation, product and addition calls of a forward pass and lets a listener replace their results.

    A network without data-dependent control flow makes the same calls in the same order each time, also after
    slicing, so that a call's number identifies its place in the network whether it is a module or a function.
    """

    def __init__(self) -> None:
        super().__init__()
        self.activations = 0
        self.additions = 0
        self._paused = False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the calls made inside uncounted: what a hook computes is no part of the network."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def on_activation(self, index: int, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        """Take the result of activation call `index`; return what the network goes on with."""
        return output

    def on_product(self, index: int, inputs: tuple[Any, ...], output: Any) -> Any:
        """Take the result of activation call `index`, a product; return what the network goes on with."""
        return self.on_activation(index, inputs, output)

    def on_addition(self, index: int, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        """Take the result of addition call `index`; return what the network goes on with."""
        return output

    def on_overwritten(self, target: Tensor, source: Tensor) -> None:
        """Learn that the sum `source` was written over its first operand `target`."""

    def on_other(self, name: str, inputs: tuple[Any, ...], output: Any) -> Any:
        """Take the result of any other function."""
        return output

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self._paused:
            return func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in COUNTED:
            args, kwargs = in_order(args, kwargs)
        # Whole numbers are counters, such as those of batch norms, which evaluation leaves alone.
        if name in ADDITIONS_IN_PLACE and isinstance(args[0], Tensor) and args[0].is_floating_point():
            return self._add_in_place(*args, **(kwargs or {}))
        output = func(*args, **(kwargs or {}))
        if name in ACTIVATIONS:
            self.activations += 1
            return self.on_activation(self.activations - 1, args, output)
        if name in PRODUCTS and isinstance(output, Tensor):
            self.activations += 1
            return self.on_product(self.activations - 1, args, output)
        if name in ADDITIONS and isinstance(output, Tensor):
            self.additions += 1
            return self.on_addition(self.additions - 1, self._operands(*args, **(kwargs or {})), output)
        return self.on_other(name, args, output)

    def _operands(self, *args: Any, alpha: Any = 1, **others: Any) -> tuple[Any, ...]:
        """Return what an addition adds up: with an `alpha` its second operand is so many times what was given."""
        if alpha == 1 or len(args) < 2:
            return args
        return args[0], self.on_other("mul", args[1:], alpha * args[1])

    def _add_in_place(self, *args: Any, **kwargs: Any) -> Tensor:
        """Add while both operands are as they were, then overwrite the first: `x.add_(y)` may stand as a statement."""
        self.additions += 1
        output = self.on_addition(self.additions - 1, self._operands(*args, **kwargs), torch.add(*args, **kwargs))
        target: Tensor = args[0]
        target.copy_(output)
        self.on_overwritten(target, output)
        return target


def _version(tensor: Tensor) -> int:
    """Return how often a tensor has been changed in place; of one made in inference mode that is not known."""
    return 0 if tensor.is_inference() else tensor._version


class Tracer(CallCounter):
    """Follows the outputs of convolutions through norms, additions and other channel-wise functions."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.trace = Trace()
        self._alive: list[Tensor] = []  # keeps ids unique during the pass
        self._pending: dict[int, frozenset[str]] = {}
        self._own: dict[int, str] = {}
        self._given: dict[int, str] = {}  # by a convolution itself, before any norm
        self._gates: dict[int, frozenset[str]] = {}  # may turn out to gate what they are the activation of
        self._reads: Counter[str] = Counter()
        self._convolutions = {n for n, m in network.named_modules() if isinstance(m, CONVOLUTIONS)}
        self._hooks = [
            module.register_forward_hook(self._hook(name))
            for name, module in network.named_modules()
            if not any(module.children()) or isinstance(module, WATCHED)
        ]

    def close(self) -> None:
        """Remove the hooks, settle the convolutions after which no activation came, and which norms are shared."""
        for hook in self._hooks:
            hook.remove()
        calls = self.trace.calls
        self.trace.shared = {
            n for n, norm in self.trace.norm.items() if self._reads[n] > calls[n] or calls[norm] > calls[n]
        }
        seen = {name for site in self.trace.sites for name in site.convolutions}
        for name in self.trace.order:
            if name in self._convolutions and name not in seen:
                self.trace.sites.append(Site((name,), module=self.trace.norm.get(name, name)))
        self.trace.sites.sort(key=lambda site: self.trace.order.index(site.convolutions[0]))

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not isinstance(output, Tensor) or not inputs or not isinstance(inputs[0], Tensor):
                return
            trace, own = self.trace, self._own.get(id(inputs[0]))
            trace.calls[name] = trace.calls.get(name, 0) + 1
            if name not in trace.order:
                trace.order.append(name)
            trace.input_shape[name] = tuple(inputs[0].shape)
            trace.output_shape[name] = tuple(output.shape)
            # An activation inside the module has settled where the maps are observed; they are no sum's operand.
            activated = self._pending.get(id(output)) == frozenset()
            if activated and isinstance(module, WATCHED):
                trace.activating.add(name)
            if isinstance(module, CONVOLUTIONS) and not activated:
                self._mark(output, frozenset([name]), own=name)
                self._given[id(output)] = name
            elif isinstance(module, NORMS) and own is not None:
                trace.norm.setdefault(own, name)
                if not activated:
                    self._mark(output, frozenset([own]), own=own)

        return hook

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        before = [_version(one) for one in given]
        output = super().__torch_function__(func, types, args, kwargs)
        if any(isinstance(one, Tensor) for one in tree_leaves(output)):
            self.read(given)
        for one, version in zip(given, before, strict=True):
            if _version(one) != version:
                self._own.pop(id(one), None)  # it is no longer what its convolution gave
        return output

    def read(self, tensors: Iterable[Any]) -> None:
        """Count who reads what convolutions give."""
        self._reads.update(self._given[id(one)] for one in tensors if id(one) in self._given)

    def _mark(self, tensor: Tensor, pending: frozenset[str], own: str = "") -> None:
        self._alive.append(tensor)
        self._pending[id(tensor)] = pending
        if own:
            self._own[id(tensor)] = own
        else:
            self._own.pop(id(tensor), None)

    def _inherited(self, inputs: tuple[Any, ...], output: Tensor) -> frozenset[str]:
        names: frozenset[str] = frozenset()
        for value in inputs:
            same = isinstance(value, Tensor) and value.dim() == output.dim() and value.shape[:2] == output.shape[:2]
            if same:
                names |= self._pending.get(id(value), frozenset())
        return names

    def on_activation(self, index: int, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        names = self._pending.get(id(inputs[0]), frozenset())
        known = {name for site in self.trace.sites for name in site.convolutions}
        fresh = sorted(names - known, key=self.trace.order.index)
        if fresh:
            self.trace.sites.append(Site(tuple(fresh), index=index))
        self._mark(output, frozenset())
        self._mark_gate(frozenset(fresh) or self._gate_of(inputs, output), output)
        return output

    def on_product(self, index: int, inputs: tuple[Any, ...], output: Any) -> Any:
        """Look whether maps are multiplied by a gate made of themselves: then the site is not at the gate.

        Of one for each value, x * sigmoid(x), the product is the activation; of one for each channel, whose activation
        is yet to come, it is a scaling as any other.
        """
        for operand, gate in ((0, 1), (1, 0)):
            value, by = inputs[operand], inputs[gate]
            names = self._pending.get(id(value), frozenset()) & self._gates.get(id(by), frozenset())
            if not names:
                continue
            self._unsettle(names)
            if value.shape == by.shape:
                order = sorted(names, key=self.trace.order.index)
                self.trace.sites.append(Site(tuple(order), index=index))
                self.trace.gated[index] = operand
                self._mark(output, frozenset())
                return output
        return self.on_other("mul", inputs, output)

    def _unsettle(self, names: frozenset[str]) -> None:
        """Take convolutions from the sites that they have."""
        sites = [replace(s, convolutions=tuple(n for n in s.convolutions if n not in names)) for s in self.trace.sites]
        self.trace.sites = [site for site in sites if site.convolutions]

    def _gate_of(self, inputs: tuple[Any, ...], output: Tensor) -> frozenset[str]:
        """Return of what convolutions the one operand that is a tensor is a gate, element by element."""
        tensors = [value for value in inputs if isinstance(value, Tensor) and value.dim() > 0]
        alone = len(tensors) == 1 and tensors[0].shape == output.shape
        return self._gates.get(id(tensors[0]), frozenset()) if alone else frozenset()

    def _mark_gate(self, names: frozenset[str], tensor: Tensor) -> None:
        if names:
            self._alive.append(tensor)
            self._gates[id(tensor)] = names

    def on_addition(self, index: int, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        both = [value for value in inputs[:2] if isinstance(value, Tensor) and value.shape == output.shape]
        owners = [(i, self._own[id(value)]) for i, value in enumerate(inputs[:2]) if id(value) in self._own]
        if len(both) == 2 and owners and output.dim() == 4:
            operand, name = max(owners, key=lambda pair: self.trace.order.index(pair[1]))
            self.trace.joins.append(Join(index, operand, name))
        self._mark(output, self._inherited(inputs, output))
        self._mark_gate(self._gate_of(inputs, output), output)
        return output

    def on_overwritten(self, target: Tensor, source: Tensor) -> None:
        self._mark(target, self._pending[id(source)])
        self._mark_gate(self._gates.get(id(source), frozenset()), target)

    def on_other(self, name: str, inputs: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, Tensor) and name not in MIXING and id(output) not in self._pending:
            pending = self._inherited(inputs, output)
            if pending:
                self._mark(output, pending)
            self._mark_gate(self._gate_of(inputs, output), output)
        return output


def trace(network: nn.Module, example: Example | Tensor) -> Trace:
    """Run `network` in evaluation mode on `example`, images [N, C, H, W] or another batch; return what happened.

    The network should be a copy: its training flag is left at evaluation.
    """
    example = Example(example) if isinstance(example, Tensor) else example
    network.eval()
    tracer = Tracer(network)
    operators = OperatorCounter(network)
    try:
        with torch.no_grad(), operators, tracer, composed_attention():
            tracer.read(example.outputs(network))
    except BlendsearchError:
        raise
    except (Exception, SystemExit) as error:
        raise StructureError(
            f"{type(network).__name__}: the network cannot run on the example ({blame(error)})"
        ) from error
    finally:
        tracer.close()
    result = tracer.trace
    result.positions = _positions(network, operators.found, example.samples)
    result.unowned = any(not one.weight for one in operators.found)
    return result


def _positions(network: nn.Module, operators: list[Operator], samples: int) -> dict[str, int]:
    """Return how often each weight is applied to one sample."""
    flops: dict[str, int] = {}
    for one in operators:
        if one.weight:
            flops[one.weight] = flops.get(one.weight, 0) + one.flops
    return {path: total // (network.get_parameter(f"{path}.weight").numel() * samples) for path, total in flops.items()}
