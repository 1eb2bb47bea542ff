"""One forward-backward pass over the calibration data that serves every criterion; relevance has passes of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any

from torch import Tensor, nn

from blendsearch.compute import Compute
from blendsearch.errors import DataError
from blendsearch.progress import Progress, silent
from blendsearch.statistics.labels import OrderOfClasses, check_finite
from blendsearch.statistics.measures import MEASURES
from blendsearch.statistics.observation import Observation
from blendsearch.statistics.plain_copy import with_plain_weights
from blendsearch.statistics.ratings import Ratings, ratings_of
from blendsearch.statistics.relevance import PER_CLASS, RelevanceGatherer
from blendsearch.statistics.statistics import Statistics
from blendsearch.statistics.task import Task, unsuited
from blendsearch.structure import Structure
from blendsearch.structure.example import map_tensors

Batches = Iterable[tuple[Tensor, Tensor]]
"""Batches of normalised images [N, C, H, W] and integer labels [N]."""

SILENT = {
    "gradients": "the gradient of the loss is zero at every filter, on all images",
    "weights.flow": "nothing flows through any filter, from the input to the output",
    "relevance": "no relevance of the true class arrives at any filter, on all images",
}
MEASURED_FAMILIES = ("weights", "activations", "gradients")


def gather(
    network: nn.Module,
    structure: Structure,
    batches: Batches,
    needs: Iterable[str],
    *,
    compute: Compute | None = None,
    seed: int = 0,
    ratings: Ratings | None = None,
    relevance_per_class: int | None = PER_CLASS,
    progress: Progress = silent,
    task: Task | None = None,
) -> Statistics:
    """Gather what `needs` names ("weights", "batchnorm", "activations.mean", "gradients.taylor", ...).

    The passes run on copies in evaluation mode, so the network's weights, batch-norm statistics, gradients, flags
    and hooks stay as they are, also when an error interrupts them. ratings: people's, for the need "ratings".
    relevance_per_class: how many images of each class, the first that come, LRP relevance takes; None: all.
    task: how batches that are no images with labels are run, and their loss; what is about classes is then unavailable.
    Numbers other than float32 and weights that are computed are measured in a plain copy, see `with_plain_weights`.
    Raises DataError when data are needed and there are none. Warns where entries that look at the first images alone
    see far fewer classes than shuffled images would show them.
    """
    needs = set(needs)
    unsuitable = {need: reason for need in needs if task is not None and (reason := unsuited(need, task))}
    wanted = sorted(set(needs) - set(unsuitable))
    compute = compute or Compute()
    network = with_plain_weights(network)
    statistics = Statistics.of_weights(network, structure, seed)
    if ratings is not None:
        statistics.ratings, statistics.fallback = ratings_of(structure, ratings), ratings.fallback
    sites = {site for group in structure.groups for site in group.sites}
    entries = [MEASURES.get(name) for name in wanted if _is_measured(name)]
    observation = Observation(network, structure, entries, compute) if entries else None
    relevance = RelevanceGatherer(network, sites, structure.trace.norm, wanted, compute, per_class=relevance_per_class)
    gatherers: list[Observation | RelevanceGatherer] = []
    if observation is not None and observation.needs_data:
        gatherers.append(observation)
    if relevance.needs:
        gatherers.append(relevance)
    if gatherers:
        if task is None:
            statistics.samples = _pass(gatherers, batches, compute, progress)
        elif observation is not None:
            statistics.samples = _pass_of(task, observation, batches, compute, progress)
        observed = observation.averages() if observation is not None else {}
        statistics.averages = {site: found | observed.get(site, {}) for site, found in relevance.averages().items()}
    if observation is not None:
        statistics.layers = observation.layers(progress)
    known = relevance.unavailable | (observation.unavailable if observation is not None else {})
    statistics.unavailable = nowhere(statistics, wanted) | known | unsuitable
    return statistics


def nowhere(statistics: Statistics, needs: Iterable[str]) -> dict[str, str]:
    """Return the needs by gradients, relevance or flow that are zero at every filter, with what that means.

    Zero at some is an answer: of those the loss, or the logit, knows nothing. Zero at all would be no order at all.
    """
    found = {}
    for need in needs:
        averages = [of_site[need] for of_site in statistics.averages.values() if need in of_site]
        tensors = [*averages, *statistics.layers.get(need, {}).values()]
        what = SILENT.get(need) or SILENT.get(need.split(".")[0])
        if what and tensors and not any(bool(tensor.any()) for tensor in tensors):
            found[need] = what
    return found


def _is_measured(need: str) -> bool:
    return "." in need and need.split(".")[0] in MEASURED_FAMILIES


def _pass(
    gatherers: list[Observation | RelevanceGatherer], batches: Batches, compute: Compute, progress: Progress
) -> int:
    told, order = _Pass(batches, progress, "images"), OrderOfClasses()
    for images, labels in batches:
        given = compute.images(images)
        check_finite(given, told.samples)
        for gatherer in gatherers:
            told.within(gatherer.what)
            gatherer.add(given, labels, told.within)
        order.add(labels)
        told.batch(len(images))
    order.warn(limit for gatherer in gatherers if isinstance(gatherer, Observation) for limit in gatherer.limits)
    return told.end("at least one image is needed")


def _pass_of(task: Task, observation: Observation, batches: Iterable[Any], compute: Compute, progress: Progress) -> int:
    told = _Pass(batches, progress, "samples")
    for batch in batches:
        told.within(observation.what)
        told.batch(observation.add_of(task, map_tensors(batch, lambda one: one.to(compute.device))))
    return told.end("at least one is needed")


class _Pass:
    """How far a pass over batches is, of which it may not be known how many there are.

    kind: what a batch is made of, such as "images".
    """

    def __init__(self, batches: Iterable[Any], progress: Progress, kind: str) -> None:
        self.progress, self.kind = progress, kind
        self.total = len(batches) if isinstance(batches, Sized) else 0
        self.done = self.samples = 0

    def within(self, what: str) -> None:
        """Tell what is done with the batch that has come."""
        self.progress("statistics", self.done, self._total(), f"{self.samples} {self.kind}, {what}")

    def batch(self, samples: int) -> None:
        """Tell that a batch is done."""
        self.done, self.samples = self.done + 1, self.samples + samples
        self.progress("statistics", self.done, self._total(), f"{self.samples} {self.kind}")

    def end(self, needed: str) -> int:
        """Tell that there are no more, and return how many samples there were; DataError for none."""
        if self.samples == 0:
            raise DataError(f"statistics: the calibration data hold no batch; {needed}")
        self.progress("statistics", self.done, self.done, f"{self.samples} {self.kind}")
        return self.samples

    def _total(self) -> int:
        """Return how many batches there are; a loader may have more than it says."""
        return max(self.total, self.done) if self.total else 0
