"""What a campaign is going to do, counted, and about how long that takes and how much memory."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from blendsearch.allocation import Evolved
from blendsearch.campaigns.foresight.unit_costs import Stopwatch, UnitCosts
from blendsearch.campaigns.search.rivals import mix_hesso
from blendsearch.campaigns.search.swaps import FORESEEN
from blendsearch.criteria import applicable
from blendsearch.data.batches import Split
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.problem import TILTS
from blendsearch.experiment.scoring import known_before_training, wanted_criteria
from blendsearch.proxies import PROXIES
from blendsearch.proxies.average import Average
from blendsearch.proxies.prefixes import room_here
from blendsearch.results.words import plural
from blendsearch.training.loop import steps_per_epoch
from blendsearch.validation.space import make

LEDGER = 0.04
"""Seconds to record one evaluation of the search."""
OPENING = 12.0
"""Seconds in which the package is loaded and the report is drawn, whatever the campaign."""
STARTING = 5.0
"""Seconds until worker processes are there."""
LOADED = 0.6
"""Gigabytes of the main process without images."""
WORKER = 0.45
"""Gigabytes of a worker process without images."""
BATCH = 128
"""Images of a batch that is scored."""
RECONSTRUCTION = 1.6
"""A step towards the unpruned network's feature maps, which runs too, takes so many steps of a training."""


@dataclass(frozen=True)
class Work:
    """One kind of work of a campaign: its name, what was counted, in words, and about how many seconds it takes."""

    name: str
    counted: str
    seconds: float


@dataclass(frozen=True)
class Forecast:
    """What a campaign does, and about how much memory (gigabytes, of all its processes) it takes at once.

    costs: what it was put together from. device_gigabytes: what an accelerator needs; None without one.
    """

    work: Sequence[Work]
    costs: UnitCosts
    gigabytes: float
    device_gigabytes: float | None = None

    @property
    def seconds(self) -> float:
        """About how long the campaign takes."""
        return sum(one.seconds for one in self.work)


@dataclass
class Counts:
    """How often a search campaign does what, from its space and the network's structure alone."""

    experiment: Experiment
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        wanted = wanted_criteria(self.experiment)
        left_out = applicable(wanted, self.experiment.structure, known_before_training(self.experiment))
        self.names = [name for name in wanted if name not in left_out]

    @property
    def criteria(self) -> int:
        """How many criteria and found blends there are to be blended."""
        return len(self.names) + len(self.experiment.space.blends)

    @property
    def evolves(self) -> bool:
        """Whether the layers' shares are genes."""
        return isinstance(self.experiment.allocation, Evolved)

    @property
    def starts(self) -> int:
        """How many genomes of criteria the search begins with."""
        allocation = self.experiment.allocation
        each = len(allocation.start) if isinstance(allocation, Evolved) else 1
        extra = 2 + len(TILTS) if self.experiment.space.blend.set_aware else 0  # see `starting_genomes`
        return (self.criteria + extra) * each

    @property
    def evaluations(self) -> int:
        """Genomes that the search evaluates at most; a limit counts with the generation that reaches it."""
        search = self.experiment.space.search
        first = max(search.population, self.starts + len(search.start_from or ()))
        whole = first + search.generations * search.population
        limit = search.limit.evaluations if search.limit is not None else None
        searched = whole if limit is None else min(whole, max(first, limit + search.population // 2))
        return searched + (search.population if search.objectives else 0)  # of a front the best at the full budget

    @property
    def other_evaluations(self) -> int:
        """Estimates beside the search's: of rivals, of a plan that is improved, of a random search, of own shares."""
        search = self.experiment.space.search
        groups = len(self.experiment.structure.widths)
        wanted = self.experiment.space.rivals
        rivals = 3 * groups if "criterion_per_layer" in wanted and self.criteria > 1 else 0
        plans = self.improvements * (1 + ("swapped" in wanted) + self.own_shares)
        random = self.evaluations - self.starts if search.random_search else 0
        return rivals + plans + max(0, random) + self.own_shares * self.evaluations

    @property
    def improvements(self) -> int:
        """Estimates by which one plan is improved, and forecasts, each as dear as three."""
        search, proxy = self.experiment.space.search, PROXIES.get(self.experiment.space.proxy.name)
        moves, swaps = search.reallocation or 0, search.swaps or 0
        forecasts = -(-swaps // FORESEEN) if proxy.forecasts() else 0
        return 2 * moves + swaps + 3 * forecasts  # of moves there is a forecast after each step, of a few estimates

    @property
    def own_shares(self) -> bool:
        """Whether shares evolve for one criterion, too."""
        return "own_shares" in self.experiment.space.rivals

    @property
    def sequential(self) -> int:
        """How many plans are chosen layer by layer."""
        search, wanted = self.experiment.space.search, self.experiment.space.rivals
        rivals = ("elimination" in wanted) + (len(TILTS) if "tilted" in wanted and self.criteria > 1 else 0)
        return 0 if search.layer_by_layer is None else search.layer_by_layer + rivals

    @property
    def contenders(self) -> int:
        """How many different networks are retrained with each seed."""
        space = self.experiment.space
        search = space.search
        several = self.criteria > 1
        of_several = {"mean_of_ranks", "criterion_per_layer", "tilted", "hesso"}
        possible = {name for name in space.rivals if several or name not in of_several}
        if mix_hesso(self.names)[0] is None:
            possible.discard("hesso")
        ablation = 2 if search.ablation and self.evolves else 0
        front = 2 * (search.front - 1) if search.objectives else 0  # the first point is the blend beside the criteria
        wanted = search.retrained_criteria
        criteria = self.criteria if wanted == "all" else min(self.criteria, wanted)
        return 1 + criteria + len(possible) + search.random_search + ablation + front

    @property
    def finals(self) -> float:
        """Retrainings, in whole ones, that choose among the proxy's best."""
        finals = self.experiment.space.search.finals
        if finals is None:
            return 0.0
        inside, whole = finals.candidates, 0.0
        for rung in finals.rungs:
            whole += inside * rung * finals.seeds
            inside = (inside + 1) // 2  # at least: who is not clearly worse stays, too
        return whole * (1 + self.experiment.space.search.random_search + self.own_shares)


def forecast_search(experiment: Experiment) -> Forecast:
    """Count what a search campaign does, time a step of each kind for a second or so, and put both together."""
    costs = Stopwatch(experiment).all()
    return Forecast(list(_work(experiment, Counts(experiment), costs)), costs, *_memory(experiment))


def forecast_retrainings(experiment: Experiment, networks: int) -> Forecast:
    """Do so for a network of a leaderboard, of which so many pruned ones are retrained."""
    costs = Stopwatch(experiment).all()
    work = [*_preparation(experiment, costs), _retraining(experiment, costs, networks)]
    return Forecast(work, costs, *_memory(experiment))


def seconds_of_retraining(experiment: Experiment, costs: UnitCosts) -> float:
    """Return the seconds that one pruned network takes: refit, training, and reading its accuracies."""
    space, splits = experiment.space, experiment.splits
    steps = _steps(len(splits.train), space.retraining.batch_size, space.retraining.epochs)
    reconstruction = space.reconstruction
    towards = 0.0
    if reconstruction is not None:
        one = costs.retraining_step * reconstruction.batch_size / space.retraining.batch_size
        towards = reconstruction.steps * one * RECONSTRUCTION
    read = (2 * len(splits.test) + len(splits.search)) * costs.pruned_image
    return steps * costs.retraining_step + towards + costs.refit + read


def _work(experiment: Experiment, counts: Counts, costs: UnitCosts) -> Iterator[Work]:
    yield from _preparation(experiment, costs)
    side_by_side = max(1, experiment.workers)
    seconds = counts.evaluations * (costs.proxy.estimate / side_by_side + LEDGER) + costs.proxy.once
    yield Work("search", f"{counts.evaluations} estimates by {experiment.space.proxy.name}", seconds)
    others = counts.other_evaluations
    if others:
        counted = f"{others} estimates of rivals, plans filter by filter and other searches"
        yield Work("comparison", counted, others * costs.proxy.estimate / side_by_side)
    if counts.sequential:
        once = costs.refit or costs.proxy.estimate
        yield Work("layer by layer", f"{plural(counts.sequential, 'plan')}", counts.sequential * 3 * once)
    if counts.finals:
        one = seconds_of_retraining(experiment, costs)
        yield Work("finals", f"{counts.finals:.1f} retrainings", counts.finals * one / side_by_side)
    yield _retraining(experiment, costs, counts.contenders * experiment.space.retraining.seeds)


def _preparation(experiment: Experiment, costs: UnitCosts) -> Iterator[Work]:
    """Yield what comes before any network is pruned."""
    space, splits = experiment.space, experiment.splits
    seconds = OPENING + (STARTING if experiment.workers > 1 else 0.0)
    yield Work("start and report", plural(experiment.workers, "worker"), seconds)
    steps = _steps(len(splits.train), space.training.batch_size, space.training.epochs)
    counted = f"{space.training.epochs:g} epochs, {steps:,} steps" if steps else "none: the network is taken as it is"
    yield Work("training", counted, steps * costs.training_step)
    images = len(splits.calibration)
    criteria = len(wanted_criteria(experiment))
    counted = f"{plural(images, 'image')}, {criteria} {'criterion' if criteria == 1 else 'criteria'}"
    yield Work("statistics", counted, costs.statistics)
    yield Work("unpruned network", "its accuracies", (len(splits.test) + len(splits.search)) * costs.image)


def _retraining(experiment: Experiment, costs: UnitCosts, networks: int) -> Work:
    retraining, train = experiment.space.retraining, len(experiment.splits.train)
    steps = _steps(train, retraining.batch_size, retraining.epochs)
    each = f"{steps:,} steps each" if steps else "refitted, not retrained"
    seconds = networks * seconds_of_retraining(experiment, costs) / max(1, min(networks, experiment.workers))
    return Work("retraining", f"{plural(networks, 'network')}, {each}", seconds)


def _steps(images: int, batch_size: int, epochs: float) -> int:
    return max(1, round(epochs * steps_per_epoch(images, batch_size))) if epochs and images else 0


def _memory(experiment: Experiment) -> tuple[float, float | None]:
    """Return about how many gigabytes all processes of a campaign hold at once, and of that an accelerator."""
    each = _bytes_of_image(experiment)
    space = experiment.space
    most = max(space.training.batch_size if space.training.epochs else 0, 2 * BATCH)
    activations = each * most / 1e9
    images = sum(len(part) for part in _parts(experiment)) * _pixels(experiment) / 1e9
    images = images if images < 1 else 0.0  # larger sets are streamed
    workers = experiment.workers if experiment.workers > 1 else 0
    retrained = each * space.retraining.batch_size / 1e9
    on_device = experiment.compute.kind != "cpu"
    host = _resident() + images + (0.0 if on_device else activations) + workers * (WORKER + images)
    host += max(1, workers) * _kept_of_candidates(experiment)
    host += 0.0 if on_device else workers * retrained
    return host, activations + retrained if on_device else None


def _kept_of_candidates(experiment: Experiment) -> float:
    """Return the gigabytes that a process keeps at most of candidates, for others with the same first layers."""
    proxy = make(PROXIES, experiment.space.proxy)
    several = proxy.proxies if isinstance(proxy, Average) else [proxy]
    return sum(room_here() for one in several if vars(type(one)).get("adapts_forward", False)) / 1e9


def _parts(experiment: Experiment) -> tuple[Split, ...]:
    splits = experiment.splits
    return (splits.train, splits.calibration, splits.search, splits.test)


def _pixels(experiment: Experiment) -> int:
    channels, height, width = experiment.splits.shape
    return channels * height * width


def _bytes_of_image(experiment: Experiment) -> float:
    """Return the bytes that a forward pass keeps of one image for its backward pass."""
    kept = 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    network = copy.deepcopy(experiment.network)
    weights = sum(one.numel() * one.element_size() for one in network.parameters())
    example = experiment.example.to(next(network.parameters()).device)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(example)
    return max(0.0, kept - weights) / len(example)


def _resident() -> float:
    """Return the gigabytes that this process has had at most; what the package alone takes where that is not known."""
    try:
        import resource
    except ImportError:  # no such module on Windows
        return LOADED
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e9 if sys.platform == "darwin" else 1e6)
