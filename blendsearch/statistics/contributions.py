"""What a layer's inputs contribute to its outputs, by sign, and how relevance goes back to them.

Every rule of LRP here is one pair of numbers an output unit: what a unit of positive contribution z_ij = a_i w_ij > 0
gets, and what a unit of negative contribution gets. Relevance of input i is the sum over outputs j of z_ij times its
number. The sums of contributions are computed once and serve the rules of all composites.
Source: Bach et al., PLoS ONE 2015; Montavon et al., Layer-Wise Relevance Propagation: An Overview, 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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


class LinearPart:
    """A layer without its bias, as a linear map with its weights, their positive or their negative part.

    layer: a convolution, transposed convolution or linear layer, whose weights stay as they are. call: its forward.
    """

    def __init__(self, layer: Any, call: Callable[[Tensor], Tensor]) -> None:
        self.layer = layer
        self.call = call
        weight: Tensor = self.layer.weight.detach()
        self.whole = nn.Parameter(weight, requires_grad=False)
        self.plus = nn.Parameter(weight.clamp(min=0), requires_grad=False)
        self.minus = nn.Parameter(weight.clamp(max=0), requires_grad=False)

    def bias(self, output: Tensor) -> Tensor:
        """Return the bias in a shape that broadcasts to `output`."""
        if self.layer.bias is None:
            return output.new_zeros(())
        bias: Tensor = self.layer.bias.detach()
        return bias if isinstance(self.layer, nn.Linear) else bias.reshape(-1, *[1] * (output.dim() - 2))

    def forward(self, weight: nn.Parameter, given: Tensor) -> Tensor:
        """Return the map's outputs with these weights."""
        kept = self.layer.weight, self.layer.bias
        self.layer.weight, self.layer.bias = weight, None
        try:
            return self.call(given)
        finally:
            self.layer.weight, self.layer.bias = kept

    def backward(self, weight: nn.Parameter, given: Tensor, shares: Tensor) -> Tensor:
        """Return the transposed map of `shares`; `given` is an input, for its shape."""
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return shares @ weight
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            with torch.enable_grad():
                probe = given.detach().requires_grad_()
                return torch.autograd.grad(self.forward(weight, probe), probe, shares)[0]
        gradients = torch.ops.aten.convolution_backward(
            shares, given, weight, None, layer.stride, layer.padding, layer.dilation, layer.transposed,
            layer.output_padding, layer.groups, [True, False, False],
        )  # fmt: skip
        found: Tensor = gradients[0]
        return found


class Contributions:
    """What the inputs of one call of a layer contribute to its outputs."""

    def __init__(self, linear: LinearPart, given: Tensor) -> None:
        self.linear = linear
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

    def _back(self, given: Tensor, up: Tensor, down: Tensor | None, one: nn.Parameter, other: nn.Parameter) -> Tensor:
        if up is down:
            return self.linear.backward(self.linear.whole, given, up)
        found = self.linear.backward(one, given, up)
        return found if down is None else found.add_(self.linear.backward(other, given, down))
