"""How closely the refitted network's answers follow those of the unpruned one, without labels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.data.batches import Split
from blendsearch.proxies.base import ProxyContext, register_proxy
from blendsearch.proxies.compensated import Compensated
from blendsearch.structure import Plan
from blendsearch.training.evaluation import answer, evaluating
from blendsearch.training.sensitivity import Sensitivity, sensitivities

STEEPEST = 1e-6
"""A divergence below which an image has no gradient: that of its root grows beyond all bounds towards zero."""


@register_proxy
class Agreement(Compensated):
    """Refits as `compensated` does, then reads 1 - d between the answers of both networks on the search images.

    d is the mean over images of the Jensen-Shannon distance of the class probabilities of the pruned and the unpruned
    network, 0 where they are the same and 1 where no class has a share in both; at the one temperature of the pruned
    network's logits at which the mean divergence KL is least: a network that is too sure, or not sure enough, of the
    right answers is as accurate as another. Unlike accuracy it also sees by how much answers win, so equal accuracies
    are told apart; unlike KL no image counts for more than one, so that plans which are nearly as good are told apart
    by half as many images. Measured: `runs/reference/post_training_blends/exploration.md`.
    """

    name = "agreement"
    source = (
        "Hinton et al., Distilling the Knowledge in a Neural Network, 2015 (a teacher's answers), as a score; the "
        "distance of Endres & Schindelin, A New Metric for Probability Distributions, IEEE Trans. Inf. Theory 2003; "
        "temperature as in Guo et al., On Calibration of Modern Neural Networks, ICML 2017"
    )
    adapts_as = Compensated
    raced = True
    adapts_forward = True
    settles = True

    def prepare(self, context: ProxyContext) -> None:
        super().prepare(context)
        self.wanted = self.answers(self.context.compute.place(self.context.network), self.search)

    def value(self, network: nn.Module) -> float:
        scores = self.scores_of(self.answers(self.folded(network), self.search))
        return self.value_of(float(scores.mean(dtype=torch.double)))

    def answers(self, network: nn.Module, images: Split) -> Tensor:
        """Return the log-probabilities of a split's images, float32 [N, classes], where the network is."""
        compute = self.context.compute
        with evaluating(network), torch.no_grad(), compute.autocast():
            batches = (batch for batch, _ in images.batches(500))
            return torch.cat([answer(network, batch, compute).log_softmax(1) for batch in batches])

    def sensitivities(self, plan: Plan, images: int) -> dict[str, Sensitivity]:
        """Return those of the mean distance on the first search images, at the temperature of the first few hundred."""
        compute, split = self.context.compute, self.search.subset(torch.arange(min(images, len(self.search))))

        def losses(network: nn.Module) -> Iterator[Tensor]:
            few = self.answers(network, split.subset(torch.arange(min(500, len(split)))))
            inverse, first = best_inverse_temperature(few, self.wanted[: len(few)]), 0
            for batch, _ in split.batches(64):  # what goes backward is kept until then
                for part in compute.few(compute.images(batch)):
                    answers = (network(part).float().log_softmax(1) * inverse).log_softmax(1)
                    yield distance(answers, self.wanted[first : first + len(part)], STEEPEST)
                    first += len(part)

        return sensitivities(self.compensation, self.context.network, plan, losses)

    def scores_of(self, answers: Tensor) -> Tensor:
        wanted = self.wanted[: len(answers)]
        inverse = best_inverse_temperature(answers, wanted)
        return 1 - distance((answers * inverse).log_softmax(1), wanted)


def distance(one: Tensor, other: Tensor, least: float = 0.0) -> Tensor:
    """Return the Jensen-Shannon distance of distributions, float64 [N] in [0, 1].

    one, other: log-probabilities. least: what no divergence counts below, for gradients.
    """
    one, other = one.double(), other.double()  # the root of a rounding error is a large one
    middle = torch.logaddexp(one, other) - math.log(2)
    divergence = one.exp() * (one - middle) + other.exp() * (other - middle)
    return (divergence.sum(1) / (2 * math.log(2))).clamp(least, 1).sqrt()


def best_inverse_temperature(given: Tensor, wanted: Tensor, steps: int = 40) -> float:
    """Return the inverse temperature, 1/8 to 8, of what is given at which the mean KL of `wanted` from it is least.

    given, wanted: log-probabilities [N, classes]. The divergence is convex in that, so that a golden-section search
    finds the minimum.
    """
    given, wanted = given.double(), wanted.double()  # around the minimum all is equal in half as many digits

    def divergence(inverse: float) -> float:
        return float(F.kl_div((given * inverse).log_softmax(1), wanted, log_target=True, reduction="batchmean"))

    golden = (math.sqrt(5) - 1) / 2
    low, high = 1 / 8, 8.0
    left, right = high - golden * (high - low), low + golden * (high - low)
    values = divergence(left), divergence(right)
    for _ in range(steps):
        if values[0] <= values[1]:
            high, right, left = right, left, right - golden * (right - low)
            values = divergence(left), values[0]
        else:
            low, left, right = left, right, left + golden * (high - left)
            values = values[1], divergence(right)
    return min((values[0], left), (values[1], right))[1]
