"""What a search is about: how a genome becomes a plan, what the plan is judged by, and which costs count beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from blendsearch.errors import TrialError
from blendsearch.evolution.fitness import Evaluation, FitnessFunction, Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.pareto import Point
from blendsearch.evolution.swap_forecast import NEAREST, Ends, SwapTable, forecast_ends, forecast_swaps
from blendsearch.structure import Group, Plan
from blendsearch.training.sensitivity import Sensitivity

FORECAST_IMAGES = 2000
"""Search images, at most, on which the slopes behind a forecast are taken."""


@dataclass(frozen=True)
class SearchProblem:
    """Planner and fitness of a search; objectives: kinds of cost ("flops", "params", "latency") minimised beside."""

    planner: Planner
    fitness: FitnessFunction
    objectives: tuple[str, ...] = ()

    def at_budget_of(self, genomes: GenomeSpace, genome: np.ndarray) -> SearchProblem:
        """Return the problem at a genome's own budget: the same one unless budgets are searched."""
        ratio = genomes.ratio(genome)
        return self if ratio is None else replace(self, planner=self.planner.at(ratio))

    def plan(self, genomes: GenomeSpace, genome: np.ndarray) -> Plan:
        """Return the plan of a genome, at its own budget where budgets are searched too."""
        return self.at_budget_of(genomes, genome).planner.plan(genomes.decode(genome))

    def values(self, plans: Sequence[Plan]) -> list[float]:
        """Return the proxy of each plan, FAILED where its trial failed."""
        return [evaluation.value for evaluation in self.fitness(plans)]

    def compare(self, plans: Sequence[Plan], rival: Plan) -> list[Evaluation]:
        """Return the evaluations of plans beside another one; see `FitnessFunction.compare`."""
        return self.fitness.compare(plans, rival)

    def forecast(self, plan: Plan, nearest: int = NEAREST) -> dict[str, SwapTable]:
        """Return what swaps of single filters of a plan are likely to change, group by group; {} where it is unknown.

        nearest: see there. It takes about as long as three evaluations on a few thousand images.
        """
        return forecast_swaps(*self._foreseen(plan), nearest)

    def forecast_ends(self, plan: Plan) -> dict[str, Ends]:
        """Return what each filter is likely to change if it alone leaves or comes, as `forecast` does of swaps."""
        return forecast_ends(*self._foreseen(plan))

    def _foreseen(self, plan: Plan) -> tuple[nn.Module, Sequence[Group], Plan, dict[str, Sensitivity]]:
        """Return what forecasts are made of."""
        proxy = self.fitness.proxy
        found = proxy.sensitivities(plan, FORECAST_IMAGES)
        return proxy.context.network, self.planner.structure.groups, plan, found

    def first_of(self, plans: Sequence[Plan], what: str) -> tuple[int, float]:
        """Return the position of the plan with the highest proxy, of equal ones the first, and that proxy.

        Raises TrialError, about `what` these are plans of, when all their trials failed.
        """
        found = self.fitness(plans)
        best = max(range(len(found)), key=lambda place: found[place].value)
        failure = found[best].failure
        if failure is not None:
            raise TrialError(f"{what}: its trial failed, a worker process {failure.told}")
        return best, found[best].value

    def value(self, plan: Plan, what: str) -> float:
        """Return the proxy of one plan; TrialError, about `what` it is the plan of, when its trial failed."""
        return self.first_of([plan], what)[1]

    def shares(self, plan: Plan) -> tuple[float, ...]:
        """Return the kept share of each cost that is minimised."""
        return tuple(self.planner.structure.cost.ratio(kind, plan.counts) for kind in self.objectives)

    def point(self, evaluation: Evaluation) -> Point:
        """Return what is maximised: the proxy, and minus each kept share."""
        return (evaluation.value, *(-share for share in self.shares(evaluation.plan)))
