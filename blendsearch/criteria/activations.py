"""Criteria that look at feature maps: what a filter answers to the calibration images."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsearch.criteria.base import FeatureMapCriterion, register_criterion
from blendsearch.statistics import Statistics
from blendsearch.statistics.accumulators import NOISE
from blendsearch.structure import Group


@register_criterion
class ActivationMean(FeatureMapCriterion):
    """Magnitude of the mean activation over samples and positions; after a ReLU this is the mean itself.

    The magnitude, because where no ReLU follows (linear bottlenecks) means are of either sign and a dead filter's
    zero must still be the least.
    """

    name = "activation_mean"
    needs = ("activations.mean",)
    source = "Molchanov et al., Pruning CNNs for Resource Efficient Inference, ICLR 2017"

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        return averages["activations.mean"].abs()


@register_criterion
class ActivationStd(FeatureMapCriterion):
    """Standard deviation of the activation over samples and positions: a constant filter carries nothing."""

    name = "activation_std"
    needs = ("activations.mean", "activations.square")
    source = "Polyak & Wolf, Channel-Level Acceleration of Deep Face Representations, IEEE Access 2015"

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        variance = averages["activations.square"].double() - averages["activations.mean"].double().square()
        return variance.clamp(min=0).sqrt().float()


@register_criterion
class ActivationNorm(FeatureMapCriterion):
    """Mean over samples of the Euclidean norm of the feature map."""

    name = "activation_l2"
    needs = ("activations.norm",)
    source = "Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (mean of l2 of feature maps)"

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        return averages["activations.norm"]


@register_criterion
class AverageNonZero(FeatureMapCriterion):
    """Share of positions where the activation is positive: one minus the average percentage of zeros."""

    name = "apoz"
    needs = ("activations.zeros",)
    source = "Hu et al., Network Trimming, 2016"

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        return 1 - averages["activations.zeros"]


@register_criterion
class FeatureMapRank(FeatureMapCriterion):
    """Mean matrix rank of the feature map."""

    name = "hrank"
    needs = ("activations.map_rank",)
    source = "Lin et al., HRank, CVPR 2020"

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        return averages["activations.map_rank"]


@register_criterion
class ChannelIndependence(FeatureMapCriterion):
    """Mean over images of the fall of the nuclear norm of the layer's maps [C, H W] when the filter's map is zeroed."""

    name = "chip"
    needs = ("activations.independence",)
    source = "Sui et al., CHIP, NeurIPS 2021"

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        return averages["activations.independence"]


@register_criterion
class Entropy(FeatureMapCriterion):
    """Entropy in nats, -sum p log p, of the histogram of the filter's responses pooled over positions.

    256 bins between -2^e and 2^e for the least e that holds all responses: 64 to 128 bins up to the largest one.
    """

    name = "entropy"
    needs = ("activations.histogram",)
    source = "Luo & Wu, An Entropy-based Pruning Method for CNN Compression, 2017"

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        counts = averages["activations.histogram"].double()
        share = counts / counts.sum(1, keepdim=True)
        return -torch.special.xlogy(share, share).sum(1).float()


@register_criterion
class ActivationCorrelation(FeatureMapCriterion):
    """Minus the mean absolute Pearson correlation of the pooled response with those of the other filters.

    A constant response tells nothing that others do not: it counts as correlated with every other.
    """

    name = "activation_correlation"
    needs = ("activations.correlation",)
    source = "Suau et al., Filter Distillation for Network Compression (PFA), WACV 2020"

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        correlation = averages["activations.correlation"].double().abs()
        correlation[correlation.diagonal() == 0] = 1
        correlation.fill_diagonal_(0)
        return -(correlation.sum(1) / max(len(correlation) - 1, 1)).float()


@register_criterion
class ClassSeparability(FeatureMapCriterion):
    """Mean over classes of the Fisher ratio (m1 - m0)^2 / (v1 + v0) of the class against the rest, pooled responses."""

    name = "class_separability"
    needs = ("activations.class_moments",)
    source = "Osaku et al., 2021 (arXiv 2101.04699), objective relevance; Fisher, 1936"

    def missing(self, group: Group, statistics: Statistics) -> str:
        measured = (statistics.averages.get(site, {}).get(self.needs[0]) for site in group.sites)
        alone = any(one is not None and int((one[0, 0] > 0).sum()) < 2 for one in measured)
        return "all calibration images are of one class, from which there is nothing to tell apart" if alone else ""

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        number, mean, variance = averages["activations.class_moments"].double().unbind(1)  # [C, classes]
        total = number.sum(1, keepdim=True)
        others = total - number
        energy = number * (variance + mean.square())
        mean_rest = -number * mean / others.clamp(min=1)
        variance_rest = (energy.sum(1, keepdim=True) - energy) / others.clamp(min=1) - mean_rest.square()
        noise = NOISE * energy.sum() / total.sum()  # of the layer: rounding in a constant response is no variance
        within = (variance + variance_rest.clamp(min=0)).clamp(min=noise.item())
        present = (number > 0) & (others > 0) & (energy.sum(1, keepdim=True) > noise * total)
        ratio = torch.where(present, (mean - mean_rest).square() / within, 0.0)
        # Filters that answer to one and the same image have the same ratio at any scale: rounding must not order them.
        return (ratio.sum(1) / present.sum(1).clamp(min=1)).round(decimals=5).float()
