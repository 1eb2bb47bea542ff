"""Criteria that a person gives."""

from __future__ import annotations

from torch import Tensor

from blendsearch.criteria.base import Criterion, register_criterion
from blendsearch.statistics import Statistics
from blendsearch.structure import Group


@register_criterion
class Subjective(Criterion):
    """A person's rating of the filter, 0 (drop) to 1 (keep), from what it responds to; 0.5 where there is none."""

    name = "subjective"
    needs = ("ratings",)
    source = "Osaku et al., 2021 (arXiv 2101.04699), subjective relevance"
    detects_dead = False  # the person may not have looked

    def missing(self, group: Group, statistics: Statistics) -> str:
        return "" if group.name in statistics.ratings else "no ratings of this network's filters are given"

    def score(self, group: Group, statistics: Statistics) -> Tensor:
        return statistics.ratings[group.name].clone()
