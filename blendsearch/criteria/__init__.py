"""Base criteria: one file a family, one registry, and the call that scores a network under many of them."""

from blendsearch.criteria import activations, batchnorm, chance, gradients, weights  # noqa: F401  (registration)
from blendsearch.criteria.base import (
    CRITERIA,
    ConvolutionCriterion,
    Criterion,
    FeatureMapCriterion,
    combine,
    register_criterion,
)
from blendsearch.criteria.ranking import rank
from blendsearch.criteria.scoring import Scores, applicable, measures_of, names, score_groups

__all__ = [
    "CRITERIA",
    "ConvolutionCriterion",
    "Criterion",
    "FeatureMapCriterion",
    "Scores",
    "applicable",
    "combine",
    "measures_of",
    "names",
    "rank",
    "register_criterion",
    "score_groups",
]
