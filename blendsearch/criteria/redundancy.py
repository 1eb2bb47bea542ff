"""Criteria that compare a filter's weights with those of the other filters of its layer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from blendsearch.criteria.base import ConvolutionCriterion, register_criterion
from blendsearch.statistics import Statistics


@register_criterion
class GeometricMedian(ConvolutionCriterion):
    """Mean Euclidean distance to the other filters: a filter near the geometric median is replaceable."""

    name = "fpgm"
    needs = ("weights",)
    source = "He et al., Filter Pruning via Geometric Median, CVPR 2019"
    detects_dead = False  # zero is far from the others where they are far from zero

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        rows = statistics.weights[name].flatten(1).double()
        return (torch.cdist(rows, rows).sum(1) / max(len(rows) - 1, 1)).float()


@register_criterion
class Fermat(ConvolutionCriterion):
    """Euclidean distance to the Fermat point, the point of least total distance to all filters of the layer."""

    name = "fermat"
    needs = ("weights",)
    source = "Huang et al., Rethinking the Pruning Criteria for Convolutional Neural Network, NeurIPS 2021"
    detects_dead = False  # zero may be far from that point

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        rows = statistics.weights[name].flatten(1).double()
        return (rows - fermat_point(rows)).norm(dim=1).float()


def fermat_point(rows: Tensor, tolerance: float = 1e-10, at_most: int = 1000) -> Tensor:
    """Return the point [M] that minimises the sum of Euclidean distances to `rows` [C, M].

    Weiszfeld's iteration with the step of Vardi & Zhang (PNAS 2000), which also leaves a row it has met; stops when
    a step is shorter than `tolerance` of the rows' spread.
    """
    point = rows.mean(0)
    spread = (rows - point).norm(dim=1).amax()
    for _ in range(at_most):
        away = rows - point
        distance = away.norm(dim=1)
        here = distance <= 1e-12 * spread
        pull = torch.where(here, 0.0, 1 / distance.masked_fill(here, 1.0))
        force = (away * pull[:, None]).sum(0)
        strength = force.norm()
        held = here.sum()
        if strength <= held or strength == 0:
            break
        step = (1 - held / strength) * force / pull.sum()
        point = point + step
        if step.norm() <= tolerance * spread:
            break
    return point


@register_criterion
class Orthogonality(ConvolutionCriterion):
    """Minus the mean absolute cosine with the other filters of the layer: overlapping filters are redundant."""

    name = "orthogonality"
    needs = ("weights",)
    source = "Prakash et al., RePr, CVPR 2019"
    detects_dead = False  # a zero filter overlaps with nothing

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        rows = F.normalize(statistics.weights[name].flatten(1).double(), dim=1)
        overlap = (rows @ rows.T).abs()
        overlap.fill_diagonal_(0)
        return -(overlap.sum(1) / len(rows)).float()


@register_criterion
class Cosine(ConvolutionCriterion):
    """One minus the cosine with the most similar other filter of the layer, signed; 0 for a copy or a zero filter."""

    name = "cosine"
    needs = ("weights",)
    source = "Ayinde & Zurada, Building Efficient ConvNets using Redundant Feature Pruning, 2018 (arXiv 1802.07653)"

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        rows = F.normalize(statistics.weights[name].flatten(1).double(), dim=1)
        similar = rows @ rows.T
        similar.fill_diagonal_(-1)
        similar[rows.norm(dim=1) == 0] = 1
        return (1 - similar.amax(1)).clamp(min=0).float()


@register_criterion
class Correlation(ConvolutionCriterion):
    """Place in an elimination, 0 for the first to go, that always takes a filter of the most correlated pair left.

    Pearson correlation of the weights, by magnitude; of the pair goes the filter more correlated with the whole layer.
    A pair of near copies thus loses one filter early and keeps the other.
    """

    name = "correlation"
    needs = ("weights",)
    source = "Singh et al., Leveraging Filter Correlations for Deep Model Compression, WACV 2020"

    def convolution(self, name: str, statistics: Statistics) -> Tensor:
        rows = statistics.weights[name].flatten(1).double()
        rows = F.normalize(rows - rows.mean(1, keepdim=True), dim=1)
        return eliminated((rows @ rows.T).abs(), rows.norm(dim=1) == 0)


def eliminated(similar: Tensor, replaceable: Tensor) -> Tensor:
    """Return the place [C] of each filter in the elimination; `replaceable` filters are like every other one."""
    similar = (similar + similar.T) / 2  # a product of matrices is symmetric up to rounding only
    similar[replaceable] = similar[:, replaceable] = 1
    similar.fill_diagonal_(0)
    nearest, partner = similar.max(1)
    total = similar.sum(1)
    place = torch.zeros(len(similar))
    for turn in range(len(similar)):
        gone = total.masked_fill(nearest < nearest.amax(), -1).argmax()
        place[gone] = turn
        similar[:, gone] = -1
        stale = partner == gone
        nearest[stale], partner[stale] = similar[stale].max(1)
        partner[gone], nearest[gone] = -1, -1
        similar[gone] = -1
    return place
