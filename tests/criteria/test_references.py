"""Every criterion against an independent computation: by hand, numpy, Torch-Pruning, loops, finite differences."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_pruning as tp
from small_networks import conv4, images, randomised
from torch import nn
from torch.nn import functional as F

from blendsearch.criteria import measures_of, names, score_groups
from blendsearch.statistics import Norm, Statistics, gather
from blendsearch.structure import Group, Structure
from blendsearch.structure.trace import Site

COUNT = 9
CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4")


@pytest.fixture(scope="module")
def network():
    return randomised(conv4(), seed=2)


@pytest.fixture(scope="module")
def structure(network):
    return Structure.of(network, images())


@pytest.fixture(scope="module")
def data():
    return images(COUNT, seed=4), torch.arange(COUNT) % 3


@pytest.fixture(scope="module")
def scores(network, structure, data):
    x, y = data
    statistics = gather(network, structure, [(x[:4], y[:4]), (x[4:], y[4:])], measures_of(BY_HAND), seed=11)
    return score_groups(structure, statistics, list(BY_HAND))


@pytest.fixture(scope="module")
def maps(network, data):
    """The feature maps after each ReLU, all stored, with the gradient of each sample's own loss: [N, C, H, W]."""
    x, y = data
    found = {}
    for image, label in zip(x, y, strict=True):
        values = feature_maps(network, image[None])
        logits = values.pop("logits")
        gradients = torch.autograd.grad(F.cross_entropy(logits, label[None]), list(values.values()))
        for (name, value), gradient in zip(values.items(), gradients, strict=True):
            found.setdefault(name, []).append((value.detach()[0], gradient[0]))
    return {name: [torch.stack(part).double() for part in zip(*pairs, strict=True)] for name, pairs in found.items()}


def feature_maps(network, x, change=lambda name, value: value):
    """Conv-4 written out, so that every map can be seen and changed."""
    values = {}
    for i, name in enumerate(CONVOLUTIONS, start=1):
        x = getattr(network, f"bn{i}")(getattr(network, name)(x))
        values[name] = x = change(name, F.relu(x))
        x = F.max_pool2d(x, 2) if i in (2, 4) else x
    return values | {"logits": network.linear(x.mean((2, 3)))}


def assert_all(scores, criterion, reference, rtol=1e-4):
    for name in CONVOLUTIONS:
        expected = torch.as_tensor(reference(name)).double()
        torch.testing.assert_close(scores[criterion][name].double(), expected, rtol=rtol, atol=1e-8)


# Weights


def torch_pruning_scores(network, name, importance):
    graph = tp.DependencyGraph().build_dependency(copy.deepcopy(network), images())
    modules = {n: m for m, n in graph._module2name.items()}
    conv = modules[name]
    group = graph.get_pruning_group(conv, tp.prune_conv_out_channels, list(range(conv.out_channels)))
    return importance(group)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("p", [1, 2])
def test_norms_are_torch_prunings(network, scores, name, p):
    importance = tp.importance.MagnitudeImportance(p=p, group_reduction="first", normalizer=None)
    expected = torch_pruning_scores(network, name, importance) ** (1 / p)
    torch.testing.assert_close(scores[f"l{p}"][name], expected)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_geometric_median_is_torch_prunings_where_no_weight_is_negative(network, structure, name):
    """Torch-Pruning measures distances between |w|^p; the paper, and we, between w."""
    positive = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in positive.parameters():
            parameter.abs_()
    observed = score_groups(structure, gather(positive, structure, [], ["weights"]), ["fpgm"])["fpgm"][name]
    importance = tp.importance.FPGMImportance(p=1, group_reduction="first", normalizer=None)
    torch.testing.assert_close(observed * (len(observed) - 1), torch_pruning_scores(positive, name, importance))


def test_geometric_median_by_loops(network, scores):
    def reference(name):
        rows = network.get_submodule(name).weight.detach().double().flatten(1).numpy()
        distances = [[np.linalg.norm(row - other) for other in rows] for row in rows]
        return np.sum(distances, axis=1) / (len(rows) - 1)

    assert_all(scores, "fpgm", reference)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_batch_norm_scale_is_torch_prunings(network, scores, name):
    importance = tp.importance.BNScaleImportance(group_reduction="first", normalizer=None)
    torch.testing.assert_close(scores["bn_scale"][name], torch_pruning_scores(network, name, importance))


def test_orthogonality_by_numpy(network, scores):
    def reference(name):
        rows = network.get_submodule(name).weight.detach().double().numpy()
        rows = rows.reshape(len(rows), -1)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        overlap = np.abs(rows @ rows.T - np.eye(len(rows)))
        return -overlap.sum(1) / len(rows)

    assert_all(scores, "orthogonality", reference)


def test_next_layer_by_loops(network, scores):
    readers = {"conv1": network.conv2, "conv2": network.conv3, "conv3": network.conv4, "conv4": network.linear}

    def reference(name):
        weight = readers[name].weight.detach()
        return [weight[:, j].norm().item() for j in range(weight.shape[1])]

    assert_all(scores, "next_layer", reference)


# Feature maps


def test_activation_criteria_by_storing_everything(scores, maps):
    flat = {name: a.transpose(0, 1).flatten(1).numpy() for name, (a, _) in maps.items()}
    assert_all(scores, "activation_mean", lambda name: flat[name].mean(1))
    assert_all(scores, "activation_std", lambda name: flat[name].std(1), rtol=1e-3)
    assert_all(scores, "apoz", lambda name: (flat[name] > 0).mean(1))


def test_hrank_is_the_mean_matrix_rank(scores, maps):
    def reference(name):
        a = maps[name][0].float()
        ranks = [[torch.linalg.matrix_rank(a[n, c]).item() for c in range(a.shape[1])] for n in range(COUNT)]
        return np.mean(ranks, axis=0)

    assert_all(scores, "hrank", reference)


# Gradients


def test_taylor_is_the_first_order_change_of_the_loss_without_the_map(network, scores, maps, data):
    """Central differences of each sample's loss, in double precision, as the map is scaled away."""
    x, y = data
    precise = copy.deepcopy(network).double()
    step = 1e-6

    def loss(conv, channel, factor):
        def change(name, value):
            if name != conv:
                return value
            scale = torch.ones(value.shape[1], dtype=torch.double)
            scale[channel] = factor
            return value * scale.view(1, -1, 1, 1)

        with torch.no_grad():
            logits = feature_maps(precise, x.double(), change)["logits"]
        return F.cross_entropy(logits, y, reduction="none")

    def reference(conv):
        result = []
        for channel in range(len(scores["taylor"][conv])):
            slope = (loss(conv, channel, 1 + step) - loss(conv, channel, 1 - step)) / (2 * step)
            result.append((slope / maps[conv][0][0, 0].numel()).abs().mean())
        return torch.stack(result)

    assert_all(scores, "taylor", reference, rtol=1e-3)


def test_fisher_by_loops_over_samples(scores, maps):
    """Theis et al.: delta_k = 1 / 2N sum over samples of (sum over positions of a g) squared."""

    def reference(name):
        a, g = maps[name]
        result = torch.zeros(a.shape[1], dtype=torch.double)
        for n in range(COUNT):
            for channel in range(a.shape[1]):
                result[channel] += (a[n, channel] * g[n, channel]).sum() ** 2
        return result / (2 * COUNT)

    assert_all(scores, "fisher", reference)


def test_gradient_norm_by_loops(scores, maps):
    assert_all(scores, "gradient_norm", lambda name: maps[name][1].flatten(2).norm(dim=2).mean(0))


# Worked by hand

SITE = Site(("c",), index=0)
HAND = Group("c", 3, ("c",), ("n",), (SITE,), (), "stage1", True)
ROWS = torch.tensor([[3.0, -4.0], [0.0, 0.0], [6.0, 8.0]])
GAMMA = torch.tensor([-2.0, 0.5, 1.0])
NORM = Norm(GAMMA, torch.zeros(3), torch.zeros(3), torch.ones(3), 1e-5)
AVERAGES = {
    "activations.mean": torch.tensor([1.0, 0.0, -2.0]),
    "activations.square": torch.tensor([5.0, 0.0, 4.0]),
    "activations.zeros": torch.tensor([0.25, 1.0, 0.0]),
    "activations.map_rank": torch.tensor([2.0, 0.0, 3.5]),
    "gradients.taylor": torch.tensor([0.5, 0.0, 0.25]),
    "gradients.taylor_square": torch.tensor([4.0, 0.0, 1.0]),
    "gradients.norm": torch.tensor([3.0, 2.0, 1.0]),
}
BY_HAND = {
    "l1": [7.0, 0.0, 14.0],
    "l2": [5.0, 0.0, 10.0],
    "fpgm": [(5 + 153**0.5) / 2, (5 + 10) / 2, (10 + 153**0.5) / 2],
    "orthogonality": [-0.28 / 3, 0.0, -0.28 / 3],
    "next_layer": [3.0, 2.0, 0.0],
    "bn_scale": [2.0, 0.5, 1.0],
    "activation_mean": [1.0, 0.0, 2.0],
    "activation_std": [2.0, 0.0, 0.0],
    "apoz": [0.75, 0.0, 1.0],
    "hrank": [2.0, 0.0, 3.5],
    "taylor": [0.5, 0.0, 0.25],
    "gradient_norm": [3.0, 2.0, 1.0],
    "fisher": [2.0, 0.0, 0.5],
}


@pytest.fixture
def by_hand():
    readers = [torch.tensor([[2.0, 1.0], [2.0, 0.0], [0.0, 0.0]]), torch.tensor([[2.0], [0.0], [0.0]])]
    structure = Structure([HAND], {}, None, None)
    return structure, Statistics({"c": ROWS}, {"c": NORM}, {"c": readers}, {SITE: AVERAGES}, 5, 7)


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(by_hand, name):
    observed = score_groups(*by_hand, [name])[name]["c"]
    torch.testing.assert_close(observed, torch.tensor(BY_HAND[name]))


def test_random_is_uniform_and_follows_seed_and_group(by_hand):
    structure, statistics = by_hand
    wide = Group("wide", 4000, ("c",), ("n",), (SITE,), (), "stage1", True)
    other = Group("other", 4000, ("c",), ("n",), (SITE,), (), "stage1", True)
    structure = Structure([wide, other], {}, None, None)
    first = score_groups(structure, statistics, ["random"])["random"]
    assert torch.equal(first["wide"], score_groups(structure, statistics, ["random"])["random"]["wide"])
    assert not torch.equal(first["wide"], first["other"])
    statistics.seed = 8
    assert not torch.equal(first["wide"], score_groups(structure, statistics, ["random"])["random"]["wide"])
    assert 0 <= first["wide"].min() < 0.01 < 0.99 < first["wide"].max() <= 1
    assert first["wide"].mean().item() == pytest.approx(0.5, abs=0.02)


def test_one_filter_alone_has_finite_scores():
    alone = nn.Conv2d(3, 1, 1)
    group = Group("c", 1, ("c",), ("",), (SITE,), (), "stage1", True)
    statistics = Statistics({"c": alone.weight.detach()}, {}, {"c": [torch.ones(1, 2)]})
    structure = Structure([group], {}, None, None)
    observed = score_groups(structure, statistics, ["l1", "fpgm", "orthogonality", "next_layer"])
    assert observed["fpgm"]["c"].item() == observed["orthogonality"]["c"].item() == 0.0


@pytest.mark.parametrize("name", names())
def test_every_criterion_has_a_reference(name):
    folder = Path(__file__).parents[1]
    written = "".join(path.read_text() for room in ("criteria", "statistics") for path in (folder / room).glob("*.py"))
    assert name in written, "a new criterion needs an independent computation in these folders"
