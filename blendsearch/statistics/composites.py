"""Which rule of relevance each layer follows, and batch norms folded into the layers before them.

No rule lets a bias take relevance, so that what starts at the logit arrives at every stage and at the input. Where
zennit's rules include the bias, they are used with it set to zero.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from blendsearch.errors import StructureError
from blendsearch.statistics.contributions import EPSILON, Rule, Shares, Sums, stabilised
from blendsearch.structure.trace import NORMS
from blendsearch.training.folding import fold_norm


@dataclass(frozen=True)
class Composite:
    """A rule for convolutions and one for linear layers, whether modules or functions."""

    convolution: Rule
    dense: Rule


def all_to_positive(sums: Sums, relevance: Tensor) -> Shares:
    """Relevance to positive contributions alone, in proportion."""
    return relevance / (sums.plus + EPSILON), None


def alpha2_beta1_shares(sums: Sums, relevance: Tensor) -> Shares:
    """Twice the relevance to positive contributions, minus once to negative ones."""
    return relevance * 2 / (sums.plus + EPSILON), -relevance / (sums.minus - EPSILON)


def gamma_shares(sums: Sums, relevance: Tensor, gamma: float) -> Shares:
    """All to contributions with (1 + gamma)-fold positive ones where the output is positive, else the other kind.

    The sum of both kinds is (2 + gamma) times the output without bias. zennit's Gamma chooses by the output with
    bias, and its denominator may then vanish when the bias is left out of it; with the same sign in both, no input
    gets more than (1 + gamma) / gamma times the relevance.
    """
    output = sums.plus + sums.minus
    chosen = (output + torch.copysign(sums.plus - sums.minus, output)) / 2
    share = relevance / stabilised(output + gamma * chosen)
    more = share * (output > 0) * gamma
    return share + more, share * (1 + gamma) - more


def shared_bias_shares(sums: Sums, relevance: Tensor) -> Shares:
    """Epsilon rule whose bias share goes to the inputs, in proportion to the magnitude of what each contributes.

    R_i = sum_j (z_ij + b_j |z_ij| / sum_k |z_kj|) R_j / (z_j + eps sign z_j) with z_ij = a_i w_ij and z_j the output,
    bias included. Leaving the bias out of z_j would conserve too, but divides by sums near zero; without bias this
    is zennit's Epsilon.
    Source: Bach et al., PLoS ONE 2015; sharing the bias: Lapuschkin et al., The LRP Toolbox, JMLR 2016 (there in
    equal parts, which would give relevance to filters that are dead).
    """
    share = relevance / stabilised(sums.plus + sums.minus + sums.bias)
    of_bias = share * sums.bias / (sums.plus - sums.minus + EPSILON)
    return share + of_bias, share - of_bias


Z_PLUS = Rule(all_to_positive, lambda sums: sums.plus > EPSILON)
"""z+ (alpha 1, beta 0), where a unit has positive contributions: zennit's ZPlus."""

ALPHA2_BETA1 = Rule(alpha2_beta1_shares, lambda sums: (sums.plus > EPSILON) & (sums.minus < -EPSILON))
"""alpha 2, beta 1, where a unit has contributions of both signs: zennit's AlphaBeta."""

GAMMA = Rule(functools.partial(gamma_shares, gamma=0.25))
"""Gamma rule (0.25) without bias: zennit's Gamma, but for the choice by sign (see `gamma_shares`)."""

SHARED_BIAS_EPSILON = Rule(shared_bias_shares)


def epsilon_plus() -> Composite:
    """z+ in convolutions, epsilon in linear layers (zennit's EpsilonPlus)."""
    return Composite(Z_PLUS, SHARED_BIAS_EPSILON)


def alpha_beta() -> Composite:
    """alpha 2, beta 1 in convolutions, epsilon in linear layers (zennit's EpsilonAlpha2Beta1)."""
    return Composite(ALPHA2_BETA1, SHARED_BIAS_EPSILON)


def alpha1_beta0() -> Composite:
    """alpha 1, beta 0 (z+) in every layer: the composite of Yeom et al., 2021."""
    return Composite(Z_PLUS, Z_PLUS)


def gamma() -> Composite:
    """gamma (0.25) in convolutions, epsilon in linear layers."""
    return Composite(GAMMA, SHARED_BIAS_EPSILON)


def check_norms(network: nn.Module) -> None:
    """Raise StructureError for a batch norm that no rule can serve, by its path."""
    for path, module in network.named_modules():
        if isinstance(module, NORMS) and module.running_mean is None:
            raise StructureError(f"relevance: batch norm '{path}' keeps no running statistics to fold")


def fold_norms(network: nn.Module, followers: Mapping[str, str], images: Tensor) -> None:
    """Fold batch norms (`followers`: layer -> its norm) into the layers before them, in place.

    Where others read the layer's output too (dense blocks, norms before the activation), folding would change what
    the network computes on `images`, and the norm stays.
    """
    with torch.no_grad():
        expected = network(images)
        undo = [fold_norm(network, layer, norm) for layer, norm in followers.items()]
        if _alike(network(images), expected):
            return
        for step in reversed(undo):
            step()
        for layer, norm in followers.items():
            step = fold_norm(network, layer, norm)
            if not _alike(network(images), expected):
                step()


def _alike(one: Tensor, other: Tensor) -> bool:
    rounding = max(1e-3, 4 * torch.finfo(one.dtype).eps)  # the network may have an autocast of its own
    return bool((one - other).abs().max() <= rounding * other.abs().max().clamp(min=1e-6))
