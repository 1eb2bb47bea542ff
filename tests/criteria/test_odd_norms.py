"""Batch norms without a bias, or without running statistics, have a scale all the same."""

from __future__ import annotations

import copy

import torch
from small_networks import conv4, images, randomised
from torch import nn

from blendsearch.criteria import ScoringSetup, names, score_applicable
from blendsearch.structure import Structure

DATA = [(images(6, seed=3), torch.arange(6) % 3)]


def scored(network):
    return score_applicable(network, Structure.of(network, images()), DATA, names(), ScoringSetup())


def test_a_norm_without_a_bias_scores_as_one_whose_bias_is_zero():
    network = randomised(conv4()).eval()
    for norm in (network.bn1, network.bn3):
        nn.init.zeros_(norm.bias)
    without = copy.deepcopy(network)
    for norm in (without.bn1, without.bn3):
        norm.register_parameter("bias", None)
    expected, found = scored(network), scored(without)
    assert found.left_out == expected.left_out
    for name, groups in expected.scores.items():
        assert all(torch.allclose(found.scores[name][group], score, rtol=1e-4) for group, score in groups.items()), name


def test_a_norm_without_running_statistics_has_a_scale():
    network = randomised(conv4()).eval()
    network.bn2.running_mean = network.bn2.running_var = None
    found = scored(network)
    assert "bn_scale" in found.scores
    assert torch.equal(found.scores["bn_scale"]["conv2"], network.bn2.weight.detach().abs())
    read = network.conv3.weight.transpose(0, 1).flatten(1)
    rows = [network.conv2.weight.flatten(1), network.bn2.weight[:, None], read]
    torch.testing.assert_close(found.scores["group_norm"]["conv2"], torch.cat(rows, 1).norm(dim=1).detach())
    assert {"bn_activation", "bn_taylor"} <= found.scores.keys()
