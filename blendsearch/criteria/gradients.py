"""Criteria that look at how the loss answers to the filter."""

from __future__ import annotations

from torch import Tensor

from blendsearch.criteria.base import FeatureMapCriterion, register_criterion


@register_criterion
class Taylor(FeatureMapCriterion):
    """First-order estimate of the change of the loss when the feature map is removed: mean over samples of
    |mean over positions of activation x gradient|."""

    name = "taylor"
    needs = ("gradients.taylor",)
    source = "Molchanov et al., Pruning CNNs for Resource Efficient Inference, ICLR 2017, eq. 8"

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        return averages["gradients.taylor"]


@register_criterion
class GradientNorm(FeatureMapCriterion):
    """Mean over samples of the Euclidean norm of the loss gradient arriving at the feature map."""

    name = "gradient_norm"
    needs = ("gradients.norm",)
    source = "Liu & Wu, Channel Pruning Based on Mean Gradient, Signal Processing 2019"
    detects_dead = False  # the loss may ask for what the filter does not give

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        return averages["gradients.norm"]


@register_criterion
class Fisher(FeatureMapCriterion):
    """Half the mean over samples of the squared (sum over positions of activation x gradient)."""

    name = "fisher"
    needs = ("gradients.taylor_square",)
    source = "Theis et al., Faster Gaze Prediction with Dense Networks and Fisher Pruning, 2018, eq. 9"

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        return averages["gradients.taylor_square"] / 2
