"""Base criteria: one file a family, one registry, and the call that scores a network under many of them."""

from blendsearch.criteria import (  # noqa: F401  (registration)
    activations,
    batchnorm,
    chance,
    gradients,
    ratings,
    reconstruction,
    redundancy,
    relevance,
    weights,
)
from blendsearch.criteria.base import (
    CRITERIA,
    GROUP_RULES,
    ConvolutionCriterion,
    Criterion,
    FeatureMapCriterion,
    combine,
    register_criterion,
)
from blendsearch.criteria.elimination import DropLoss, DropLosses, Reader, drop_losses
from blendsearch.criteria.ranking import rank
from blendsearch.criteria.scoring import (
    ApplicableScores,
    Scores,
    ScoringSetup,
    applicable,
    measures_of,
    names,
    score_applicable,
    score_groups,
    score_network,
)

__all__ = [
    "CRITERIA",
    "GROUP_RULES",
    "ApplicableScores",
    "ConvolutionCriterion",
    "Criterion",
    "DropLoss",
    "DropLosses",
    "FeatureMapCriterion",
    "Reader",
    "Scores",
    "ScoringSetup",
    "applicable",
    "combine",
    "drop_losses",
    "measures_of",
    "names",
    "rank",
    "register_criterion",
    "score_applicable",
    "score_groups",
    "score_network",
]
