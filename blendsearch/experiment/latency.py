"""Measured latency: the table that a budget goes by, and what a pruned network then takes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from blendsearch.experiment.experiment import Experiment
from blendsearch.results.reading import taken_from
from blendsearch.results.records.common import LatencyRecord
from blendsearch.results.records.search import LatencyPair
from blendsearch.results.words import plural
from blendsearch.structure import LatencyTable, side_by_side

TABLE = "records/latency.json"
BATCHES = (1, 32)
LEAST_ROUNDS, MOST_ROUNDS = 3, 21
SECONDS_FOR_ROUNDS = 10.0
"""What the rounds of one size of batch may take, beyond the least number of them."""


def price_structure(experiment: Experiment) -> None:
    """Give the structure its latency table where budget or objectives need it, measured now or by a stopped run.

    Raises BudgetError when the budget is impossible.
    """
    structure, folder = experiment.structure, experiment.folder
    needed = "latency" in (*experiment.budget.ratios, *experiment.space.search.objectives)
    if not needed or structure.cost.latency_table is not None:
        return
    if folder.has(TABLE):
        with taken_from(folder / TABLE):
            structure.cost.latency_table = LatencyTable.from_dict(folder.read_json(TABLE))
    else:
        table = structure.measure_latencies(
            experiment.network,
            compute=experiment.compute,
            images=experiment.space.budget.latency_images,
            progress=experiment.progress,
        )
        folder.write_json(TABLE, table.to_dict())
        folder.event("latency", nanoseconds=table.whole, rest=table.rest)
    experiment.check_budget(structure)


def rounds_within(seconds: float) -> int:
    """Return how many rounds of so many seconds each are measured: fewer where one takes long."""
    return max(LEAST_ROUNDS, min(MOST_ROUNDS, int(SECONDS_FOR_ROUNDS / max(seconds, 1e-6))))


def compare_batches(experiment: Experiment, pruned: nn.Module) -> list[LatencyPair]:
    """Measure how long batches of 1 and of 32 images take in the unpruned and in a pruned network, by turns.

    On the compute's device; on a CPU with one thread. Fewer rounds where one takes long.
    """
    compute, networks = experiment.compute, [experiment.network, pruned]
    found: list[LatencyPair] = []
    for images in BATCHES:
        once = side_by_side(networks, experiment.example, compute=compute, images=images, rounds=1)
        rounds = rounds_within(sum(once))
        experiment.progress("measuring latency", len(found), len(BATCHES), f"{plural(images, 'image')}")
        unpruned, own = side_by_side(networks, experiment.example, compute=compute, images=images, rounds=rounds)
        found.append(
            LatencyPair(
                runtime="torch",
                device=compute.device,
                threads=1,
                images=images,
                unpruned_ms=round(unpruned * 1e3, 4),
                shipped_ms=round(own * 1e3, 4),
            )
        )
    experiment.progress("measuring latency", len(BATCHES), len(BATCHES), "")
    return found


def compare_latency(experiment: Experiment, pruned: nn.Module, counts: Mapping[str, int]) -> LatencyRecord | None:
    """Return what the latency table says of a pruned network beside what it measures, both against the unpruned.

    Measured as the table is: on the compute's device, one thread, batches of the same size; the networks by turns.
    None where the budget is of other kinds.
    """
    if "latency" not in experiment.budget.ratios:
        return None
    cost, table = experiment.structure.cost, experiment.structure.cost.latency_table
    assert table is not None
    networks = [experiment.network, pruned]
    unpruned, own = side_by_side(networks, experiment.example, compute=experiment.compute, images=table.images)
    return LatencyRecord(
        images=table.images,
        device=table.device,
        estimated_ratio=cost.ratio("latency", counts),
        measured_ratio=own / unpruned,
        estimated_ms=round(cost.latency(counts) / 1e6, 4),
        measured_ms=round(own * 1e3, 4),
        unpruned_ms=round(unpruned * 1e3, 4),
    )
