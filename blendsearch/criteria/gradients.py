"""Criteria that look at how the loss answers to the filter.

Filters that no gradient reaches, as those of a stem that runs without gradients, have score zero.
"""

from __future__ import annotations

from torch import Tensor

from blendsearch.criteria.base import ConvolutionCriterion, FeatureMapCriterion, register_criterion
from blendsearch.statistics import Statistics


@register_criterion
class Taylor(FeatureMapCriterion):
    """First-order estimate of the change of the loss when the feature map is removed: mean over samples of
    |mean over positions of activation x gradient|."""

    name = "taylor"
    needs = ("gradients.taylor",)
    source = "Molchanov et al., Pruning CNNs for Resource Efficient Inference, ICLR 2017"

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
    source = "Theis et al., Faster Gaze Prediction with Dense Networks and Fisher Pruning, 2018"

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        return averages["gradients.taylor_square"] / 2


@register_criterion
class TaylorWeight(ConvolutionCriterion):
    """Sum over the filter's weights of the squared first-order change of the mean loss, (w dL/dw)^2."""

    name = "taylor_weight"
    needs = ("weights", "gradients.weight")
    source = "Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019 (sum over the set)"

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        change = statistics.weights[name] * statistics.layers["gradients.weight"][name]
        return change.flatten(1).square().sum(1)


@register_criterion
class ConnectionSensitivity(ConvolutionCriterion):
    """Sum over the filter's weights of the connection sensitivity |w dL/dw| of the mean loss."""

    name = "snip"
    needs = ("weights", "gradients.weight")
    source = "Lee et al., SNIP, ICLR 2019 (without the constant that norms the sum over the network)"

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        change = statistics.weights[name] * statistics.layers["gradients.weight"][name]
        return change.flatten(1).abs().sum(1)


@register_criterion
class OptimalBrainDamage(ConvolutionCriterion):
    """Second-order rise of the loss without the filter, sum of h w^2 / 2, with the Hessian's diagonal h taken as the
    mean over samples of the squared gradient (empirical Fisher)."""

    name = "obd"
    needs = ("weights", "gradients.weight_square")
    source = "LeCun et al., Optimal Brain Damage, NeurIPS 1989"

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        rise = statistics.weights[name].square() * statistics.layers["gradients.weight_square"][name] / 2
        return rise.flatten(1).sum(1)


@register_criterion
class GradientSignal(ConvolutionCriterion):
    """Sum over the filter's weights of w (H g): half the gradient's squared norm that is lost without the filter.

    Signed: removing a filter below zero makes the gradient larger.
    """

    name = "grasp"
    needs = ("weights", "gradients.hessian_gradient")
    source = "Wang et al., Picking Winning Tickets Before Training (GraSP), ICLR 2020"
    detects_dead = False  # filters that hold the gradient back are below zero

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        held = statistics.weights[name] * statistics.layers["gradients.hessian_gradient"][name]
        return held.flatten(1).sum(1)
