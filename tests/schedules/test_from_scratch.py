"""The pruned structure with new weights: nothing of the old ones is left, and the length is as asked."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.config import TrainingConfig
from blendsearch.errors import StructureError
from blendsearch.models.zoo import MODELS
from blendsearch.schedules import SCHEDULES, Job
from blendsearch.schedules.from_scratch import check_resettable, reinitialise
from blendsearch.structure import Structure


def magnitude(network, structure):
    return {name: network.get_submodule(name).weight.detach().abs().sum((1, 2, 3)) for name in structure.widths}


def job_of(network, digits, epochs):
    structure = Structure.of(network, next(digits.train.batches(2))[0])
    training = TrainingConfig(epochs=epochs, batch_size=64, lr=0.02)
    budget = Budget("flops", 0.4)
    return Job(
        structure=structure,
        scorer=magnitude,
        allocation=ALLOCATIONS.get("uniform")(),
        budget=budget,
        train=digits.train.take(320),
        training=training,
        seed=4,
    )


def test_nothing_of_the_old_weights_is_left(trained, digits):
    job = job_of(trained, digits, 0)
    outcome = SCHEDULES.get("from_scratch")().run(trained, job)
    pruned = job.structure.slice(trained, outcome.plan).state_dict()
    for name, value in outcome.network.state_dict().items():
        assert not torch.equal(value, pruned[name]), name
    fresh = nn.BatchNorm2d(len(outcome.plan.keep["conv1"])).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in outcome.network.bn1.state_dict().items())


def test_new_values_are_spread_as_in_a_new_network_of_that_size(trained, digits):
    """PyTorch draws evenly from +-1 / sqrt(inputs), of the inputs that are left."""
    outcome = SCHEDULES.get("from_scratch")().run(trained, job_of(trained, digits, 0))
    for weight in (outcome.network.conv3.weight.detach(), outcome.network.linear.weight.detach()):
        bound = weight[0].numel() ** -0.5
        assert weight.abs().max() <= bound
        assert weight.abs().mean() == pytest.approx(bound / 2, rel=0.15)


@pytest.mark.parametrize("equal", ["steps", "flops"])
def test_it_trains_for_equal_steps_or_equal_flops(trained, digits, equal):
    job = job_of(trained, digits, 2)
    outcome = SCHEDULES.get("from_scratch")(equal=equal).run(trained, job)
    ratio = job.structure.cost.ratio("flops", outcome.plan.counts)
    assert outcome.history.steps == round(10 / (ratio if equal == "flops" else 1))


def test_index_tables_of_shortcuts_stay():
    network = MODELS.get("resnet20")(num_classes=10, in_channels=3, image_size=32)
    before = copy.deepcopy(network)
    reinitialise(network, 0)
    tables = [
        (one, other)
        for (name, one), other in zip(before.named_buffers(), network.buffers(), strict=True)
        if name.endswith("source")
    ]
    assert tables
    assert all(torch.equal(one, other) for one, other in tables)
    assert not torch.equal(before.conv1.weight, network.conv1.weight)


class Scaled(nn.Module):
    """Holds a parameter and no way to give it a new value."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))


def test_a_module_without_a_way_is_named_in_one_line():
    with pytest.raises(StructureError, match=r"^schedule 'from_scratch': no way to re-initialise '1' \(Scaled\); give"):
        check_resettable(nn.Sequential(nn.Linear(2, 3), Scaled()))
