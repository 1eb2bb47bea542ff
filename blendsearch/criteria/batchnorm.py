"""Criteria that look at the batch norm after a convolution."""

from __future__ import annotations

from torch import Tensor

from blendsearch.criteria.base import Criterion, combine, register_criterion
from blendsearch.statistics import Statistics
from blendsearch.structure import Group


@register_criterion
class BatchNormScale(Criterion):
    """Absolute scale |gamma| of the filter's batch norm."""

    name = "bn_scale"
    needs = ("batchnorm",)
    source = "Liu et al., Network Slimming, ICCV 2017"

    def missing(self, group: Group, statistics: Statistics) -> str:
        has = any(conv in statistics.norms for conv in group.convolutions)
        return "" if has else f"group '{group.name}' has no batch norm with a scale"

    def score(self, group: Group, statistics: Statistics) -> Tensor:
        norms = [statistics.norms[conv] for conv in group.convolutions if conv in statistics.norms]
        return combine([norm.gamma.abs() for norm in norms])
