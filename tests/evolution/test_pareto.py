"""The front: NSGA-II against DEAP's parts, points spread over a cost, the budget's gene, studies of two directions."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
import torch
from deap import base, tools

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.blending import Clusters
from blendsearch.errors import RunError
from blendsearch.evolution.algorithms import ALGORITHMS, Settings
from blendsearch.evolution.fitness import Evaluation, Planner
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.ledger import Ledger
from blendsearch.evolution.pareto import non_dominated, spread_over
from blendsearch.evolution.problem import SearchProblem
from blendsearch.models.zoo import MODELS
from blendsearch.structure import Structure

CLUSTERS = Clusters(
    "stage", {"one": ("a",), "two": ("b",)}, {"one": (("l1", "l2"), ("taylor",)), "two": (("l1", "l2", "taylor"),)}
)
SPACE = GenomeSpace(CLUSTERS, kept=("a", "b"), ratios=(0.2, 0.5))


def nsga2(**settings):
    return ALGORITHMS.get("nsga2")(SPACE, seed=0, settings=Settings(objectives=["flops"], **settings))


class Two(base.Fitness):
    weights = (1.0, 1.0)


class Genes(list):
    def __init__(self, genes, values):
        super().__init__(genes)
        self.fitness = Two(values)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_the_front_is_deaps_first_front(objectives):
    points = [tuple(point) for point in np.random.default_rng(objectives).integers(0, 6, (80, objectives)).tolist()]
    weights = type("Weights", (base.Fitness,), {"weights": (1.0,) * objectives})
    individuals = []
    for number, point in enumerate(points):
        individual = Genes([number], (0, 0))
        individual.fitness = weights(point)
        individuals.append(individual)
    deaps = {points[one[0]] for one in tools.sortNondominated(individuals, 80, first_front_only=True)[0]}
    own = non_dominated(points)
    assert {points[number] for number in own} == deaps
    assert len(own) == len(deaps)
    assert own == sorted(points.index(point) for point in deaps)
    assert non_dominated([]) == []


def test_points_are_spread_evenly_below_the_highest_cost():
    costs = [0.5, 0.21, 0.22, 0.29, 0.33, 0.41, 0.2]
    assert [costs[at] for at in spread_over(costs, 0.5, 3)] == [0.41, 0.29, 0.2]
    assert [costs[at] for at in spread_over(costs, 0.5, 99)] == [0.41, 0.33, 0.29, 0.22, 0.21, 0.2]
    assert spread_over([0.5], 0.5, 3) == spread_over(costs, 0.5, 0) == []


def test_survivors_are_those_of_deaps_selection():
    rng = np.random.default_rng(0)
    search = nsga2(population=8)
    genomes = [SPACE.random(rng) for _ in range(30)]
    values = [tuple(pair) for pair in rng.random((30, 2)).tolist()]
    search.tell(genomes, values)
    kept = tools.selNSGA2([Genes(genome.tolist(), pair) for genome, pair in zip(genomes, values, strict=True)], 8)
    assert [tuple(one) for one in search.population] == [tuple(one) for one in kept]
    search.tell([], [])
    assert len(search.ask(21)) == 21


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_few_parents_are_enough(size):
    search = nsga2(population=12)
    rng = np.random.default_rng(0)
    search.tell([SPACE.random(rng) for _ in range(size)], rng.random((size, 2)).tolist())
    offspring = {tuple(genome) for genome in search.ask(10)}
    assert len(offspring) == 10


def test_the_budget_is_the_last_gene_and_not_part_of_the_blend():
    genome = SPACE.base("l1", {"a": 1.0, "b": 2.0})
    assert SPACE.names[-1] == "budget"
    assert SPACE.size == SPACE.blend_size + 3
    assert SPACE.ratio(genome) == 0.5
    cheaper = genome.copy()
    cheaper[-1] = 0.0
    assert SPACE.ratio(cheaper) == 0.2
    assert SPACE.decode(cheaper) == SPACE.decode(genome)
    assert SPACE.decode(genome).keep == {"a": 1.0, "b": 2.0}
    assert SPACE.signature(cheaper) != SPACE.signature(genome)
    assert np.array_equal(SPACE.at_highest(cheaper), genome)
    assert cheaper[-1] == 0.0
    without = GenomeSpace(CLUSTERS)
    assert without.ratio(without.base("l1")) is None


def test_random_genomes_and_offspring_try_many_budgets():
    search = nsga2(population=20, mutation=0.9)
    drawn = search.ask(20)
    assert np.ptp([SPACE.ratio(genome) for genome in drawn]) > 0.2
    search.tell(drawn, [(0.5, -SPACE.ratio(genome)) for genome in drawn])
    before = {SPACE.ratio(genome) for genome in drawn}
    assert len({SPACE.ratio(genome) for genome in search.ask(40)} - before) > 5


def test_plans_meet_the_budget_of_their_genome():
    network = MODELS.get("conv4")(num_classes=10, in_channels=1, image_size=8, width=32)
    structure = Structure.of(network, torch.zeros(2, 1, 8, 8))
    scores = {
        name: {
            group: network.get_submodule(group).weight.detach().abs().flatten(1).sum(1) for group in structure.widths
        }
        for name in ("l1", "taylor")
    }
    names = tuple(structure.widths)
    space = GenomeSpace(Clusters("network", {"network": names}, {"network": (("l1",), ("taylor",))}), ratios=(0.2, 0.5))
    planner = Planner(structure, scores, ALLOCATIONS.get("uniform")(), Budget("flops", 0.5))
    problem = SearchProblem(planner, None, ("flops", "params"))  # nothing is evaluated
    for gene in (0.0, 0.3, 1.0):
        genome = space.base("l1")
        genome[-1] = gene
        plan = problem.plan(space, genome)
        proxy, flops, params = problem.point(Evaluation(plan, 0.7, 1.0, 0, False))
        assert proxy == 0.7
        assert 0.9 * space.ratio(genome) < -flops <= space.ratio(genome)
        assert -params == structure.cost.params(plan.counts) / structure.cost.params(structure.widths)
    assert plan == planner.plan(space.decode(genome))
    assert planner.budget.ratio == 0.5


def test_a_study_of_two_directions(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db"
    for _ in range(2):  # the second time repeats nothing
        ledger = Ledger(url, "front", ["flops"])
        for number, (proxy, share) in enumerate([(0.9, 0.5), (0.8, 0.3), (0.7, 0.4)]):
            ledger.record(number, 0, {"budget": 0.1}, proxy, 1.0, costs=[share])
    assert [(trial.value, trial.costs) for trial in ledger.trials()] == [(0.9, (0.5,)), (0.8, (0.3,)), (0.7, (0.4,))]
    study = optuna.load_study(study_name="front", storage=url)
    assert [trial.number for trial in study.best_trials] == [0, 1]
    with pytest.raises(RunError, match="value nan given"):
        ledger.record(3, 0, {"budget": 0.1}, 0.5, 1.0, costs=[float("nan")])
