"""One forward-backward pass over the calibration data that serves every criterion."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sized
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blendsearch.compute import Compute
from blendsearch.errors import DataError
from blendsearch.progress import Progress, silent
from blendsearch.statistics.measures import MEASURES, Measure
from blendsearch.statistics.statistics import Statistics
from blendsearch.structure import Structure
from blendsearch.structure.trace import CallCounter, Site

Batches = Iterable[tuple[Tensor, Tensor]]
"""Batches of normalised images [N, C, H, W] and integer labels [N]."""

FAMILIES_WITH_DATA = ("activations", "gradients")


class Average:
    """Streaming mean over samples of one measure at one site."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.total: Tensor | None = None
        self.count = 0

    def add(self, a: Tensor, g: Tensor) -> None:
        """Take a batch of feature maps and gradients."""
        if self.measure.limit is not None:
            room = max(self.measure.limit - self.count, 0)
            a, g = a[:room], g[:room]
        if len(a) == 0:
            return
        batch = self.measure.per_sample(a, g).double().sum(0)
        self.total = batch if self.total is None else self.total + batch
        self.count += len(a)

    def value(self) -> Tensor:
        """Return the mean [C], float32 on the CPU."""
        assert self.total is not None
        return (self.total / self.count).float().cpu()


class Observer(CallCounter):
    """Feeds the feature maps of all sites, and their gradients in the backward pass, to the averages."""

    def __init__(self, network: nn.Module, sites: Iterable[Site], measures: Iterable[Measure]) -> None:
        super().__init__()
        wanted = list(measures)
        self.averages = {site: [Average(m) for m in wanted] for site in sites}
        self.backward = any(m.uses_gradients for m in wanted)
        self._by_call = {site.index: site for site in self.averages if site.index >= 0}
        self._hooks = [
            network.get_submodule(site.module).register_forward_hook(self._module_hook(site))
            for site in self.averages
            if site.index < 0
        ]

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def _module_hook(self, site: Site) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            with self.paused():
                self._observe(site, output)
            # The network may add in place to what it gets; the observed tensor must stay as it was.
            return output.clone()

        return hook

    def on_activation(self, index: int, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if index in self._by_call:
            self._observe(self._by_call[index], output)
        return output

    def _observe(self, site: Site, output: Tensor) -> None:
        averages = self.averages[site]
        maps = output.detach()
        with torch.no_grad():
            for average in averages:
                if not average.measure.uses_gradients:
                    average.add(maps, maps)
        if self.backward and output.requires_grad:
            if type(output.grad_fn).__name__ != "ReluBackward0":
                # Autograd itself forbids overwriting a ReLU's result; any other the network may still change.
                maps = maps.clone()
            output.register_hook(lambda gradient: self._observe_gradient(averages, maps, gradient))

    def _observe_gradient(self, averages: list[Average], maps: Tensor, gradient: Tensor) -> None:
        with torch.no_grad():
            for average in averages:
                if average.measure.uses_gradients:
                    average.add(maps, gradient)


def gather(
    network: nn.Module,
    structure: Structure,
    batches: Batches,
    needs: Iterable[str],
    *,
    compute: Compute | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Statistics:
    """Gather what `needs` names ("weights", "batchnorm", "activations.mean", "gradients.taylor", ...).

    The pass runs on a copy in evaluation mode, so the network's weights, batch-norm statistics, gradients, flags
    and hooks stay as they are, also when an error interrupts it. The loss is the cross entropy of each sample by
    itself. Raises DataError when data are needed and there are none.
    """
    statistics = Statistics.of_weights(network, structure, seed)
    measures = [MEASURES.get(name) for name in sorted(set(needs)) if name.split(".")[0] in FAMILIES_WITH_DATA]
    if not measures:
        return statistics
    compute = compute or Compute()
    replica = compute.place(copy.deepcopy(network)).eval()
    for parameter in replica.parameters():
        parameter.requires_grad_(True)
        parameter.grad = None
    sites = {site for group in structure.groups for site in group.sites}
    observer = Observer(replica, sites, measures)
    try:
        statistics.samples = _pass(replica, observer, batches, compute, progress)
    finally:
        observer.close()
    if statistics.samples == 0:
        raise DataError("statistics: the calibration data hold no batch; at least one image is needed")
    statistics.averages = {
        site: {average.measure.name: average.value() for average in averages}
        for site, averages in observer.averages.items()
    }
    return statistics


def _pass(network: nn.Module, observer: Observer, batches: Batches, compute: Compute, progress: Progress) -> int:
    total = len(batches) if isinstance(batches, Sized) else 0
    samples = 0
    for done, (images, labels) in enumerate(batches, start=1):
        observer.activations = observer.additions = 0
        with torch.set_grad_enabled(observer.backward):
            with observer:
                logits = network(compute.images(images))
            if observer.backward:
                _backward(logits, labels)
                network.zero_grad(set_to_none=True)
        samples += len(images)
        progress("statistics", done, max(total, done), f"{samples} images")
    return samples


def _backward(logits: Tensor, labels: Tensor) -> None:
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError(f"statistics: the network must return logits [N, classes]; it returned {shape}")
    if labels.dim() != 1 or labels.is_floating_point():
        raise DataError(f"statistics: labels must be integers [N]; given {labels.dtype} {tuple(labels.shape)}")
    if len(labels) != len(logits) or int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise DataError(
            f"statistics: {len(labels)} labels from {int(labels.min())} to {int(labels.max())} given for logits "
            f"{tuple(logits.shape)}; one label an image from 0 to {logits.shape[1] - 1} allowed"
        )
    # Summed, not averaged: each sample's gradient is then its own, whatever the batch size.
    F.cross_entropy(logits.float(), labels.to(logits.device), reduction="sum").backward()
