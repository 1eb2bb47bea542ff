"""Progressive retraining: what waits stays as it is, bit for bit; what trains reaches to the reading layer."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.config import TrainingConfig
from blendsearch.models.zoo import MODELS
from blendsearch.schedules import SCHEDULES, Job
from blendsearch.schedules.progressive import waiting_modules
from blendsearch.structure import Structure

TRAINING = TrainingConfig(epochs=2, batch_size=64, lr=0.02)


def magnitude(network, structure):
    return {name: network.get_submodule(name).weight.detach().abs().sum((1, 2, 3)) for name in structure.widths}


@dataclass
class Watched(Job):
    """Keeps the weights before and after every cut and every training."""

    states: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def cut(self, structure, network, plan):
        pruned = super().cut(structure, network, plan)
        self.states.append(("cut", copy.deepcopy(pruned.state_dict())))
        return pruned

    def fit(self, network, **changes):
        self.states.append((changes["task"], copy.deepcopy(network.state_dict())))
        history = super().fit(network, **changes)
        self.states.append(("trained", copy.deepcopy(network.state_dict())))
        return history


def job_of(network, split, make=Job, **changes):
    example, _ = next(split.batches(2))
    terms = {"budget": Budget("flops", 0.4), "training": TRAINING, "seed": 2, **changes}
    return make(
        structure=Structure.of(network, example),
        scorer=magnitude,
        allocation=ALLOCATIONS.get("uniform")(),
        train=split.take(300),
        **terms,
    )


def changed(before, after) -> set[str]:
    """Return the modules of which a tensor differs, buffers included."""
    assert before.keys() == after.keys()
    different = (
        key for key in before if before[key].shape != after[key].shape or not torch.equal(before[key], after[key])
    )
    return {key.rpartition(".")[0] for key in different}


def test_later_layers_stay_bit_for_bit_and_earlier_ones_train(trained, digits):
    job = job_of(trained, digits.train, Watched)
    SCHEDULES.get("progressive")().run(trained, job)
    layers = [{"conv1", "bn1"}, {"conv2", "bn2"}, {"conv3", "bn3"}, {"conv4", "bn4"}, {"linear"}]
    assert len(job.states) == 4 * 3
    last = trained.state_dict()
    for turn in range(4):
        (_, cut), (task, before), (_, after) = job.states[3 * turn : 3 * turn + 3]
        assert task == f"retraining, layer conv{turn + 1}"
        allowed = set.union(*layers[: turn + 2])
        reader = "linear" if turn == 3 else f"conv{turn + 2}"
        assert changed(last, cut) == {f"conv{turn + 1}", f"bn{turn + 1}", reader}
        assert changed(cut, before) == set()
        assert changed(before, after) == allowed
        last = after


def test_statistics_are_renewed_and_counts_settled_at_the_beginning(trained, digits):
    seen = []

    def scorer(network, structure):
        seen.append(dict(structure.widths))
        return magnitude(network, structure)

    job = dataclasses.replace(job_of(trained, digits.train), scorer=scorer)
    counts = job.allocation.allocate(job.structure, magnitude(trained, job.structure), job.budget)
    outcome = SCHEDULES.get("progressive")().run(trained, job)
    assert outcome.plan.counts == counts
    names = list(counts)
    widths = [{**job.structure.widths, **{name: counts[name] for name in names[:turn]}} for turn in range(4)]
    assert seen == [widths[0], *widths]  # once for the counts, then at each layer's turn


def test_the_share_of_the_last_stage_leaves_the_length_as_it_is(trained, digits):
    job = job_of(trained, digits.train)
    assert [SCHEDULES.get("progressive")(final=share).run(trained, job).history.steps for share in (0, 0.5, 1)] == [
        SCHEDULES.get("one_shot")().run(trained, job).history.steps
    ] * 3


def test_frozen_parameters_of_the_given_network_stay_frozen(trained, digits):
    network = copy.deepcopy(trained)
    network.conv1.requires_grad_(False)
    outcome = SCHEDULES.get("progressive")().run(network, job_of(network, digits.train))
    assert not outcome.network.conv1.weight.requires_grad
    assert outcome.network.conv2.weight.requires_grad


@pytest.fixture(scope="module")
def resnet():
    network = MODELS.get("resnet20")(num_classes=10, in_channels=3, image_size=32)
    return network, Structure.of(network, torch.randn(2, 3, 32, 32))


def test_layers_tied_by_additions_train_up_to_their_last_reader(resnet):
    network, structure = resnet
    waiting = waiting_modules(network, structure, structure.group("conv1"))
    assert not waiting & {"conv1", "bn1", "layer1.2.conv2", "layer2.0.conv1", "layer2.0.bn1"}
    assert {"layer2.0.conv2", "layer2.0.bn2", "layer3.2.conv2", "linear"} <= waiting


def test_an_inner_layer_trains_with_the_one_that_reads_it(resnet):
    network, structure = resnet
    waiting = waiting_modules(network, structure, structure.group("layer1.1.conv1"))
    assert not waiting & {"conv1", "layer1.0.conv2", "layer1.1.conv1", "layer1.1.conv2", "layer1.1.bn2"}
    assert {"layer1.2.conv1", "layer1.2.bn1", "linear"} <= waiting
