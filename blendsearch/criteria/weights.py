"""Criteria that look at weights alone."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsearch.criteria.base import ConvolutionCriterion, Criterion, register_criterion
from blendsearch.statistics import Statistics
from blendsearch.structure import Group


@register_criterion
class L1Norm(ConvolutionCriterion):
    """Sum of absolute weights of the filter."""

    name = "l1"
    needs = ("weights",)
    source = "Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017"

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        return statistics.weights[name].flatten(1).abs().sum(1)


@register_criterion
class L2Norm(ConvolutionCriterion):
    """Euclidean norm of the filter."""

    name = "l2"
    needs = ("weights",)
    source = "He et al., Soft Filter Pruning, IJCAI 2018"

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        return statistics.weights[name].flatten(1).norm(dim=1)


@register_criterion
class GeometricMedian(ConvolutionCriterion):
    """Mean Euclidean distance to the other filters: a filter near the geometric median is replaceable."""

    name = "fpgm"
    needs = ("weights",)
    source = "He et al., Filter Pruning via Geometric Median, CVPR 2019, eq. 4"
    detects_dead = False  # zero is far from the others where they are far from zero

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        rows = statistics.weights[name].flatten(1).double()
        return (torch.cdist(rows, rows).sum(1) / max(len(rows) - 1, 1)).float()


@register_criterion
class Orthogonality(ConvolutionCriterion):
    """Minus the mean absolute cosine with the other filters of the layer: overlapping filters are redundant."""

    name = "orthogonality"
    needs = ("weights",)
    source = "Prakash et al., RePr, CVPR 2019, eq. 2"
    detects_dead = False  # a zero filter overlaps with nothing

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        rows = torch.nn.functional.normalize(statistics.weights[name].flatten(1).double(), dim=1)
        overlap = (rows @ rows.T).abs()
        overlap.fill_diagonal_(0)
        return -(overlap.sum(1) / len(rows)).float()


@register_criterion
class NextLayer(Criterion):
    """Euclidean norm of all weights that read the filter in the layers after it."""

    name = "next_layer"
    needs = ("weights",)
    source = "Fang et al., DepGraph, CVPR 2023 (the reading half of the coupled group norm)"
    detects_dead = False  # a zero filter may still be read with large weights

    def missing(self, group: Group, statistics: Statistics) -> str:
        return "" if statistics.readers[group.name] else f"no convolution or linear layer reads group '{group.name}'"

    def score(self, group: Group, statistics: Statistics) -> Tensor:
        return torch.cat([reader.flatten(1) for reader in statistics.readers[group.name]], dim=1).norm(dim=1)
