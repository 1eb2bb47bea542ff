"""Which rule of relevance each layer follows, and batch norms folded into the layers before them.

No rule lets a bias take relevance, so that what starts at the logit arrives at every stage and at the input. Where
zennit's rules include the bias, they are used with it set to zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from zennit.core import BasicHook, ParamMod
from zennit.rules import ClampMod, Epsilon, GammaMod, NoMod

from blendsearch.errors import StructureError
from blendsearch.statistics.redistribution import EPSILON, Rule, negative, positive, stabilised
from blendsearch.structure.trace import NORMS

CONVOLUTIONS = (nn.modules.conv._ConvNd,)
BIAS = ["bias"]
POSITIVE_WEIGHTS, NEGATIVE_WEIGHTS = ClampMod(min=0.0, zero_params=BIAS), ClampMod(max=0.0, zero_params=BIAS)


class SharedBiasEpsilon(BasicHook):
    """Epsilon rule whose bias share goes to the inputs, in proportion to the magnitude of what each contributes.

    R_i = sum_j (z_ij + b_j |z_ij| / sum_k |z_kj|) R_j / (z_j + eps sign z_j) with z_ij = a_i w_ij and z_j the output,
    bias included. Leaving the bias out of z_j would conserve too, but divides by sums near zero; without bias this
    is zennit's Epsilon.
    Source: Bach et al., PLoS ONE 2015, eq. 58; sharing the bias: Lapuschkin et al., The LRP Toolbox, JMLR 2016
    (there in equal parts, which would give relevance to filters that are dead).
    """

    def __init__(self) -> None:
        def shares(relevance: Tensor, outputs: list[Tensor]) -> list[Tensor]:
            without, magnitude, output = outputs
            part = relevance / stabilised(output)
            return [part, part * (output - without) / stabilised(magnitude), torch.zeros_like(part)]

        super().__init__(
            input_modifiers=[lambda a: a, lambda a: a.abs(), lambda a: a],
            param_modifiers=[
                NoMod(zero_params=BIAS),
                ParamMod(lambda parameter, name: parameter.abs(), zero_params=BIAS),
                NoMod(),
            ],
            gradient_mapper=shares,
            reducer=lambda inputs, gradients: sum(i * g for i, g in zip(inputs[:2], gradients[:2], strict=True)),
        )


class TwoSided(BasicHook):
    """A rule with one share for positive contributions and one for negative ones.

    positive, negative: how the weights change for contributions that are positive and negative (the branches of
    positive and negative inputs take them crosswise). shares: from relevance and both sums of contributions, what
    each unit of contribution gets.
    """

    def __init__(
        self,
        shares: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
        plus: ParamMod = POSITIVE_WEIGHTS,
        minus: ParamMod = NEGATIVE_WEIGHTS,
    ) -> None:
        def pairs(relevance: Tensor, outputs: list[Tensor]) -> list[Tensor]:
            up, down = shares(relevance, outputs[0] + outputs[1], outputs[2] + outputs[3])
            return [up, up, down, down]

        super().__init__(
            input_modifiers=[positive, negative, positive, negative],
            param_modifiers=[plus, minus, minus, plus],
            gradient_mapper=pairs,
        )


def alpha_beta_shares(relevance: Tensor, plus: Tensor, minus: Tensor) -> tuple[Tensor, Tensor]:
    """Twice the relevance to positive contributions, minus once to negative ones."""
    return relevance * 2 / (plus + EPSILON), -relevance / (minus - EPSILON)


def gamma_shares(relevance: Tensor, more_plus: Tensor, more_minus: Tensor) -> tuple[Tensor, Tensor]:
    """All to contributions with stronger positive weights where the output is positive, else to the other kind.

    The sum of both kinds is (2 + gamma) times the output without bias. zennit's Gamma chooses by the output with
    bias, and its denominator may then vanish when the bias is left out of it; with the same sign in both, no input
    gets more than (1 + gamma) / gamma times the relevance.
    """
    up = (more_plus + more_minus) > 0
    return relevance * up / stabilised(more_plus), relevance * ~up / stabilised(more_minus)


@dataclass(frozen=True)
class Composite:
    """A rule for convolutions and one for linear layers."""

    convolution: Rule
    dense: Rule

    def rules(self, layers: Iterable[nn.Module]) -> dict[nn.Module, Rule]:
        """Return the rule of every layer; a batch norm that was not folded is a scaling with the epsilon rule."""
        kinds = ((CONVOLUTIONS, self.convolution), ((nn.Linear,), self.dense), (NORMS, Rule(Epsilon())))
        return {layer: next(rule for kind, rule in kinds if isinstance(layer, kind)) for layer in layers}


def z_plus() -> Rule:
    """z+ (alpha 1, beta 0), where a unit has positive contributions: zennit's ZPlus."""
    hook = BasicHook(
        input_modifiers=[positive, negative],
        param_modifiers=[POSITIVE_WEIGHTS, NEGATIVE_WEIGHTS],
        gradient_mapper=lambda relevance, outputs: [relevance / (outputs[0] + outputs[1] + EPSILON)] * 2,
    )
    return Rule(hook, lambda outputs: outputs[0] + outputs[1] > EPSILON)


def alpha2_beta1() -> Rule:
    """alpha 2, beta 1, where a unit has contributions of both signs: zennit's AlphaBeta."""
    return Rule(
        TwoSided(alpha_beta_shares),
        lambda outputs: (outputs[0] + outputs[1] > EPSILON) & (outputs[2] + outputs[3] < -EPSILON),
    )


def generalised_gamma(gamma: float = 0.25) -> Rule:
    """Gamma rule without bias: zennit's Gamma, but for the choice by sign (see `gamma_shares`)."""
    more, less = GammaMod(gamma, min=0.0, zero_params=BIAS), GammaMod(gamma, max=0.0, zero_params=BIAS)
    return Rule(TwoSided(gamma_shares, more, less))


def epsilon_plus() -> Composite:
    """z+ in convolutions, epsilon in linear layers (zennit's EpsilonPlus)."""
    return Composite(z_plus(), Rule(SharedBiasEpsilon()))


def alpha_beta() -> Composite:
    """alpha 2, beta 1 in convolutions, epsilon in linear layers (zennit's EpsilonAlpha2Beta1)."""
    return Composite(alpha2_beta1(), Rule(SharedBiasEpsilon()))


def alpha1_beta0() -> Composite:
    """alpha 1, beta 0 (z+) in every layer: the composite of Yeom et al., 2021."""
    return Composite(z_plus(), z_plus())


def gamma() -> Composite:
    """gamma (0.25) in convolutions, epsilon in linear layers."""
    return Composite(generalised_gamma(), Rule(SharedBiasEpsilon()))


def weighted_layers(network: nn.Module) -> list[nn.Module]:
    """Return the layers that need a rule; raise StructureError for one that has none, by its path."""
    found: list[nn.Module] = []
    for path, module in network.named_modules():
        if isinstance(module, (*CONVOLUTIONS, nn.Linear, *NORMS)):
            if isinstance(module, NORMS) and module.running_mean is None:
                raise StructureError(f"relevance: batch norm '{path}' keeps no running statistics to fold")
            found.append(module)
    return found


def fold_norms(network: nn.Module, followers: Mapping[str, str], images: Tensor) -> None:
    """Fold batch norms (`followers`: layer -> its norm) into the layers before them, in place.

    Where others read the layer's output too (dense blocks, norms before the activation), folding would change what
    the network computes on `images`, and the norm stays.
    """
    with torch.no_grad():
        expected = network(images)
        undo = [_fold(network, layer, norm) for layer, norm in followers.items()]
        if _alike(network(images), expected):
            return
        for step in reversed(undo):
            step()
        for layer, norm in followers.items():
            step = _fold(network, layer, norm)
            if not _alike(network(images), expected):
                step()


def _alike(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-3 * other.abs().max().clamp(min=1e-6))


def _fold(network: nn.Module, path: str, norm_path: str) -> Callable[[], None]:
    """Fold one norm and return what undoes it."""
    layer: Any = network.get_submodule(path)
    norm: Any = network.get_submodule(norm_path)
    foldable = isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear) and isinstance(norm, NORMS)
    if not foldable or norm.running_mean is None or norm.running_var is None:
        return lambda: None
    weight, bias = layer.weight, layer.bias
    scale = (norm.running_var + norm.eps).rsqrt() * (1.0 if norm.weight is None else norm.weight)
    shift = (0.0 if bias is None else bias) - norm.running_mean
    layer.weight = nn.Parameter(weight * scale.reshape(-1, *[1] * (weight.dim() - 1)), requires_grad=False)
    layer.bias = nn.Parameter(shift * scale + (0.0 if norm.bias is None else norm.bias), requires_grad=False)
    network.set_submodule(norm_path, nn.Identity())

    def undo() -> None:
        layer.weight, layer.bias = weight, bias
        network.set_submodule(norm_path, norm)

    return undo
