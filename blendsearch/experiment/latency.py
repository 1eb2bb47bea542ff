"""Measured latency: the table that a budget goes by, and what a pruned network then takes."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from torch import Tensor, nn

from blendsearch.compute import threads
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.records.common import LatencyRecord
from blendsearch.structure import LatencyTable, measure_latency, side_by_side

TABLE = "records/latency.json"


def price_structure(experiment: Experiment) -> None:
    """Give the structure its latency table where budget or objectives need it, measured now or by a stopped run.

    Raises BudgetError when the budget is impossible.
    """
    structure, folder = experiment.structure, experiment.folder
    needed = "latency" in (*experiment.budget.ratios, *experiment.space.search.objectives)
    if not needed or structure.cost.latency_table is not None:
        return
    if folder.has(TABLE):
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


def measure_latencies_ms(networks: Mapping[str, nn.Module], example: Tensor, rounds: int = 5) -> dict[str, float]:
    """Measure the median milliseconds of one image on one CPU thread, the networks by turns.

    By turns, so that a machine that is busy for a while slows all of them alike.
    """
    times: dict[str, list[float]] = {name: [] for name in networks}
    with threads(1):
        for _ in range(rounds):
            for name, network in networks.items():
                times[name].append(measure_latency(network.cpu(), example[:1]))
    return {name: round(median(values) * 1000, 4) for name, values in times.items()}


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
