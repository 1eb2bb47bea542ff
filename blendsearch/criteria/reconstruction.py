"""Criteria that ask what the next layer would miss."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsearch.criteria.base import Criterion, register_criterion
from blendsearch.statistics import Statistics
from blendsearch.structure import Group


@register_criterion
class ThiNet(Criterion):
    """Place in a greedy elimination, 0 for the first to go, that harms the outputs of the next layers least.

    Each turn drops the filter with which the sum of the dropped contributions has the least squared norm, over
    sampled outputs of all layers that read the group, each layer relative to its own energy.
    """

    name = "thinet"
    needs = ("activations.contributions",)
    source = "Luo et al., ThiNet, ICCV 2017"

    def missing(self, group: Group, statistics: Statistics) -> str:
        # Before anything is measured, the weights that read the group tell as much.
        measured = statistics.layers.get("activations.contributions", statistics.readers)
        read = len(measured.get(group.name, [])) > 0
        return "" if read else f"no convolution or linear layer reads group '{group.name}'"

    def score(self, group: Group, statistics: Statistics) -> Tensor:
        return greedy_elimination(statistics.layers["activations.contributions"][group.name])


def greedy_elimination(products: Tensor) -> Tensor:
    """Return the place [C] of each filter in the elimination, from the inner products [C, C] of contributions."""
    products = products.double()
    harm = products.diagonal().clone()  # rise of the squared error if the filter goes next
    place = torch.zeros(len(products))
    for turn in range(len(products)):
        gone = int(harm.argmin())
        place[gone] = turn
        harm += 2 * products[gone]
        harm[gone] = torch.inf
    place[products.diagonal() == 0] = 0  # they go first, in no order
    return place
