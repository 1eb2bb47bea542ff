"""Criteria of weights and batch norms, each against an independent computation."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch_pruning as tp
from scipy import integrate, optimize, stats
from small_networks import Mixed, conv4, images, mobilenet, randomised
from torch import nn
from torch.nn import functional as F

from blendsearch.criteria import score_groups
from blendsearch.criteria.redundancy import eliminated, fermat_point
from blendsearch.statistics import Norm, Statistics, gather
from blendsearch.structure import Group, Structure

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4")
NAMES = ["linf", "spectral_norm", "fermat", "cosine", "correlation", "lamp", "group_norm", "bn_activation", "synflow"]


@pytest.fixture(scope="module")
def network():
    return randomised(conv4(), seed=2)


@pytest.fixture(scope="module")
def scores(network):
    structure = Structure.of(network, images())
    needs = ["weights", "batchnorm", "weights.flow"]
    return score_groups(structure, gather(network, structure, [], needs), NAMES)


def rows_of(network, name):
    weight = network.get_submodule(name).weight.detach().double()
    return weight.flatten(1).numpy()


def torch_pruning_scores(network, name, importance):
    """Torch-Pruning's score of the whole group that the convolution starts."""
    copied = copy.deepcopy(network)
    graph = tp.DependencyGraph().build_dependency(copied, images())
    conv = copied.get_submodule(name)
    return importance(graph.get_pruning_group(conv, tp.prune_conv_out_channels, list(range(conv.out_channels))))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_lamp_is_torch_prunings(network, scores, name):
    expected = torch_pruning_scores(network, name, tp.importance.LAMPImportance(group_reduction="first"))
    torch.testing.assert_close(scores["lamp"][name], expected)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_group_norm_is_torch_prunings(network, scores, name):
    importance = tp.importance.GroupMagnitudeImportance(p=2, group_reduction="sum", normalizer=None)
    torch.testing.assert_close(scores["group_norm"][name] ** 2, torch_pruning_scores(network, name, importance))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_norms_by_numpy(network, scores, name):
    weight = network.get_submodule(name).weight.detach().numpy()
    np.testing.assert_allclose(scores["linf"][name], np.abs(weight).max((1, 2, 3)))
    spectral = [np.linalg.svd(w.reshape(len(w), -1), compute_uv=False)[0] for w in weight]
    np.testing.assert_allclose(scores["spectral_norm"][name], spectral, rtol=1e-5)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_fermat_point_by_a_general_minimiser(network, scores, name):
    rows = rows_of(network, name)
    found = optimize.minimize(lambda p: np.linalg.norm(rows - p, axis=1).sum(), rows.mean(0), tol=1e-12)
    np.testing.assert_allclose(scores["fermat"][name], np.linalg.norm(rows - found.x, axis=1), atol=1e-4)


def test_fermat_point_by_hand():
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.2], [0.0, -1.0]]).double()
    triangle = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]]).double()
    torch.testing.assert_close(fermat_point(triangle), triangle.mean(0))
    torch.testing.assert_close(fermat_point(corner), torch.zeros(2).double(), atol=1e-6, rtol=0)  # a row itself
    copies = torch.ones(3, 2).double()
    assert torch.equal(fermat_point(copies), copies[0])


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_cosine_by_loops(network, scores, name):
    rows = rows_of(network, name)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = [1 - max(row @ other for other in np.delete(rows, i, 0)) for i, row in enumerate(rows)]
    np.testing.assert_allclose(scores["cosine"][name], expected, rtol=1e-5)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_correlation_by_sorting_all_pairs(network, scores, name):
    similar = np.abs(np.corrcoef(rows_of(network, name)))
    np.fill_diagonal(similar, 0)
    total, gone = similar.sum(1), []
    pairs = [(similar[i, j], i, j) for i in range(len(similar)) for j in range(i)]
    for _, i, j in sorted(pairs, reverse=True):
        if i not in gone and j not in gone:
            gone.append(i if total[i] > total[j] else j)
    gone += [i for i in range(len(similar)) if i not in gone]
    assert scores["correlation"][name].argsort().tolist() == gone


def test_of_two_copies_one_goes_first_and_a_dead_filter_before():
    similar = torch.tensor([[1.0, 0.9, 0.3], [0.9, 1.0, 0.2], [0.3, 0.2, 1.0]])
    assert eliminated(similar, torch.zeros(3, dtype=torch.bool)).tolist()[0] == 0
    assert eliminated(similar, torch.tensor([False, False, True])).tolist()[2] == 0


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_bn_activation_by_numerical_integration(network, scores, name):
    norm = network.get_submodule(name.replace("conv", "bn"))

    def expected(gamma, beta):
        return integrate.quad(lambda z: max(gamma * z + beta, 0) * stats.norm.pdf(z), -12, 12, limit=500)[0]

    pairs = zip(norm.weight.tolist(), norm.bias.tolist(), strict=True)
    np.testing.assert_allclose(scores["bn_activation"][name], [expected(g, b) for g, b in pairs], rtol=1e-4)


def test_bn_activation_of_a_constant_or_negative_scale():
    norm = Norm(torch.tensor([0.0, 0.0, -1.0]), torch.tensor([2.0, -2.0, 0.0]), torch.zeros(3), torch.ones(3), 1e-5)
    group = Group("c", 3, ("c",), ("n",), (), (), "stage1", True)
    statistics = Statistics({"c": torch.ones(3, 1)}, {"c": norm}, {"c": []})
    found = score_groups(Structure([group], {}, None, None), statistics, ["bn_activation"])["bn_activation"]["c"]
    torch.testing.assert_close(found, torch.tensor([2.0, 0.0, (2 * torch.pi) ** -0.5]))


class Chain(nn.Module):
    """Convolutions and ReLUs alone."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 1), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(F.relu6(self.b(F.relu(self.a(x)))).sum((2, 3)))


def test_synflow_by_multiplying_matrices_and_its_conservation():
    network = randomised(Chain())
    structure = Structure.of(network, images())
    found = score_groups(structure, gather(network, structure, [], ["weights.flow"]), ["synflow"])["synflow"]
    a, b = (getattr(network, n).weight.detach().abs().sum((2, 3)) for n in "ab")
    into, out = a.sum(1), network.head.weight.detach().abs().sum(0)
    torch.testing.assert_close(found["a"], into * (out @ b) / (out @ b @ into))
    torch.testing.assert_close(found["b"], (b @ into) * out / (out @ b @ into))
    assert all(score.sum().item() == pytest.approx(1, rel=1e-5) for score in found.values())


def test_synflow_does_not_end_at_bounded_activations_or_depth():
    network = randomised(mobilenet())
    structure = Structure.of(network, images(size=32))
    flow = gather(network, structure, [], ["weights.flow"]).layers["weights.flow"]
    assert all((share.flatten(1).sum(1) > 1e-6).all() for share in flow.values())


@pytest.mark.parametrize(("rule", "made"), [("sum", lambda x, y: x + y), ("max", torch.maximum)])
def test_the_rule_for_coupled_convolutions_can_be_chosen(rule, made):
    network = randomised(Mixed())
    structure = Structure.of(network, images())
    statistics = gather(network, structure, [], ["weights"])
    left, right = (network.get_submodule(n).weight.detach().flatten(1).abs().sum(1) for n in ("left", "right"))
    found = score_groups(structure, statistics, ["l1"], group_rule=rule)["l1"]
    torch.testing.assert_close(found["left"], made(left, right))
