"""A plan that is given, in the shape that schedules ask for: a scorer and an allocation that lead to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from blendsearch.allocation import Allocation, Budget
from blendsearch.structure import Plan, Structure


@dataclass(frozen=True)
class PlanScorer:
    """Scores the filters of a plan 1 and all others 0."""

    plan: Plan

    def __call__(self, network: nn.Module, structure: Structure) -> dict[str, Tensor]:
        """Return group -> [C]."""
        return self.plan.masks()


class PlanCounts(Allocation):
    """Keeps as many filters as a plan does."""

    name = "plan"
    source = "a plan that is given"

    def __init__(self, plan: Plan) -> None:
        self.plan_given = plan

    def counts(
        self, structure: Structure, scores: Mapping[str, Tensor], budget: Budget, floors: Mapping[str, int]
    ) -> dict[str, int]:
        return self.plan_given.counts
