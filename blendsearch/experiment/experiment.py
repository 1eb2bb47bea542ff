"""Everything a campaign works with, built from its space: data, network, structure, budget."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.allocation import ALLOCATIONS, Allocation, Budget
from blendsearch.compute import Compute, child_seed, threads
from blendsearch.config import Space
from blendsearch.criteria import Scores, applicable, measures_of, names, score_groups
from blendsearch.data.batches import Split
from blendsearch.data.splits import Splits, load_splits
from blendsearch.errors import BlendsearchError, BudgetError, DataError
from blendsearch.evolution.parallel import resolve_workers
from blendsearch.experiment.members import adapt_members, criteria_in, member_scores, note_members
from blendsearch.models.loading import build
from blendsearch.progress import Progress
from blendsearch.proxies import ProxyContext
from blendsearch.results.run_folder import Checkpoint, RunFolder
from blendsearch.schedules import SCHEDULES, Refit, TrainingJob, TrainingSchedule
from blendsearch.statistics import Statistics, gather
from blendsearch.statistics.ratings import Ratings, ratings_of, read_ratings
from blendsearch.structure import LatencyTable, Structure, measure_latency, side_by_side
from blendsearch.training.evaluation import evaluate
from blendsearch.training.loop import History, train
from blendsearch.validation.space import budget_of, check_space, make


@dataclass
class Experiment:
    """A space brought to life; parts are built when first asked for."""

    space: Space
    progress: Progress

    def __post_init__(self) -> None:
        check_space(self.space)
        compute = self.space.compute
        self.compute = Compute.resolve(compute.device, compute.precision, compute.channels_last)
        self.workers = resolve_workers(compute.workers, compute.threads, self.compute.device)

    @cached_property
    def splits(self) -> Splits:
        """The four splits of the data."""
        return load_splits(self.space.data, self.space.seed, self.progress)

    @cached_property
    def network(self) -> nn.Module:
        """The network as built, with the given weights or with seeded random ones."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(child_seed(self.space.seed, "initialise"))
            return build(self.space.model, num_classes=len(self.splits.classes), shape=self.splits.shape)

    @cached_property
    def example(self) -> Tensor:
        """Two images of the right shape."""
        return torch.randn(2, *self.splits.shape, generator=torch.Generator().manual_seed(0))

    @cached_property
    def structure(self) -> Structure:
        """The groups of the network under the space's scope; BudgetError when the budget is impossible.

        A latency budget is checked when its table is there, see `price_structure`.
        """
        section = self.space.structure
        structure = Structure.of(self.network, self.example, scope=section.scope, ignore=section.ignore)
        if self.budget.kind != "latency":
            self.check_budget(structure)
        return structure

    def check_budget(self, structure: Structure) -> None:
        """Raise BudgetError when the budget is impossible, or the lowest of those that a search for a front may try."""
        floors, search = self.budget.floors(structure.widths), self.space.search
        self.budget.check_possible(floors, structure.cost)
        if search.objectives and search.lowest is not None:
            try:
                replace(self.budget, ratio=search.lowest).check_possible(floors, structure.cost)
            except BudgetError as error:
                raise BudgetError(f"search.lowest: {error}") from None

    @cached_property
    def ratings(self) -> Ratings | None:
        """People's ratings of the filters, or None when the space names no file."""
        given = self.space.ratings
        return None if given is None else read_ratings(given.file, given.fallback)

    @cached_property
    def budget(self) -> Budget:
        """How much may be kept."""
        return budget_of(self.space)

    @cached_property
    def allocation(self) -> Allocation:
        """How the budget is shared out among the groups."""
        allocation: Allocation = make(ALLOCATIONS, self.space.allocation)
        return allocation

    @cached_property
    def compensation(self) -> Refit | None:
        """What refits pruned networks, with its images, or None; DataError when there are too few images."""
        section = self.space.compensation
        if section is None:
            return None
        parts = (self.splits.calibration, self.splits.train)
        images = unlabelled(parts, section.images, child_seed(self.space.seed, "compensation"))
        return Refit(images, section.positions, section.ridge)

    def proxy_context(self, network: nn.Module) -> ProxyContext:
        """Return what proxies work with."""
        splits = self.splits
        return ProxyContext(
            network, self.structure, splits.calibration, splits.search, splits.train,
            self.space.retraining, self.compute, self.space.seed,
        )  # fmt: skip


def price_structure(experiment: Experiment, folder: RunFolder) -> Structure:
    """Return the structure, with its latency table where budget or objectives need it.

    The table is measured now, or read from a stopped run's folder.

    Raises BudgetError when the budget is impossible.
    """
    structure, name = experiment.structure, "records/latency.json"
    needed = "latency" in (experiment.budget.kind, *experiment.space.search.objectives)
    if needed and structure.cost.latency_table is None:
        if folder.has(name):
            structure.cost.latency_table = LatencyTable.from_dict(folder.read_json(name))
        else:
            table = structure.measure_latencies(
                experiment.network,
                compute=experiment.compute,
                images=experiment.space.budget.latency_images,
                progress=experiment.progress,
            )
            folder.write_json(name, table.to_dict())
            folder.event("latency", nanoseconds=table.whole, rest=table.rest)
        experiment.check_budget(structure)
    return structure


def unlabelled(splits: Sequence[Split], count: int, seed: int) -> Tensor:
    """Return `count` images [N, C, H, W], out of the first split as far as it goes, in an order of the seed's.

    Labels take no part in the choice. Raises DataError when there are fewer.
    """
    available = sum(len(split) for split in splits)
    if count > available:
        raise DataError(
            f"compensation.images: {count} given, at most {available} allowed (calibration and training images)"
        )
    images = (one for split in splits for batch, _ in split.batches(100, seed=seed) for one in batch)
    return torch.stack(list(islice(images, count)))


def train_unpruned(experiment: Experiment, folder: RunFolder) -> dict[str, Any]:
    """Train (or adapt) the network in place, or read what a stopped run trained; return its record.

    A training schedule of the space trains it in its way. Keys: seconds, steps (of the optimiser), search_accuracy,
    flops, params. The test split is not read here.
    """
    structure = price_structure(experiment, folder)  # an impossible budget shows before hours of training
    if folder.has("records/baseline.json"):
        experiment.network.load_state_dict(folder.read_tensors("baseline.safetensors"))
        record: dict[str, Any] = folder.read_json("records/baseline.json")
        return record
    start = time.perf_counter()
    check_before_work(experiment)
    checkpoint = folder.checkpoint("baseline")
    history = _train(experiment, checkpoint)
    accuracy = evaluate(experiment.network, experiment.splits.search.batches(500), experiment.compute).accuracy
    record = {
        "seconds": round(time.perf_counter() - start, 3),
        "steps": history.steps,
        "search_accuracy": accuracy,
        "flops": structure.cost.flops(structure.widths),
        "params": sum(parameter.numel() for parameter in experiment.network.parameters()),
    }
    experiment.network.cpu()
    folder.write_tensors("baseline.safetensors", experiment.network.state_dict())
    folder.write_json("records/baseline.json", record)
    folder.event("baseline", **record)
    checkpoint.remove()
    return record


def data_name(experiment: Experiment) -> str:
    """Return the data set's name; a class folder's is that of the folder."""
    data = experiment.space.data
    return Path(data.root).name if data.name == "folder" and data.root else data.name


def _train(experiment: Experiment, checkpoint: Checkpoint) -> History:
    space, seed = experiment.space, child_seed(experiment.space.seed, "training")
    schedule = make(SCHEDULES, space.schedule)
    if isinstance(schedule, TrainingSchedule):
        job = TrainingJob(
            experiment.structure, experiment.splits.train, experiment.splits.calibration, space.training, seed=seed,
            compute=experiment.compute, progress=experiment.progress, checkpoint=checkpoint,
        )  # fmt: skip
        return schedule.train(experiment.network, job)
    if space.training.epochs == 0:
        return History()
    return train(
        experiment.network, experiment.splits.train, space.training, seed=seed, compute=experiment.compute,
        progress=experiment.progress, task="training", checkpoint=checkpoint,
        validation=experiment.splits.search if space.training.early_stop else None,
    )  # fmt: skip


def prepare_allocation(experiment: Experiment, folder: RunFolder) -> Allocation:
    """Let the allocation measure what it needs on the trained network, or read what a stopped run measured."""
    name = "records/allocation.json"
    if folder.has(name):
        experiment.allocation.load_state_dict(folder.read_json(name))
        return experiment.allocation
    experiment.allocation.prepare(
        experiment.network, experiment.structure, experiment.splits.search, compute=experiment.compute,
        seed=child_seed(experiment.space.seed, "allocation"), progress=experiment.progress,
    )  # fmt: skip
    folder.write_json(name, experiment.allocation.state_dict())
    return experiment.allocation


def latencies_ms(networks: dict[str, nn.Module], example: Tensor, rounds: int = 5) -> dict[str, float]:
    """Measure the median milliseconds of one image on one CPU thread, the networks by turns.

    By turns, so that a machine that is busy for a while slows all of them alike.
    """
    times: dict[str, list[float]] = {name: [] for name in networks}
    with threads(1):
        for _ in range(rounds):
            for name, network in networks.items():
                times[name].append(measure_latency(network.cpu(), example[:1]))
    return {name: round(statistics.median(values) * 1000, 4) for name, values in times.items()}


def latency_reached(experiment: Experiment, pruned: nn.Module, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return what the latency table says of a pruned network beside what it measures, both against the unpruned.

    Measured as the table is: on the compute's device, one thread, batches of the same size; the networks by turns.
    """
    cost, table = experiment.structure.cost, experiment.structure.cost.latency_table
    assert table is not None
    seconds = side_by_side(
        [experiment.network, pruned], experiment.example, compute=experiment.compute, images=table.images
    )
    return {
        "images": table.images,
        "device": table.device,
        "estimated_ratio": cost.ratio("latency", counts),
        "measured_ratio": seconds[1] / seconds[0],
        "estimated_ms": round(cost.latency(counts) / 1e6, 4),
        "measured_ms": round(seconds[1] * 1e3, 4),
        "baseline_ms": round(seconds[0] * 1e3, 4),
    }


def score_criteria(experiment: Experiment, folder: RunFolder) -> tuple[Scores, dict[str, Any]]:
    """Score the network under the space's criteria and its blends, or read what a stopped run scored.

    With criteria "all", those that do not apply to this network are left out, and the record says why; a
    criterion asked for by name that does not apply is an error. Record keys: seconds, criteria, left_out, samples.
    """
    if folder.has("records/scores.json"):
        record: dict[str, Any] = folder.read_json("records/scores.json")
        return _unflatten(folder.read_tensors("scores.safetensors"), record["criteria"]), record
    start = time.perf_counter()
    wanted = names() if experiment.space.criteria == "all" else list(experiment.space.criteria)
    members = adapt_members(experiment.space, experiment.structure)
    inside = criteria_in(members)
    gathered = calibration_statistics(experiment, list(dict.fromkeys([*wanted, *inside])))
    left_out = applicable(wanted, experiment.structure, gathered)
    check_wanted(experiment, gathered)
    used = [name for name in wanted if name not in left_out]
    every = list(dict.fromkeys([*used, *inside]))
    scored = score_groups(experiment.structure, gathered, every, group_rule=experiment.space.structure.group_rule)
    scores = {**{name: scored[name] for name in used}, **member_scores(members, scored)}
    record = {
        "seconds": round(time.perf_counter() - start, 3),
        "criteria": list(scores),
        "left_out": left_out,
        "samples": gathered.samples,
    }
    flat = {f"{name}/{group}": tensor for name, groups in scores.items() for group, tensor in groups.items()}
    folder.write_tensors("scores.safetensors", flat)
    if members:
        note_members(folder, experiment.space, members)
    folder.write_json("records/scores.json", record)
    folder.event("statistics", **record)
    return scores, record


def check_before_work(experiment: Experiment) -> None:
    """Raise what can be known to be wrong before any work: data, network, budget, ratings, criteria.

    To be called before a job makes its folder, so that a job which cannot begin leaves none behind.
    """
    _ = experiment.splits, experiment.structure, experiment.compensation
    check_wanted(experiment, before_training(experiment))


def before_training(experiment: Experiment) -> Statistics:
    """Return what is known of a network before it is trained; DataError for ratings of another network."""
    statistics = Statistics.of_weights(experiment.network, experiment.structure)
    if experiment.ratings is not None:
        statistics.ratings = ratings_of(experiment.structure, experiment.ratings)
        statistics.fallback = experiment.ratings.fallback
    return statistics


def check_wanted(experiment: Experiment, statistics: Statistics) -> None:
    """Raise BlendsearchError when a criterion asked for by name, or one of a blend, cannot score this network."""
    asked = [] if experiment.space.criteria == "all" else list(experiment.space.criteria)
    members = adapt_members(experiment.space, experiment.structure)
    inside = criteria_in(members)
    if not asked and not inside:
        return
    left_out = applicable(list(dict.fromkeys([*asked, *inside])), experiment.structure, statistics)
    lines = [f"criteria: '{name}': {left_out[name]}" for name in asked if name in left_out]
    for label, fitted in members.items():
        lines += [f"blends: '{label}': '{n}': {left_out[n]}" for n in fitted.blend.criteria if n in left_out]
    if lines:
        raise BlendsearchError("\n".join(lines))


def calibration_statistics(experiment: Experiment, criteria: list[str]) -> Statistics:
    """Gather the statistics of the current network on the calibration split."""
    size = len(experiment.splits.calibration)
    batches = experiment.splits.calibration.batches(128)
    return gather(
        experiment.network, experiment.structure, batches, measures_of(criteria, experiment.ratings), compute=experiment.compute,
        seed=child_seed(experiment.space.seed, "statistics"), ratings=experiment.ratings,
        relevance_per_class=experiment.space.data.relevance_per_class,
        progress=lambda task, done, total, detail="": experiment.progress(task, done, -(-size // 128), detail),
    )  # fmt: skip


def _unflatten(flat: dict[str, Tensor], criteria: list[str]) -> Scores:
    return {
        name: {key[len(name) + 1 :]: tensor for key, tensor in flat.items() if key.startswith(f"{name}/")}
        for name in criteria
    }
