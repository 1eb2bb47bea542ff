"""Criteria that ask how much of the true class's logit passes through the filter.

Relevance is signed, as in the paper on pruning by it: a filter that speaks against the true class is the least
important, below one that says nothing. Hence these criteria do not promise that a dead filter (relevance zero) never
ranks above the median. Filters that no relevance reaches, as those inside of a gate, have relevance zero.
"""

from __future__ import annotations

from torch import Tensor

from blendsearch.criteria.base import FeatureMapCriterion, register_criterion


class RelevanceCriterion(FeatureMapCriterion):
    """Mean over samples of the relevance, summed over positions, that arrives at the feature map."""

    detects_dead = False

    def maps(self, averages: dict[str, Tensor]) -> Tensor:
        return averages[self.needs[0]]


@register_criterion
class RelevanceEpsilonPlus(RelevanceCriterion):
    """LRP from the true class's logit: z+ rule in convolutions, epsilon rule in linear layers."""

    name = "lrp_epsilon_plus"
    needs = ("relevance.lrp_epsilon_plus",)
    source = "Yeom et al., Pruning by Explaining, Pattern Recognition 2021; rules: Kohlbrenner et al., IJCNN 2020"


@register_criterion
class RelevanceAlpha1Beta0(RelevanceCriterion):
    """LRP from the true class's logit: z+ (alpha 1, beta 0) rule in every layer."""

    name = "lrp_alpha1_beta0"
    needs = ("relevance.lrp_alpha1_beta0",)
    source = "Yeom et al., Pruning by Explaining, Pattern Recognition 2021"


@register_criterion
class RelevanceAlphaBeta(RelevanceCriterion):
    """LRP from the true class's logit: alpha 2, beta 1 rule in convolutions, epsilon rule in linear layers."""

    name = "lrp_alpha_beta"
    needs = ("relevance.lrp_alpha_beta",)
    source = "Bach et al., On Pixel-Wise Explanations, PLoS ONE 2015"


@register_criterion
class RelevanceGamma(RelevanceCriterion):
    """LRP from the true class's logit: gamma rule (0.25) in convolutions, epsilon rule in linear layers."""

    name = "lrp_gamma"
    needs = ("relevance.lrp_gamma",)
    source = "Montavon et al., Layer-Wise Relevance Propagation: An Overview, 2019"


@register_criterion
class GradientTimesInput(RelevanceCriterion):
    """Sum over positions of the activation times the gradient of the true class's logit."""

    name = "gradient_x_input"
    needs = ("relevance.gradient_x_input",)
    source = "Shrikumar et al., Not Just a Black Box, 2016 (arXiv 1605.01713)"


@register_criterion
class IntegratedGradients(RelevanceCriterion):
    """Conductance of the filter on the straight path from the mean colour to the image, by the trapezoid rule."""

    name = "integrated_gradients"
    needs = ("relevance.integrated_gradients",)
    source = "Sundararajan et al., ICML 2017; at hidden units: Dhamdhere et al., ICLR 2019 (conductance)"
