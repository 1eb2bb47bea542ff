"""Criteria that look at the batch norm after a convolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from blendsearch.criteria.base import Criterion, per_filter, register_criterion
from blendsearch.criteria.parts import BATCH_NORM, CONVOLUTION
from blendsearch.statistics import Norm, Statistics
from blendsearch.structure import Group


class NormCriterion(Criterion):
    """A criterion that scores the batch norm of each convolution of a group by itself."""

    def norm(self, conv: str, norm: Norm, statistics: Statistics) -> Tensor:
        """Return [C] for the norm after one convolution."""
        raise NotImplementedError

    def missing(self, group: Group, statistics: Statistics) -> str:
        has = any(conv in statistics.norms for conv in group.convolutions)
        return "" if has else f"group '{group.name}' has no batch norm with a scale"

    def score(self, group: Group, statistics: Statistics) -> Tensor:
        norms = {conv: statistics.norms[conv] for conv in group.convolutions if conv in statistics.norms}
        scores = {conv: per_filter(self.norm(conv, norm, statistics), group) for conv, norm in norms.items()}
        return self.combine(BATCH_NORM, scores)


@register_criterion
class BatchNormScale(NormCriterion):
    """Absolute scale |gamma| of the filter's batch norm.

    In a group without such a norm, of a network that has them elsewhere, the Euclidean norm of the filter's weights:
    there it is these that the scale of its output is proportional to.
    """

    name = "bn_scale"
    needs = ("batchnorm", "weights")
    source = "Liu et al., Network Slimming, ICCV 2017"

    def missing(self, group: Group, statistics: Statistics) -> str:
        return "" if statistics.norms else super().missing(group, statistics)

    def score(self, group: Group, statistics: Statistics) -> Tensor:
        if any(conv in statistics.norms for conv in group.convolutions):
            return super().score(group, statistics)
        norms = {conv: statistics.weights[conv].flatten(1).norm(dim=1) for conv in group.convolutions}
        return self.combine(CONVOLUTION, {conv: per_filter(one, group) for conv, one in norms.items()})

    def norm(self, conv: str, norm: Norm, statistics: Statistics) -> Tensor:
        return norm.gamma.abs()


@register_criterion
class BatchNormActivation(NormCriterion):
    """Mean of ReLU(gamma z + beta) for a standard normal z: |gamma| phi(beta / |gamma|) + beta Phi(beta / |gamma|)."""

    name = "bn_activation"
    needs = ("batchnorm",)
    source = "Kang & Han, Operation-Aware Soft Channel Pruning, ICML 2020 (maps after batch norm taken as Gaussian)"

    def norm(self, conv: str, norm: Norm, statistics: Statistics) -> Tensor:
        sigma, beta = norm.gamma.double().abs(), norm.beta.double()
        z = beta / sigma.clamp(min=1e-12)
        density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
        return (sigma * density + beta * torch.special.ndtr(z)).clamp(min=0).float()


@register_criterion
class BatchNormTaylor(NormCriterion):
    """First-order change of the mean loss when the filter's norm is switched off: |gamma dL/dgamma + beta dL/dbeta|."""

    name = "bn_taylor"
    needs = ("batchnorm", "gradients.scale", "gradients.shift")
    source = "Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019 (gate after batch norm)"

    def norm(self, conv: str, norm: Norm, statistics: Statistics) -> Tensor:
        change = norm.gamma * statistics.layers["gradients.scale"][conv]
        shift = statistics.layers["gradients.shift"].get(conv)  # not there where the norm has no beta
        return (change if shift is None else change + norm.beta * shift).abs()
