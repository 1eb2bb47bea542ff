"""What a search maximises: the proxy alone, or beside it the share of the network's cost that is taken away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blendsearch.evolution.fitness import Evaluation, Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.pareto import Point
from blendsearch.structure import CostModel, Plan


@dataclass(frozen=True)
class Objectives:
    """The proxy and, for each kind of cost that is named ("flops", "params", "latency"), the kept share of it."""

    costs: tuple[str, ...] = ()

    def shares(self, plan: Plan, cost: CostModel) -> tuple[float, ...]:
        """Return the kept share of each cost under a plan."""
        return tuple(cost.ratio(kind, plan.counts) for kind in self.costs)

    def point(self, evaluation: Evaluation, cost: CostModel) -> Point:
        """Return what is maximised: the proxy, and minus each kept share."""
        return (evaluation.value, *(-share for share in self.shares(evaluation.plan, cost)))


def plan_of(planner: Planner, space: GenomeSpace, genome: np.ndarray) -> Plan:
    """Return the plan of a genome, at its own budget where budgets are searched too."""
    return planner_of(planner, space, genome).plan(space.decode(genome))


def planner_of(planner: Planner, space: GenomeSpace, genome: np.ndarray) -> Planner:
    """Return the planner at a genome's budget: the given one unless budgets are searched."""
    ratio = space.ratio(genome)
    return planner if ratio is None else planner.at(ratio)
