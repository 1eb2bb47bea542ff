"""Criteria that people give."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsearch.criteria.base import CRITERIA, Criterion, register_criterion
from blendsearch.criteria.ranking import rank
from blendsearch.statistics import Statistics
from blendsearch.structure import Group

UNRATED = 0.5


@register_criterion
class Subjective(Criterion):
    """What people say of the filter from what it responds to: the mean of their marks, 0 (drop) to 1 (keep).

    A filter that nobody rated gets 0.5; with a fallback, 0.25 + rank / 2, rank being its place in [0, 1] among all
    filters of its group by the fallback criterion: it goes after those marked drop and before those marked keep,
    and shares the middle with those marked unsure.
    """

    name = "subjective"
    needs = ("ratings",)
    source = "Osaku et al., 2021 (arXiv 2101.04699), subjective relevance"
    detects_dead = False  # the person may not have looked

    def missing(self, group: Group, statistics: Statistics) -> str:
        if group.name not in statistics.ratings:
            return "no ratings of this network's filters are given"
        fallback = self._fallback(statistics)
        reason = fallback.objection(group, statistics) if fallback is not None else ""
        return f"its fallback '{statistics.fallback}': {reason}" if reason else ""

    def score(self, group: Group, statistics: Statistics) -> Tensor:
        marks, fallback = statistics.ratings[group.name], self._fallback(statistics)
        if fallback is None:
            return marks.nan_to_num(nan=UNRATED)
        return torch.where(marks.isnan(), 0.25 + rank(fallback.score(group, statistics)) / 2, marks)

    def _fallback(self, statistics: Statistics) -> Criterion | None:
        if statistics.fallback is None:
            return None
        criterion = CRITERIA.get(statistics.fallback, "ratings.fallback")()
        criterion.group_rule = self.group_rule
        return criterion
