"""How closely the refitted network's answers follow those of the unpruned one, without labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.proxies.base import ProxyContext, register_proxy
from blendsearch.proxies.compensated import Compensated
from blendsearch.training.evaluation import evaluating


@register_proxy
class Agreement(Compensated):
    """Refits as `compensated` does, then reads exp(-KL) between the answers of both networks on the search images.

    KL is the mean over images of the divergence of the pruned network's class probabilities from the unpruned one's
    (nats). Unlike accuracy it also sees how sure the answers are, so equal accuracies are told apart.
    """

    name = "agreement"
    source = "Hinton et al., Distilling the Knowledge in a Neural Network, 2015 (KL to the teacher), as a score"
    adapts_as = Compensated

    def prepare(self, context: ProxyContext) -> None:
        super().prepare(context)
        network = context.compute.place(context.network)
        self.wanted = torch.cat(self._log_probabilities(network))

    def value(self, network: nn.Module) -> float:
        given = torch.cat(self._log_probabilities(network))
        return math.exp(-float(F.kl_div(given, self.wanted, log_target=True, reduction="batchmean")))

    def _log_probabilities(self, network: nn.Module) -> list[Tensor]:
        """Return the log-probabilities [B, classes] of each batch of search images."""
        compute = self.context.compute
        with evaluating(network), torch.no_grad(), compute.autocast():
            return [
                network(compute.images(images)).float().log_softmax(1).cpu() for images, _ in self.search.batches(500)
            ]
