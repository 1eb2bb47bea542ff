"""Criteria that ask what the next layer would miss."""

from __future__ import annotations

import torch
from torch import Tensor

from blendsearch.criteria.base import Criterion, register_criterion
from blendsearch.criteria.elimination import DropLoss, reader_keys
from blendsearch.statistics import Statistics
from blendsearch.structure import Group


@register_criterion
class ThiNet(Criterion):
    """Place in a greedy elimination, 0 for the first to go, that harms the outputs of the next layers least.

    Each turn drops the filter with which the sum of the dropped contributions has the least squared norm, over
    sampled outputs of all layers that read the group, each layer relative to its own energy.
    """

    name = "thinet"
    greedy = True
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


class BackwardElimination(Criterion):
    """Error of the layers that read the group, refitted after every drop, once the filter and all before it are gone.

    Each turn drops the filter that raises it least, so that the first to go have the lowest scores.
    """

    fisher: bool
    greedy = True

    def missing(self, group: Group, statistics: Statistics) -> str:
        measured = "weights.readers" in statistics.layers
        read = reader_keys(group, statistics) if measured else statistics.readers.get(group.name, [])
        return "" if len(read) > 0 else f"no convolution or linear layer reads group '{group.name}'"

    def score(self, group: Group, statistics: Statistics) -> Tensor:
        loss = DropLoss.of(group, statistics, fisher=self.fisher)
        return loss.eliminate(progress=self.progress).error.float()

    def steps(self, group: Group) -> int:
        return group.width


@register_criterion
class OBS(BackwardElimination):
    """Squared error of the next layers' outputs once the filter is gone, in a backward elimination.

    Each turn drops the filter that raises it least once their other weights are refitted; each layer relative to
    what it gives in all.
    """

    name = "obs"
    needs = ("activations.reader_gram", "weights.readers")
    source = "Frantar & Alistarh, Optimal Brain Compression, NeurIPS 2022; Kurtic et al., ZipLM, NeurIPS 2023"
    fisher = False


@register_criterion
class FisherOBS(BackwardElimination):
    """Rise of the loss, by the Fisher information of the next layers' outputs, in an elimination like that of `obs`.

    The squared error of each output counts by the mean squared gradient of the loss at it.
    """

    name = "obs_fisher"
    needs = ("activations.reader_gram", "weights.readers", "gradients.reader_outputs")
    source = "Kurtic et al., ZipLM, NeurIPS 2023; Fisher-weighted outputs as in Theis et al., 2018"
    fisher = True
