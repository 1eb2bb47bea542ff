"""The common forward-backward pass: feature maps and gradients go to meters, layers to recorders."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.checkpoint import CheckpointError

from blendsearch.compute import Compute, without_autocast
from blendsearch.errors import StructureError
from blendsearch.progress import Progress, silent
from blendsearch.statistics.labels import check_integers, check_labels, check_loss
from blendsearch.statistics.layers import LayerMeasure, Recorder
from blendsearch.statistics.measures import Entry, Measure
from blendsearch.statistics.passes import Pass
from blendsearch.statistics.task import Task
from blendsearch.structure import Structure
from blendsearch.structure.trace import CallCounter, Site

CHECKPOINTED = (
    "gradient checkpointing computes feature maps anew in the backward pass, where they cannot be watched; turn it off "
    "for scoring and pruning"
)

Tell = Callable[[str], None]
"""Is told what a gatherer is at within a batch."""


def unheard(what: str) -> None:
    """Tell nobody."""


@contextlib.contextmanager
def nothing_runs_anew() -> Iterator[None]:
    """Raise StructureError where a backward pass computes maps again: nobody watches them, and no rule holds there."""

    def refuse(module: nn.Module, inputs: object) -> None:
        raise StructureError(CHECKPOINTED)

    handle = register_module_forward_pre_hook(refuse)
    try:
        yield
    except CheckpointError as error:
        raise StructureError(CHECKPOINTED) from error
    finally:
        handle.remove()


class Meter:
    """Feeds one measure at one site, up to the measure's limit of images."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.accumulator = measure.accumulator()
        self.count = 0

    def add(self, a: Tensor, g: Tensor, labels: Tensor) -> None:
        """Take a batch of feature maps, gradients and labels."""
        if self.measure.limit is not None:
            room = max(self.measure.limit - self.count, 0)
            a, g, labels = a[:room], g[:room], labels[:room]
        if len(a):
            self.accumulator.add(a, g, labels)
            self.count += len(a)

    def value(self) -> Tensor:
        """Return [C, ...], float32 on the CPU."""
        return self.accumulator.value().float().cpu()


class Observer(CallCounter):
    """Feeds the feature maps of all sites, and their gradients in the backward pass, to the meters, as float32.

    Where no gradient arrives, because a part of the network runs without or leads nowhere, it is zero.
    """

    def __init__(self, network: nn.Module, sites: Iterable[Site], measures: Sequence[Measure]) -> None:
        super().__init__()
        self.labels = torch.empty(0, dtype=torch.long)
        self._waiting: dict[int, tuple[list[Meter], Tensor, Tensor]] = {}
        self.forward = {site: [Meter(m) for m in measures if not m.uses_gradients] for site in sites}
        self.backward = {site: [Meter(m) for m in measures if m.uses_gradients] for site in self.forward}
        self._by_call = {site.index: site for site in self.forward if site.index >= 0}
        self._hooks = [
            network.get_submodule(site.module).register_forward_hook(self._module_hook(site))
            for site in self.forward
            if site.index < 0
        ]

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def values(self, site: Site) -> dict[str, Tensor]:
        """Return measure -> [C, ...]."""
        return {meter.measure.name: meter.value() for meter in (*self.forward[site], *self.backward[site])}

    def start(self, labels: Tensor) -> None:
        """Begin a forward pass over images with these labels."""
        self.activations = self.additions = 0
        self.labels = labels

    def finish(self) -> None:
        """End the backward pass: what waits for a gradient still gets none."""
        for meters, maps, labels in list(self._waiting.values()):
            self._observe_gradient(meters, maps, torch.zeros_like(maps), labels)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the calls made inside uncounted, and in the precision of their operands."""
        with super().paused(), without_autocast():
            yield

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
        maps, labels, backward = output.detach().float(), self.labels, self.backward[site]
        with torch.no_grad(), without_autocast():
            for meter in self.forward[site]:
                meter.add(maps, maps, labels)
        if not backward:
            return
        if maps.dtype == output.dtype and type(output.grad_fn).__name__ != "ReluBackward0":
            # Autograd itself forbids overwriting a ReLU's result; any other the network may still change.
            maps = maps.clone()
        self._waiting[id(maps)] = backward, maps, labels
        if output.requires_grad:
            output.register_hook(lambda gradient: self._observe_gradient(backward, maps, gradient, labels))

    def _observe_gradient(self, meters: list[Meter], maps: Tensor, gradient: Tensor, labels: Tensor) -> None:
        self._waiting.pop(id(maps))
        with torch.no_grad():
            for meter in meters:
                meter.add(maps, gradient.float(), labels)


class Observation:
    """Gathers everything in MEASURES: one forward-backward pass over each batch, and at the end the own passes.

    The pass runs on a copy in evaluation mode. The loss is the cross entropy of each sample by itself.
    unavailable: measure -> why this network does not allow it.
    """

    what = "maps and gradients"

    def __init__(self, network: nn.Module, structure: Structure, entries: Sequence[Entry], compute: Compute) -> None:
        self.structure = structure
        self.network = compute.place(copy.deepcopy(network)).eval().requires_grad_(True)
        for parameter in self.network.parameters():
            parameter.grad = None
        self.passes = [entry for entry in entries if isinstance(entry, Pass)]
        common = [entry for entry in entries if not isinstance(entry, Pass)]
        self.hold = max((entry.limit for entry in self.passes), default=0)
        self.held: list[tuple[Tensor, Tensor]] = []
        self.samples = 0
        self.unavailable: dict[str, str] = {}
        self._of_gradients = [entry.name for entry in entries if entry.name.startswith("gradients.")]
        self.runs, self.backward = bool(common), any(entry.uses_gradients for entry in common)
        self.measures = [entry for entry in common if isinstance(entry, Measure)]
        sites = {site for group in structure.groups for site in group.sites} if self.measures else set()
        self.observer = Observer(self.network, sites, self.measures)
        self.recorders: dict[str, Recorder] = {
            entry.name: entry.recorder(self.network, structure, self.observer.paused)
            for entry in common
            if isinstance(entry, LayerMeasure)
        }

    @property
    def limits(self) -> set[int]:
        """How many images those entries look at that take the first ones alone."""
        limits = [one.limit for one in self.measures] + [one.limit for one in self.passes]
        return {limit for limit in (*limits, *(one.limit for one in self.recorders.values())) if limit}

    @property
    def needs_data(self) -> bool:
        """Whether anything is to be gathered from images."""
        return self.runs or self.hold > 0

    def add_of(self, task: Task, batch: Any) -> int:
        """Take a batch of the user's own, on the device; return how many samples it has."""
        samples = task.samples(batch)
        self.samples += samples
        if self.runs:
            self.observer.start(torch.empty(0, dtype=torch.long))
            with torch.set_grad_enabled(self.backward):
                with self.observer:
                    outputs = task.run(self.network, batch)
                if self.backward:
                    # Summed, not averaged: each sample's gradient is then its own, whatever the batch size.
                    self._go_back(lambda: task.total(outputs, batch))
            self._end_batch(samples)
        return samples

    def add(self, images: Tensor, labels: Tensor, tell: Tell = unheard) -> None:
        """Take a batch, on the device."""
        check_integers(labels, len(images))
        labels = labels.to(images.device).long()
        if self.samples < self.hold:
            self.held.append((images[: self.hold - self.samples], labels[: self.hold - self.samples]))
        self.samples += len(images)
        if not self.runs:
            return
        self.observer.start(labels)
        with torch.set_grad_enabled(self.backward):
            with self.observer:
                logits = self.network(images)
            if self.backward:
                check_labels(logits, labels)
                self._go_back(lambda: summed_loss(logits, labels))
        self._end_batch(len(images))

    def _end_batch(self, samples: int) -> None:
        self.observer.finish()
        for recorder in self.recorders.values():
            recorder.end_batch(samples)
        self.network.zero_grad(set_to_none=True)

    def _go_back(self, loss: Callable[[], Tensor]) -> None:
        """Run the backward pass of a loss; where the network allows none, nothing by gradients is available."""
        try:
            total = loss()
            if total.requires_grad:  # not where all of `forward` runs without gradients
                with nothing_runs_anew():
                    total.backward()
        except StructureError as error:
            self.unavailable |= dict.fromkeys(self._of_gradients, str(error))

    def averages(self) -> dict[Site, dict[str, Tensor]]:
        """Return site -> measure -> [C, ...], float32 on the CPU."""
        return {site: self.observer.values(site) for site in self.observer.forward}

    def layers(self, progress: Progress = silent) -> dict[str, dict[str, Tensor]]:
        """Run the passes of their own; return measure -> convolution or group -> [C, ...], float32 on the CPU."""
        self.observer.close()
        for recorder in self.recorders.values():
            recorder.close()
        found = {name: recorder.value() for name, recorder in self.recorders.items()}
        for done, entry in enumerate(self.passes):
            progress("further passes", done, len(self.passes), entry.name)
            try:
                found[entry.name] = entry.run(self.network, self.structure, _first(self.held, entry.limit))
            except StructureError as error:
                self.unavailable[entry.name] = str(error)
            except CheckpointError:
                self.unavailable[entry.name] = CHECKPOINTED
        if self.passes:
            progress("further passes", len(self.passes), len(self.passes))
        return {
            name: {key: tensor.detach().float().contiguous().cpu() for key, tensor in tensors.items()}
            for name, tensors in found.items()
        }


def summed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy, summed: each sample's gradient is then its own, whatever the batch size."""
    check_loss(logits)
    return F.cross_entropy(logits.float(), labels, reduction="sum")


def _first(held: list[tuple[Tensor, Tensor]], limit: int) -> list[tuple[Tensor, Tensor]]:
    """Return the first `limit` images of held batches, in batches."""
    result: list[tuple[Tensor, Tensor]] = []
    for images, labels in held:
        room = limit - sum(len(some) for _, some in result)
        if room > 0:
            result.append((images[:room], labels[:room]))
    return result
