"""Reconstruction: the distance worked out by hand, on networks of every kind, and where nothing is to be gained."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import AddInPlace, Dense, Mixed, OptionA, conv4, images, mobilenet, randomised, resnet20
from torch import nn
from torch.nn import functional as F

from blendsearch.compute import Compute
from blendsearch.config import ReconstructionConfig
from blendsearch.data.augmentation import Augmentation
from blendsearch.data.batches import UnlabelledImages
from blendsearch.errors import TrainingError
from blendsearch.structure import Plan, Structure
from blendsearch.training import Compensation, recalibrate
from blendsearch.training.losses import distillation_loss
from blendsearch.training.reconstruction import FeatureMaps, Imitation, Reconstruction, mean_loss, norms_alone

SIZE = {resnet20: 16}
KINDS = [conv4, resnet20, mobilenet, OptionA, Mixed, Dense, AddInPlace]


def prepared(kind, size=8):
    """Return a network of random weights whose batch norms know its images, as those of a trained one do."""
    network = randomised(kind())
    recalibrate(network, UnlabelledImages(images(48, size)).batches(48))
    return network


def cut(network, size=8):
    """Return a network's structure, a plan that keeps the first half of each group, and what it leaves."""
    structure = Structure.of(network, images(2, size))
    scores = {name: -torch.arange(float(width)) for name, width in structure.widths.items()}
    plan = Plan.top(scores, {name: max(1, width // 2) for name, width in structure.widths.items()})
    return structure, plan, structure.slice(network, plan)


def reconstruct(network, structure, pruned, plan, seed=0, count=48, size=8, **settings):
    config = ReconstructionConfig(**{"steps": 12, "batch_size": 16, "images": None, **settings})
    sample = UnlabelledImages(images(count, size), Augmentation(1, flip=True))
    return Reconstruction(sample, config)(network, structure, pruned, plan, compute=Compute(), seed=seed)


def distance(network, structure, pruned, plan, size=8, **settings):
    objective = Imitation(network, structure, pruned, plan, ReconstructionConfig(**settings), Compute())
    return mean_loss(pruned, objective, UnlabelledImages(images(48, size)).batches(48), Compute())


class Maps(nn.Module):
    """Answers with a map, of which no label is the largest."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.last(F.relu(self.norm(self.first(x))))


def test_a_network_that_answers_with_maps_is_reconstructed():
    network = prepared(Maps)
    assert reconstruct(network, *cut(network)[::2], cut(network)[1]).steps == 12


class Chain(nn.Module):
    """Two convolutions whose feature maps a test can work out by itself."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)
        self.head = nn.Linear(6, 3)

    def maps(self, x):
        first = F.relu(self.first(x))
        return first, F.relu(self.second(first))

    def forward(self, x):
        return self.head(self.maps(x)[1].mean((2, 3)))


def test_the_distance_is_that_of_the_maps_and_answers_by_hand():
    network = randomised(Chain())
    structure, _, _ = cut(network)
    plan = Plan({"first": (1, 3), "second": (0, 2, 5)}, {"first": 4, "second": 6})
    pruned = structure.slice(network, plan)
    x = images(48)
    with torch.no_grad():
        wanted, given = network.maps(x), pruned.maps(x)
        kept = [wanted[0][:, [1, 3]], wanted[1][:, [0, 2, 5]]]
        errors = [
            (one - other).square().mean() / other.var(unbiased=False) for one, other in zip(given, kept, strict=True)
        ]
        answers = distillation_loss(pruned(x), network(x), 2.0)
    expected = 0.7 * (errors[0] + errors[1]) / 2 + 0.3 * answers
    assert float(expected) > 0.01
    found = distance(network, structure, pruned, plan, features=0.7, logits=0.3, temperature=2.0)
    assert found == pytest.approx(float(expected), rel=1e-5)
    alone = distance(network, structure, pruned, plan, features=0.0, logits=0.3, temperature=2.0)
    assert alone == pytest.approx(0.3 * float(answers), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_it_brings_every_kind_of_network_nearer(kind):
    size = SIZE.get(kind, 8)
    network = prepared(kind, size)
    structure, plan, pruned = cut(network, size)
    before = distance(network, structure, pruned, plan, size)
    kept = copy.deepcopy(network.state_dict())
    history = reconstruct(network, structure, pruned, plan, size=size, lr=1e-2)
    assert history.steps == 12
    assert distance(network, structure, pruned, plan, size) < 0.95 * before
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())
    assert not pruned.training


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_training_mode_shows_the_maps_of_evaluation_mode(kind):
    network, size = randomised(kind()), SIZE.get(kind, 8)
    structure, _, _ = cut(network, size)
    seen = []
    for mode in (nn.Module.eval, norms_alone, nn.Module.train):
        mode(network)
        with FeatureMaps(network, structure.trace) as maps:
            network(images(4, size))
        seen.append({name: tuple(found.shape) for name, found in maps.found.items()})
    assert seen[0] == seen[1] == seen[2]
    assert all(shape[1] == structure.trace.output_shape[name][1] for name, shape in seen[0].items())


def test_a_residual_stream_is_compared_at_its_sums_and_inside_its_blocks():
    network = randomised(OptionA())
    structure, _, _ = cut(network)
    with torch.no_grad(), FeatureMaps(network, structure.trace) as maps:
        network(images())
    assert set(maps.found) == {"stem", "block1.conv1", "block1.conv2", "block2.conv1", "block2.conv2"}
    assert float(maps.found["block1.conv2"].min()) < 0 <= float(maps.found["block1.conv1"].min())


def test_what_the_closed_form_refits_exactly_stays_as_it_is():
    network = randomised(conv4())
    with torch.no_grad():  # the second half of each layer's filters repeats the first
        for name in ("1", "2", "3", "4"):
            convolution, norm = network.get_submodule(f"conv{name}"), network.get_submodule(f"bn{name}")
            for tensor in (convolution.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var):
                tensor[len(tensor) // 2 :] = tensor[: len(tensor) // 2]
    structure, plan, pruned = cut(network)
    Compensation(network, structure, images(48), ridge=1e-9).refit(pruned, plan)
    assert distance(network, structure, pruned, plan) < 1e-6
    before = copy.deepcopy(pruned.state_dict())
    reconstruct(network, structure, pruned, plan)
    assert all(torch.equal(tensor, before[name]) for name, tensor in pruned.state_dict().items())


def test_the_seed_decides_and_nothing_else():
    network = prepared(resnet20, 16)
    structure, plan, first = cut(network, 16)
    others = [copy.deepcopy(first) for _ in range(2)]
    reconstruct(network, structure, first, plan, seed=1, size=16, steps=4)
    torch.manual_seed(99)
    for seed, other in zip((1, 2), others, strict=True):
        reconstruct(network, structure, other, plan, seed=seed, size=16, steps=4)
    same = [
        all(torch.equal(one, two) for one, two in zip(first.parameters(), o.parameters(), strict=True)) for o in others
    ]
    assert same == [True, False]


def test_dropout_is_off():
    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.drop = randomised(conv4()), nn.Dropout(0.9)

        def forward(self, x):
            return self.body(self.drop(x))

    network = Dropping()
    norms_alone(network)
    assert not network.drop.training
    assert network.body.bn1.training


def test_a_network_without_batch_norm_is_trained_too():
    network = randomised(Chain())
    structure, plan, pruned = cut(network)
    before = distance(network, structure, pruned, plan)
    reconstruct(network, structure, pruned, plan, steps=30, lr=1e-2)
    assert distance(network, structure, pruned, plan) < 0.9 * before


def test_what_leaves_the_finite_numbers_is_told():
    network = randomised(Chain())
    structure, plan, pruned = cut(network)
    with pytest.raises(TrainingError, match=r"reconstruction: the (loss|weights)"):
        reconstruct(network, structure, pruned, plan, lr=1e20)
