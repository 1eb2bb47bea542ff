"""One forward-backward pass over the calibration data that serves every criterion; relevance has passes of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sized

from torch import Tensor, nn

from blendsearch.compute import Compute
from blendsearch.errors import DataError
from blendsearch.progress import Progress, silent
from blendsearch.statistics.measures import MEASURES
from blendsearch.statistics.observation import Observation
from blendsearch.statistics.ratings import Ratings, ratings_of
from blendsearch.statistics.relevance import PER_CLASS, RelevanceGatherer
from blendsearch.statistics.statistics import Statistics
from blendsearch.structure import Structure

Batches = Iterable[tuple[Tensor, Tensor]]
"""Batches of normalised images [N, C, H, W] and integer labels [N]."""

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
) -> Statistics:
    """Gather what `needs` names ("weights", "batchnorm", "activations.mean", "gradients.taylor", ...).

    The passes run on copies in evaluation mode, so the network's weights, batch-norm statistics, gradients, flags
    and hooks stay as they are, also when an error interrupts them. ratings: people's, for the need "ratings".
    relevance_per_class: how many images of each class, the first that come, LRP relevance takes; None: all.
    Raises DataError when data are needed and there are none.
    """
    wanted = sorted(set(needs))
    compute = compute or Compute()
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
        statistics.samples = _pass(gatherers, batches, compute, progress)
        observed = observation.averages() if observation is not None else {}
        statistics.averages = {site: found | observed.get(site, {}) for site, found in relevance.averages().items()}
        statistics.unavailable = relevance.unavailable
    if observation is not None:
        statistics.layers = observation.layers()
    return statistics


def _is_measured(need: str) -> bool:
    return "." in need and need.split(".")[0] in MEASURED_FAMILIES


def _pass(
    gatherers: list[Observation | RelevanceGatherer], batches: Batches, compute: Compute, progress: Progress
) -> int:
    total = len(batches) if isinstance(batches, Sized) else 0
    samples = 0
    for done, (images, labels) in enumerate(batches, start=1):
        given = compute.images(images)
        for gatherer in gatherers:
            gatherer.add(given, labels)
        samples += len(images)
        progress("statistics", done, max(total, done), f"{samples} images")
    if samples == 0:
        raise DataError("statistics: the calibration data hold no batch; at least one image is needed")
    return samples
