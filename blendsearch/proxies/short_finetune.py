"""Accuracy after a few optimiser steps."""

from __future__ import annotations

from torch import nn

from blendsearch.compute import child_seed
from blendsearch.data.resident import resident
from blendsearch.proxies.base import Proxy, ProxyContext, positive, register_proxy
from blendsearch.structure import Plan
from blendsearch.training.evaluation import recalibrate
from blendsearch.training.loop import steps_per_epoch, train
from blendsearch.training.losses import OwnLoss


@register_proxy
class ShortFinetune(Proxy):
    """Trains the candidate for `steps` optimiser steps with the retraining's settings, then reads the accuracy.

    lr_share: highest learning rate as a share of the retraining's. images: how many calibration images the batch norms
    see before the accuracy is read. After a few steps their running statistics
    are still half those of the network before pruning, and how far they lag says little about the candidate.
    """

    name = "short_finetune"
    source = "early accuracy as in multi-fidelity search (Li et al., Hyperband, JMLR 2018); batch norm as in EagleEye"
    raced = True
    trains = True

    def __init__(
        self, steps: int = 80, images: int = 500, lr_share: float = 1.0, search_images: int | None = None
    ) -> None:
        super().__init__(search_images)
        positive(steps=steps, images=images, lr_share=lr_share)
        self.steps, self.images, self.lr_share = steps, images, lr_share

    def prepare(self, context: ProxyContext) -> None:
        super().prepare(context)
        calibration = context.calibration.take(min(self.images, len(context.calibration)))
        self.calibration = resident(calibration, context.compute)
        self.train = resident(context.train, context.compute)

    def adapt(self, network: nn.Module, plan: Plan) -> None:
        context = self.context
        epochs = self.steps / steps_per_epoch(len(context.train), context.training.batch_size)
        # Too short to stop early, and every candidate must take the same steps.
        changes = {
            "epochs": epochs,
            "warmup_epochs": 0.0,
            "early_stop": None,
            "lr": self.lr_share * context.training.lr,
        }
        training = context.training.model_copy(update=changes)
        # The same images in the same order for every candidate: a paired comparison.
        seed = child_seed(context.seed, "short_finetune")
        train(
            network,
            self.train,
            training,
            seed=seed,
            compute=context.compute,
            teacher=context.network,
            objective=OwnLoss.of(context.loss),
        )
        recalibrate(network, self.calibration.batches(250), context.compute)
