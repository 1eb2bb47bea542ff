"""A share of all remaining filters per step: how many steps, how many filters, and where they end."""

from __future__ import annotations

import dataclasses
import math

import pytest

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.schedules import SCHEDULES, Job
from blendsearch.structure import Structure


def magnitude(network, structure):
    return {name: network.get_submodule(name).weight.detach().abs().mean((1, 2, 3)) for name in structure.widths}


@pytest.fixture
def job(trained, digits) -> Job:
    structure = Structure.of(trained, next(digits.train.batches(2))[0])
    training = TrainingConfig(epochs=0, batch_size=64, lr=0.02)
    budget = Budget("flops", 0.4, 0.05)
    return Job(
        structure=structure,
        scorer=magnitude,
        allocation=ALLOCATIONS.get("global_threshold")(),
        budget=budget,
        train=digits.train.take(300),
        training=training,
    )


def run(trained, job, **options):
    """Run the schedule; return its outcome and the filters in the network at each scoring."""
    sizes = []

    def scorer(network, structure):
        sizes.append(sum(network.get_submodule(name).out_channels for name in job.structure.widths))
        return magnitude(network, structure)

    outcome = SCHEDULES.get("iterative")(**options).run(trained, dataclasses.replace(job, scorer=scorer))
    return outcome, sizes[1:]  # the first scoring counts the steps


def test_a_share_of_the_remaining_filters_goes_in_each_step(trained, job):
    outcome, sizes = run(trained, job, share=0.1)
    expected = [48]
    while len(expected) < len(sizes):
        expected.append(round(expected[-1] * 0.9))
    assert sizes == expected
    assert len(sizes) > 3
    left = sum(outcome.plan.counts.values())
    assert left <= sizes[-1]
    assert 0.9 * 0.4 <= job.structure.cost.ratio("flops", outcome.plan.counts) <= 0.4


@pytest.mark.parametrize("kind", ["flops", "params", "filters"])
@pytest.mark.parametrize("allocation", ALLOCATIONS.names())
def test_every_budget_is_met_from_below(trained, digits, job, kind, allocation):
    chosen = ALLOCATIONS.get(allocation)()
    chosen.prepare(trained, job.structure, digits.search.take(50), compute=Compute(), seed=0)
    job = dataclasses.replace(job, budget=Budget(kind, 0.3, 0.01), allocation=chosen)
    outcome, _ = run(trained, job, share=0.2)
    assert 0.9 * 0.3 <= job.structure.cost.ratio(kind, outcome.plan.counts) <= 0.3


def test_a_tiny_share_takes_one_filter_a_step(trained, job):
    job = dataclasses.replace(job, budget=Budget("filters", 0.75, 0.05))
    _, sizes = run(trained, job, share=0.001)
    assert sizes == list(range(48, 36, -1))


def test_a_share_that_meets_the_budget_at_once_is_one_shot(trained, job):
    outcome, sizes = run(trained, job, share=0.9)
    assert sizes == [48]
    assert outcome.plan == SCHEDULES.get("one_shot")().run(trained, job).plan


def test_the_filters_stop_at_the_floors_of_the_groups(trained, job):
    """With the groups' minimum near the budget, the steps end where no more filters may go."""
    floors = job.budget.floors(job.structure.widths)
    least = job.structure.cost.ratio("flops", floors)
    job = dataclasses.replace(job, budget=Budget("flops", math.ceil(least * 1000) / 1000 + 0.001, 0.05))
    outcome, _ = run(trained, job, share=0.3)
    assert all(outcome.plan.counts[group] >= floors[group] for group in floors)
    assert job.structure.cost.ratio("flops", outcome.plan.counts) <= job.budget.ratio


def test_the_steps_together_are_as_long_as_one_shot(trained, job):
    training = TrainingConfig(epochs=2.6, batch_size=64, lr=0.02)
    job = dataclasses.replace(job, training=training)
    expected = SCHEDULES.get("one_shot")().run(trained, job).history.steps
    for options in ({"share": 0.1}, {"steps": 3, "between": 0.9}, {"share": 0.1, "between": 0.0}):
        assert SCHEDULES.get("iterative")(**options).run(trained, job).history.steps == expected
