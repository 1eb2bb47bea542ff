"""Criteria that look at feature maps: what a filter answers to the calibration images."""

from __future__ import annotations

from torch import Tensor

from blendsearch.criteria.base import FeatureMapCriterion, register_criterion


@register_criterion
class ActivationMean(FeatureMapCriterion):
    """Magnitude of the mean activation over samples and positions; after a ReLU this is the mean itself.

    The magnitude, because where no ReLU follows (linear bottlenecks) means are of either sign and a dead filter's
    zero must still be the least.
    """

    name = "activation_mean"
    needs = ("activations.mean",)
    source = "Molchanov et al., Pruning CNNs for Resource Efficient Inference, ICLR 2017, section 2.2"

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
class AverageNonZero(FeatureMapCriterion):
    """Share of positions where the activation is positive: one minus the average percentage of zeros."""

    name = "apoz"
    needs = ("activations.zeros",)
    source = "Hu et al., Network Trimming, 2016, eq. 1"

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        return 1 - averages["activations.zeros"]


@register_criterion
class FeatureMapRank(FeatureMapCriterion):
    """Mean matrix rank of the feature map."""

    name = "hrank"
    needs = ("activations.map_rank",)
    source = "Lin et al., HRank, CVPR 2020, eq. 4"

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        return averages["activations.map_rank"]
