"""Accuracy after the batch norms have seen the pruned network's own activations."""

from __future__ import annotations

from torch import nn

from blendsearch.data.resident import resident
from blendsearch.proxies.base import Proxy, ProxyContext, positive, register_proxy
from blendsearch.structure import Plan
from blendsearch.training.evaluation import recalibrate


@register_proxy
class BatchNormRecalibrated(Proxy):
    """Recomputes batch-norm statistics on calibration images, then reads the accuracy.

    images: how many calibration images. Orders candidates of different widths; among candidates of equal widths
    we measured no agreement with the accuracy after retraining.
    """

    name = "bn_recalibrated"
    source = "Li et al., EagleEye, ECCV 2020 (adaptive batch norm)"
    raced = True
    adapts_forward = True

    def __init__(self, images: int = 1000, search_images: int | None = None) -> None:
        super().__init__(search_images)
        positive(images=images)
        self.images = images

    def prepare(self, context: ProxyContext) -> None:
        super().prepare(context)
        calibration = context.calibration.take(min(self.images, len(context.calibration)))
        self.calibration = resident(calibration, context.compute)

    def adapt(self, network: nn.Module, plan: Plan) -> None:
        recalibrate(network, self.calibration.batches(250), self.context.compute)
