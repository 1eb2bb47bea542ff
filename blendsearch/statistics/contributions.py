"""What a layer's inputs contribute to its outputs, by sign, and how relevance goes back to them.

Every rule of LRP here is one pair of numbers an output unit: what a unit of positive contribution z_ij = a_i w_ij > 0
gets, and what a unit of negative contribution gets. Relevance of input i is the sum over outputs j of z_ij times its
number. The sums of contributions are computed once and serve the rules of all composites.
Source: Bach et al., PLoS ONE 2015; Montavon et al., Layer-Wise Relevance Propagation: An Overview, 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-6


def stabilised(values: Tensor) -> Tensor:
    """Return values that can be divided by: away from zero by EPSILON (as zennit's `stabilize`, in two steps)."""
    return values + torch.copysign(values.new_tensor(EPSILON), values)


@dataclass(frozen=True)
class Sums:
    """The sums of positive and of negative contributions to every output unit, and the bias (broadcasts to them)."""

    plus: Tensor
    minus: Tensor
    bias: Tensor


Shares = tuple[Tensor, Tensor | None]
"""What a unit of positive and of negative contribution gets, in the outputs' shape. None: nothing."""


@dataclass(frozen=True)
class Rule:
    """A rule of relevance, as data.

    shares: from the sums and the relevance that arrives, what the contributions get.
    defined: from the sums, the units the rule can serve. z+ cannot serve a unit without positive contributions,
    alpha-beta one whose contributions are all of one sign (common in depthwise convolutions); these follow the
    epsilon rule without bias, which then is z+ or z- alone. None: all.
    """

    shares: Callable[[Sums, Tensor], Shares]
    defined: Callable[[Sums], Tensor] | None = None


def in_proportion(sums: Sums, relevance: Tensor) -> Shares:
    """Share in proportion to the contributions, whatever their sign: epsilon rule without bias."""
    share = relevance / stabilised(sums.plus + sums.minus)
    return share, share


CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
FUNCTIONS = {
    "linear": ("input", "weight", "bias"),
    **{f"conv{n}d": CONVOLUTION for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": TRANSPOSED for n in (1, 2, 3)},
}
"""The functions that share by weights, with the names of their arguments in order."""


class LinearPart:
    """A call of one of FUNCTIONS without its bias, as a linear map with its weights, their positive or negative part.

    function: that of this name, called with `arguments`, of which the input is not used.
    """

    def __init__(self, name: str, function: Callable[..., Tensor], arguments: Mapping[str, Any]) -> None:
        self.dense, self.transposed = name == "linear", "transpose" in name
        self.function = function
        self.options = {key: value for key, value in arguments.items() if key not in ("input", "weight", "bias")}
        self.whole: Tensor = arguments["weight"].detach().float()
        self.plus, self.minus = self.whole.clamp(min=0), self.whole.clamp(max=0)
        self._bias: Tensor | None = arguments.get("bias")

    def bias(self, output: Tensor) -> Tensor:
        """Return the bias in a shape that broadcasts to `output`."""
        if self._bias is None:
            return output.new_zeros(())
        bias = self._bias.detach().float()
        return bias if self.dense else bias.reshape(-1, *[1] * (output.dim() - 2))

    def forward(self, weight: Tensor, given: Tensor) -> Tensor:
        """Return the map's outputs with these weights."""
        return self.function(given, weight, **self.options)

    def backward(self, weight: Tensor, given: Tensor, shares: Tensor) -> Tensor:
        """Return the transposed map of `shares`; `given` is an input, for its shape."""
        if self.dense:
            return shares @ weight
        padding = self.options.get("padding", 0)
        if isinstance(padding, str):
            with torch.enable_grad():
                probe = given.detach().requires_grad_()
                return torch.autograd.grad(self.forward(weight, probe), probe, shares)[0]
        gradients = torch.ops.aten.convolution_backward(
            shares, given, weight, None, self._sizes("stride", 1), self._sizes("padding", 0),
            self._sizes("dilation", 1), self.transposed, self._sizes("output_padding", 0),
            self.options.get("groups", 1), [True, False, False],
        )  # fmt: skip
        found: Tensor = gradients[0]
        return found

    def _sizes(self, option: str, default: int) -> list[int]:
        """Return an option as one number for each dimension."""
        value, dims = self.options.get(option, default), self.whole.dim() - 2
        sizes = [value] if isinstance(value, int) else list(value)
        return sizes * dims if len(sizes) == 1 else sizes


class Contributions:
    """What the inputs of one call of a layer contribute to its outputs."""

    def __init__(self, linear: LinearPart, given: Tensor) -> None:
        self.linear, given = linear, given.float()  # it may come from inside an autocast
        one_sided = bool(given.amin() >= 0)
        self.positive = given if one_sided else given.clamp(min=0)
        self.negative = None if one_sided else given.clamp(max=0)
        plus = linear.forward(linear.plus, self.positive)
        minus = linear.forward(linear.minus, self.positive)
        if self.negative is not None:
            plus += linear.forward(linear.minus, self.negative)
            minus += linear.forward(linear.plus, self.negative)
        self.sums = Sums(plus, minus, linear.bias(plus))
        self._lacking: dict[Rule, Tensor | None] = {}

    def relevance(self, rule: Rule, arriving: Tensor) -> Tensor:
        """Return the relevance of the inputs, from the relevance `arriving` at the outputs."""
        lacking = self.lacking(rule)
        if lacking is not None:
            unserved = arriving * lacking
            if unserved.count_nonzero():
                return self.give(*rule.shares(self.sums, arriving - unserved)) + self.give(
                    *in_proportion(self.sums, unserved)
                )
        return self.give(*rule.shares(self.sums, arriving))

    def lacking(self, rule: Rule) -> Tensor | None:
        """Return where the rule cannot serve a unit, None if nowhere."""
        if rule not in self._lacking:
            lacking = None if rule.defined is None else ~rule.defined(self.sums)
            self._lacking[rule] = lacking if lacking is not None and bool(lacking.any()) else None
        return self._lacking[rule]

    def give(self, up: Tensor, down: Tensor | None) -> Tensor:
        """Return what the inputs get when positive contributions get `up` a unit and negative ones `down`."""
        result = self.positive * self._back(self.positive, up, down, self.linear.plus, self.linear.minus)
        if self.negative is not None:
            result += self.negative * self._back(self.negative, up, down, self.linear.minus, self.linear.plus)
        return result

    def _back(self, given: Tensor, up: Tensor, down: Tensor | None, one: Tensor, other: Tensor) -> Tensor:
        if up is down:
            return self.linear.backward(self.linear.whole, given, up)
        found = self.linear.backward(one, given, up)
        return found if down is None else found.add_(self.linear.backward(other, given, down))
