"""Layer-wise relevance propagation through any network: the backward pass carries relevance in place of gradients.

Everything is caught as the function it is, whether a module or a call in `forward`, and conserves relevance:
- convolutions and linear layers follow a rule (composites.py);
- batch norms that could not be folded are scalings;
- additions and subtractions split it in proportion to the operands (zennit's Norm rule for sums);
- averages and sums over positions split it in proportion to the values (Norm for poolings);
- activations and scalings by constants or gates pass it on (Pass);
- max pooling, slicing, concatenation and reshaping need nothing, their gradient already conserves.
Source: Bach et al., PLoS ONE 2015; Anders et al., Zennit, 2021 (arXiv 2106.13200); gates: Arras et al., 2017.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.errors import StructureError
from blendsearch.statistics.composites import Composite
from blendsearch.statistics.contributions import FUNCTIONS, Contributions, LinearPart, Rule, stabilised
from blendsearch.structure.trace import ACTIVATIONS, CallCounter, in_order

AVERAGES = frozenset(
    ["mean", "sum", *(f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3))]  # linear, no weights
)
SCALINGS = frozenset(["mul", "multiply", "__mul__", "__rmul__", "div", "divide", "true_divide", "__truediv__"])
SUBTRACTIONS = frozenset(["sub", "subtract", "__sub__"])
WITHOUT_RULE = frozenset([
    "convolution", "bilinear", "matmul", "__matmul__", "mm", "bmm", "einsum", "baddbmm", "addmm", "layer_norm",
    "group_norm", "instance_norm", "local_response_norm", "rms_norm", "normalize", "softmax", "log_softmax",
    "scaled_dot_product_attention", "multi_head_attention_forward", "__rsub__", "rsub", "__rtruediv__", "__pow__",
    "pow", "exp", "sqrt", "rsqrt", "reciprocal",
])  # fmt: skip
OPERATIONS = AVERAGES | SCALINGS | SUBTRACTIONS | ACTIVATIONS
"""What `carrying` has a form for."""
SQUASHING = frozenset(["sigmoid", "hardsigmoid", "tanh"])
"""Activations that make gates."""
RESHAPING = frozenset(
    f"{kind}Backward0" for kind in ("View", "UnsafeView", "Unsqueeze", "Squeeze", "Expand", "Slice", "Permute", "Alias")
)
IN_PLACE = {"__imul__": "__mul__", "__itruediv__": "__truediv__", "__isub__": "__sub__"}

Given = tuple[Any, ...]


class Layer(torch.autograd.Function):
    """A layer whose backward pass carries relevance by a rule; several calls of one layer do not disturb each other.

    rule: asked for on the way back, so that one forward pass serves the rules of several composites.
    """

    @staticmethod
    def forward(
        ctx: Any, given: Tensor, linear: LinearPart, call: Callable[[Tensor], Tensor], rule: Callable[[], Rule]
    ) -> Tensor:
        ctx.save_for_backward(given)
        ctx.linear, ctx.rule, ctx.contributions = linear, rule, None
        return call(given)

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Any:
        if ctx.contributions is None:
            ctx.contributions = Contributions(ctx.linear, ctx.saved_tensors[0].detach())
        return ctx.contributions.relevance(ctx.rule(), arriving[0].float()), None, None, None


class Scale(torch.autograd.Function):
    """A batch norm that could not be folded, a scaling of each value by the epsilon rule; the shift takes its part."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, slope: Tensor, call: Callable[[Tensor], Tensor]) -> Tensor:
        output = call(given)
        ctx.save_for_backward(given * slope.reshape(1, -1, *[1] * (given.dim() - 2)) / stabilised(output))
        return output

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Any:
        return ctx.saved_tensors[0] * arriving[0], None, None


class Pass(torch.autograd.Function):
    """A function that hands all relevance on to its first operand; squashed: whether its values are those of a gate."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, call: Callable[[Tensor], Tensor], squashed: bool = False) -> Tensor:
        ctx.shape, ctx.squashed = given.shape, squashed
        return call(given)

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Any:
        return arriving[0].sum_to_size(ctx.shape), None, None


class Split(torch.autograd.Function):
    """The sum `a + sign * b`, whose relevance goes to the operands in proportion to what they give."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, sign: float) -> Tensor:
        total = torch.add(a, b, alpha=sign)
        whole = stabilised(total)
        # Shares, not operands, are kept: the network may go on to overwrite an operand in place.
        ctx.save_for_backward(a / whole, sign * b / whole)
        ctx.shapes = a.shape, b.shape
        return total

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Any:
        parts = [share * arriving[0] for share in ctx.saved_tensors]
        return *(part.sum_to_size(shape) for part, shape in zip(parts, ctx.shapes, strict=True)), None


class Weigh(torch.autograd.Function):
    """Stands before a linear function without weights: what comes back is multiplied by the values."""

    @staticmethod
    def forward(ctx: Any, given: Tensor) -> Tensor:
        ctx.save_for_backward(given)
        return given.view_as(given)

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Any:
        return ctx.saved_tensors[0] * arriving[0]


class Share(torch.autograd.Function):
    """Stands after a linear function without weights: relevance is divided by the values, stabilised."""

    @staticmethod
    def forward(ctx: Any, total: Tensor) -> Tensor:
        ctx.save_for_backward(total)
        return total.clone()

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Any:
        return arriving[0] / stabilised(ctx.saved_tensors[0])


class Redistribution(CallCounter):
    """Inside this context, calls of a network whose weights need no gradient carry relevance backwards.

    composite: whose rules are followed; may be changed between backward passes. Raises StructureError for a function
    that mixes channels or normalises and has no rule, by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.composite: Composite | None = None
        self._linear: dict[tuple[int, int, str], LinearPart] = {}

    def on_addition(self, index: int, inputs: Given, output: Tensor) -> Tensor:
        return combined(inputs[0], inputs[1], output)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Given = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        kwargs = kwargs or {}
        given = (*args, *kwargs.values())
        if self._paused or not any(isinstance(value, Tensor) and value.requires_grad for value in given):
            return super().__torch_function__(func, types, args, kwargs)
        if name in FUNCTIONS:
            return self._layer(name, func, dict(zip(FUNCTIONS[name], args, strict=False)) | kwargs)
        if name == "batch_norm":
            return normalised(func, dict(zip(norm_arguments(func), args, strict=False)) | kwargs)
        if name in WITHOUT_RULE:
            raise StructureError(
                f"relevance: the network calls '{name}' as a function, for which there is no rule of relevance; "
                "convolutions, linear layers, batch norms, additions, poolings and activations have one"
            )
        if name in OPERATIONS or name in IN_PLACE or name.removesuffix("_") in OPERATIONS:
            args, kwargs = in_order(args, kwargs)
        if kwargs.get("inplace"):
            return self._overwrite(args, self.__torch_function__(func, types, args, {**kwargs, "inplace": False}))
        plain = out_of_place(name)
        if plain is not None:
            return self._overwrite(args, self.__torch_function__(plain, types, args, kwargs))
        return super().__torch_function__(carrying(name, func), types, args, kwargs)

    def _layer(self, name: str, func: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        """Call a convolution or a linear function whose relevance follows the composite's rule for it."""
        given, weight, bias = arguments["input"], arguments["weight"], arguments.get("bias")
        if weight.requires_grad:
            raise StructureError(f"relevance: '{name}' is called with weights that depend on the image; it has no rule")
        rest = {key: value for key, value in arguments.items() if key not in ("input", "weight", "bias")}
        key = (id(weight), id(bias), repr(rest))
        linear = self._linear.get(key) or LinearPart(name, func, arguments)
        if isinstance(weight, nn.Parameter):  # it stays, and so does its identity
            self._linear[key] = linear

        def rule() -> Rule:
            assert self.composite is not None
            return self.composite.dense if linear.dense else self.composite.convolution

        result: Tensor = Layer.apply(given, linear, lambda value: func(value, weight, bias, **rest), rule)
        return result

    @staticmethod
    def _overwrite(args: Given, output: Tensor) -> Tensor:
        target: Tensor = args[0]
        return target.copy_(output)


def norm_arguments(func: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a batch norm function's arguments in order; there are two such functions."""
    if func is torch.batch_norm:
        return "input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps", "cudnn_enabled"
    return "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"


def normalised(func: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
    """Call a batch norm function with fixed statistics, as a scaling; one without a shift hands all relevance on."""
    mean, variance = arguments["running_mean"], arguments["running_var"]
    if mean is None or arguments.get("training"):
        raise StructureError("relevance: the network calls 'batch_norm' without running statistics")
    rest = {key: value for key, value in arguments.items() if key != "input"}
    weight, bias = arguments.get("weight"), arguments.get("bias")

    def call(value: Tensor) -> Tensor:
        return func(input=value, **rest)

    result: Tensor
    if not mean.any() and (bias is None or not bias.any()):
        result = Pass.apply(arguments["input"], call)
    else:
        slope = (variance + arguments.get("eps", 1e-5)).rsqrt() * (1.0 if weight is None else weight)
        result = Scale.apply(arguments["input"], slope, call)
    return result


def combined(a: Any, b: Any, output: Tensor, sign: float = 1.0) -> Tensor:
    """Return the sum or difference with split relevance; a constant operand takes none."""
    variable = [isinstance(value, Tensor) and value.requires_grad for value in (a, b)]
    if all(variable):
        result: Tensor = Split.apply(a, b, sign)
        return result
    if not any(variable):
        return output
    passed: Tensor = Pass.apply(a if variable[0] else b, lambda given: output.detach().clone())
    return passed


def _is_gate(value: Tensor) -> bool:
    """Tell whether values come from a squashing function, in this shape or another."""
    step: Any = value.grad_fn
    while type(step).__name__ in RESHAPING:
        step = step.next_functions[0][0]
    return getattr(step, "squashed", False)


def out_of_place(name: str) -> Callable[..., Any] | None:
    """Return the function that an in-place activation or scaling overwrites its operand with."""
    plain = IN_PLACE.get(name, name[:-1] if name.endswith("_") and not name.endswith("__") else "")
    if plain in ACTIVATIONS | SCALINGS | SUBTRACTIONS:
        return getattr(torch.Tensor, plain, None) or getattr(nn.functional, plain, None)
    return None


def carrying(name: str, func: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function in a form that carries relevance, under its own name."""

    @functools.wraps(func)
    def average(given: Tensor, *rest: Any, **options: Any) -> Any:
        return Share.apply(func(Weigh.apply(given), *rest, **options))

    @functools.wraps(func)
    def activation(given: Tensor, *rest: Any, **options: Any) -> Any:
        return Pass.apply(given, lambda value: func(value, *rest, **options), name.removesuffix("_") in SQUASHING)

    @functools.wraps(func)
    def scaling(*operands: Any, **options: Any) -> Any:
        # A gate (squeeze-and-excitation, x * sigmoid(x)) takes no relevance: the signal it scales takes all.
        variable = [isinstance(value, Tensor) and value.requires_grad for value in operands]
        # Where maps are one pixel each, a gate is as large as its signal, and known by what made it.
        size = [
            (value.numel(), not _is_gate(value)) if of else (0, False)
            for value, of in zip(operands, variable, strict=True)
        ]
        signal = max(range(len(operands)), key=size.__getitem__)
        fixed = [value.detach() if isinstance(value, Tensor) else value for value in operands]
        return Pass.apply(operands[signal], lambda value: func(*fixed[:signal], value, *fixed[signal + 1 :], **options))

    @functools.wraps(func)
    def difference(a: Any, b: Any, **options: Any) -> Any:
        return combined(a, b, func(a, b, **options), -1.0)

    forms = [(AVERAGES, average), (ACTIVATIONS, activation), (SCALINGS, scaling), (SUBTRACTIONS, difference)]
    return next((form for names, form in forms if name in names), func)
