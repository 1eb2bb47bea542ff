"""Accuracy after the closed-form refit and a few optimiser steps."""

from __future__ import annotations

from torch import nn

from blendsearch.proxies.base import ProxyContext, positive, register_proxy
from blendsearch.proxies.compensated import Compensated
from blendsearch.proxies.short_finetune import ShortFinetune
from blendsearch.structure import Plan


@register_proxy
class CompensatedFinetune(Compensated):
    """Refits as `compensated` does, then trains for `steps` optimiser steps with the retraining's settings.

    The refit takes out what retraining would mend at once; the steps show how fast the rest comes back. images: of
    the calibration split, for the refit and for the batch norms after the steps. lr_share: highest learning rate as
    a share of the retraining's; low, because a few steps at the full rate undo the refit before they can build on it.
    """

    name = "compensated_finetune"
    source = "He et al., Channel Pruning, ICCV 2017, section 3.1; Li et al., Hyperband, JMLR 2018 (early accuracy)"
    raced = True
    trains = True

    def __init__(
        self,
        steps: int = 10,
        images: int = 512,
        positions: int = 20_000,
        ridge: float = 1e-3,
        lr_share: float = 0.1,
        search_images: int | None = None,
    ) -> None:
        super().__init__(images, positions, ridge, search_images)
        positive(steps=steps)
        self.finetune = ShortFinetune(steps, images, lr_share, search_images)

    def prepare(self, context: ProxyContext) -> None:
        super().prepare(context)
        self.finetune.prepare(context)

    def adapt(self, network: nn.Module, plan: Plan) -> None:
        super().adapt(network, plan)
        self.finetune.adapt(network, plan)
