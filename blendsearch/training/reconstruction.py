"""Reconstruction: after a cut, a short training without labels towards what the network gave before it.

The cut network, as slicing or compensation left it, learns to give the feature maps of the network it was cut from, at
the channels that are left, and, where wanted, its answers. Sources: Romero et al., FitNets, ICLR 2015 (hints: feature
maps of a teacher as targets), here at every place and channel that both networks share, so that no regressor is needed;
Hinton et al., 2015 (answers).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.compute import Compute
from blendsearch.config import ReconstructionConfig, TrainingConfig
from blendsearch.data.batches import Split
from blendsearch.progress import Progress, silent
from blendsearch.structure import Plan, Structure
from blendsearch.structure.trace import NORMS, CallCounter, Trace
from blendsearch.training.early_stop import weights_of
from blendsearch.training.evaluation import Batches, evaluating, recalibrate
from blendsearch.training.loop import History, steps_per_epoch, train
from blendsearch.training.losses import Objective, distillation_loss

LEAST_SPREAD = 1e-12  # of a feature map that is the same everywhere


class FeatureMaps(CallCounter):
    """Keeps the feature maps of a forward pass: every residual sum, and what activations make of single convolutions.

    found: name of a convolution that gave them -> [N, C, H, W].
    """

    def __init__(self, network: nn.Module, trace: Trace) -> None:
        super().__init__()
        self.joins = {join.index: join.convolution for join in trace.joins}
        joined = set(self.joins.values())
        sites = [(site, site.convolutions[0]) for site in trace.sites if not joined.intersection(site.convolutions)]
        self.activated = {site.index: name for site, name in sites if site.index >= 0}
        self.modules = {site.module: name for site, name in sites if site.index < 0}
        self.network = network
        self.found: dict[str, Tensor] = {}
        self.handles: list[Any] = []

    def __enter__(self) -> FeatureMaps:
        self.activations = self.additions = 0
        self.found = {}
        for module, name in self.modules.items():
            self.handles.append(self.network.get_submodule(module).register_forward_hook(self._hook(name)))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        while self.handles:
            self.handles.pop().remove()

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self.found[name] = output

        return hook

    def on_activation(self, index: int, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if index in self.activated:
            self.found[self.activated[index]] = output
        return output

    def on_addition(self, index: int, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if index in self.joins:
            self.found[self.joins[index]] = output
        return output


class Imitation(Objective):
    """Distance of a cut network to the one it was cut from; labels play no part.

    Feature maps: squared error over the teacher's spread, as mean over the places (0: the same, 1: as far as the mean
    is). Answers: see `distillation_loss`. The teacher is copied and stays as it is.
    """

    classifies = False

    def __init__(
        self,
        teacher: nn.Module,
        structure: Structure,
        pruned: nn.Module,
        plan: Plan,
        settings: ReconstructionConfig,
        compute: Compute,
    ) -> None:
        self.settings, self.compute = settings, compute
        self.teacher = compute.place(copy.deepcopy(teacher)).eval()
        self.wanted = FeatureMaps(self.teacher, structure.trace)
        self.given = FeatureMaps(pruned, structure.trace)
        self.structure, self.plan = structure, plan

    def watching(self) -> contextlib.AbstractContextManager[object]:
        return self.given if self.settings.features else contextlib.nullcontext()

    def __call__(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        watched = self.wanted if self.settings.features else contextlib.nullcontext()
        with torch.no_grad(), self.compute.autocast(), watched:
            wanted = self.teacher(images)
        loss = torch.zeros((), device=images.device)
        if self.settings.features:
            loss = loss + self.settings.features * self._distance(self.given.found, self.wanted.found)
        if self.settings.logits:
            answers = distillation_loss(logits.float(), wanted.float(), self.settings.temperature)
            loss = loss + self.settings.logits * answers
        return loss

    def _distance(self, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
        errors = [relative_error(maps, self._left(name, wanted[name])) for name, maps in given.items()]
        return torch.stack(errors).mean()

    def _left(self, name: str, maps: Tensor) -> Tensor:
        """Return of a convolution's feature maps those that the cut left."""
        kept = self.structure.kept_outputs(name, self.plan)
        return maps if kept is None else maps[:, kept.to(maps.device)]


def relative_error(given: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared error over the variance of what is wanted, both over all dimensions."""
    given, wanted = given.float(), wanted.float()
    return (given - wanted).square().mean() / wanted.var(unbiased=False).clamp(min=LEAST_SPREAD)


@dataclass(frozen=True)
class Reconstruction:
    """Trains cut networks towards the one they were cut from, without labels.

    images: what it looks at, with the augmentation of training images. It keeps no checkpoint: a run that is stopped
    meanwhile begins it anew, to the same weights.
    """

    images: Split
    settings: ReconstructionConfig

    def __call__(
        self,
        network: nn.Module,
        structure: Structure,
        pruned: nn.Module,
        plan: Plan,
        *,
        compute: Compute,
        seed: int,
        progress: Progress = silent,
    ) -> History:
        """Train `pruned`, the network of this structure sliced by `plan`, in place, on the compute's device.

        Where the distance to `network`, over all images as they are, has not become smaller, its weights are put back.
        """
        compute.place(pruned)
        objective = Imitation(network, structure, pruned, plan, self.settings, compute)
        before, weights = mean_loss(pruned, objective, self.images.batches(250), compute), weights_of(pruned)
        history = train(
            pruned,
            self.images,
            self._training(),
            seed=seed,
            compute=compute,
            progress=progress,
            task="reconstruction",
            objective=objective,
            mode=norms_alone,
        )
        recalibrate(pruned, self.images.batches(250), compute)
        if not mean_loss(pruned, objective, self.images.batches(250), compute) < before:
            pruned.load_state_dict(weights)
        return history

    def _training(self) -> TrainingConfig:
        settings = self.settings
        per_epoch = steps_per_epoch(len(self.images), settings.batch_size)
        return TrainingConfig(
            epochs=settings.steps / per_epoch,
            batch_size=settings.batch_size,
            optimizer="adamw",
            lr=settings.lr,
            weight_decay=0.0,
        )


def norms_alone(network: nn.Module) -> None:
    """Put batch norms alone into training mode: what dropout leaves out is not what the teacher gives."""
    network.eval()
    for norm in (module for module in network.modules() if isinstance(module, NORMS)):
        norm.train()


def mean_loss(network: nn.Module, objective: Objective, batches: Batches, compute: Compute) -> float:
    """Return an objective's mean over images in evaluation mode; training flags are put back."""
    total, count = 0.0, 0
    with evaluating(network), torch.no_grad():
        for images, labels in _placed(batches, compute):
            with compute.autocast(), objective.watching():
                logits = network(images)
            total += float(objective(images, logits, labels)) * len(labels)
            count += len(labels)
    return total / count


def _placed(batches: Batches, compute: Compute) -> Iterator[tuple[Tensor, Tensor]]:
    for images, labels in batches:
        yield compute.images(images), labels.to(compute.device)
