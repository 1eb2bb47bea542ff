"""What a search solves: blends become plans, plans are judged by a proxy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from blendsearch.evolution.fitness import FitnessFunction, Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.structure import Plan


@dataclass(frozen=True)
class SearchProblem:
    """How blends become plans, and what judges these; each distinct plan is judged once."""

    planner: Planner
    fitness: FitnessFunction

    def judge(self, plans: Sequence[Plan]) -> list[float]:
        """Return what the proxy says of plans."""
        return [evaluation.value for evaluation in self.fitness(plans)]

    def at(self, genomes: GenomeSpace, genome: np.ndarray) -> SearchProblem:
        """Return the problem at a genome's budget: this one unless budgets are searched too."""
        ratio = genomes.ratio(genome)
        return self if ratio is None else replace(self, planner=self.planner.at(ratio))

    def plan(self, genomes: GenomeSpace, genome: np.ndarray) -> Plan:
        """Return the plan of a genome, at its own budget where budgets are searched too."""
        return self.at(genomes, genome).planner.plan(genomes.decode(genome))
