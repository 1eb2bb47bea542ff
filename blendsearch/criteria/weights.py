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
class LargestWeight(ConvolutionCriterion):
    """Largest absolute weight of the filter: max |w|."""

    name = "linf"
    needs = ("weights",)
    source = "Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (norms of the filter; here l-infinity)"

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        return statistics.weights[name].flatten(1).abs().amax(1)


@register_criterion
class SpectralNorm(ConvolutionCriterion):
    """Largest singular value of the filter as a matrix [input channels, kernel positions]."""

    name = "spectral_norm"
    needs = ("weights",)
    source = "Yoshida & Miyato, Spectral Norm Regularization, 2017 (arXiv 1705.10941), here of each filter"

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        return torch.linalg.matrix_norm(statistics.weights[name].flatten(2).double(), ord=2).float()


@register_criterion
class LayerAdaptiveMagnitude(ConvolutionCriterion):
    """LAMP, filter-wise: |w|^2 over the sum of |v|^2 of all filters v of the layer that are not smaller.

    Within a layer it ranks as l2 does; across layers it is comparable, which a global threshold needs.
    """

    name = "lamp"
    needs = ("weights",)
    source = "Lee et al., Layer-Adaptive Sparsity for the Magnitude-Based Pruning, ICLR 2021"

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        squares = statistics.weights[name].flatten(1).double().square().sum(1)
        survivors = (squares[None, :] * (squares[None, :] >= squares[:, None])).sum(1)
        return torch.where(survivors > 0, squares / survivors, 0.0).float()


@register_criterion
class GroupNorm(Criterion):
    """Square root of the sum of squares of all weights that go with the filter: its makers, norms and readers."""

    name = "group_norm"
    needs = ("weights", "batchnorm")
    source = "Fang et al., DepGraph, CVPR 2023 (sum over coupled parameters)"
    detects_dead = False  # a zero filter may still be read with large weights

    def score(self, group: Group, statistics: Statistics) -> Tensor:
        # A filter that is a block of channels has all of their rows.
        made = [statistics.weights[conv].reshape(group.width, -1) for conv in group.convolutions]
        norms = [statistics.norms[conv] for conv in group.convolutions if conv in statistics.norms]
        scales = [norm.gamma.reshape(group.width, -1) for norm in norms]
        read = [reader.flatten(1) for reader in statistics.readers[group.name]]
        return torch.cat([*made, *scales, *read], dim=1).norm(dim=1)


@register_criterion
class SynapticFlow(ConvolutionCriterion):
    """Share of all paths from input to output, weighted by the product of their |w|, that run through the filter."""

    name = "synflow"
    needs = ("weights.flow",)
    source = "Tanaka et al., Pruning Neural Networks Without Any Data (SynFlow), NeurIPS 2020"

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        return statistics.layers["weights.flow"][name].flatten(1).sum(1)


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
