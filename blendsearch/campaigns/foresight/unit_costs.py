"""What one step of each kind costs on this machine, timed in a second or so each on few images, nothing kept."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.allocation import ALLOCATIONS, Budget
from blendsearch.campaigns.foresight.sample import Sample
from blendsearch.compute import threads
from blendsearch.config import NamedSection, TrainingConfig
from blendsearch.criteria import score_applicable
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.scoring import wanted_criteria
from blendsearch.proxies import PROXIES, Proxy, ProxyContext
from blendsearch.proxies.prefixes import Prefixes
from blendsearch.structure import Plan
from blendsearch.training.evaluation import evaluate
from blendsearch.training.loop import train
from blendsearch.validation.names import options_of

SECONDS = 0.6
"""About so long may one thing be timed; what takes longer for all its images is timed on fewer."""
POSITIONS = 8_000
"""Output positions of a layer that least squares take, if a proxy does not say."""
REFITTING = ("compensated", "agreement")
"""Proxies, alone or inside others, that refit in closed form."""
SLOW = 64
"""Where fewer images than this are timed, the statistics are timed criterion by criterion, as far as there is time."""
SHARED = 3.0
"""So many times quicker are criteria together, which share their passes, than one by one."""
FEWEST, MOST = 8, 4096
"""Images that something is timed on."""


@dataclass(frozen=True)
class ProxyCost:
    """Seconds of what a proxy does once, and of one estimate; value: what it said of the plan that was timed."""

    once: float
    estimate: float
    value: float


@dataclass(frozen=True)
class UnitCosts:
    """Seconds of one step of each kind, by an experiment's terms.

    training_step, retraining_step: a batch of the unpruned and of the pruned network. image, pruned_image: a forward
    pass. refit: of one pruned network, where the space has compensation. statistics: all criteria's.
    """

    image: float
    pruned_image: float
    training_step: float
    retraining_step: float
    proxy: ProxyCost
    refit: float = 0.0
    statistics: float = 0.0


class Stopwatch:
    """Times the parts of an experiment; what is built for one part serves the others.

    plan: of the l1 criterion with equal shares, under the space's budget (of latency under one of FLOPs).
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.space, self.compute = experiment, experiment.space, experiment.compute
        splits = experiment.splits
        self.calibration = Sample(splits.calibration)
        with threads(self.space.compute.threads):
            self.image = self._seconds_of_image(experiment.network)
            self.plan = _plan(experiment)
            self.pruned = experiment.structure.slice(experiment.network.cpu(), self.plan)
            self.pruned_image = self._seconds_of_image(self.pruned)
        self.images = min(MOST, max(FEWEST, round(SECONDS / self.image)))

    def _seconds_of_image(self, network: nn.Module) -> float:
        """Time a forward pass of few images, then of as many as there is time for."""
        network = self.compute.place(copy.deepcopy(network))
        few = self.calibration.split(FEWEST)
        first = _timed(lambda: evaluate(network, few.batches(FEWEST), self.compute)) / len(few)
        more = self.calibration.split(min(256, max(FEWEST, round(SECONDS / max(first, 1e-9)))))
        return _timed(lambda: evaluate(network, more.batches(256), self.compute)) / len(more)

    def training_step(self) -> float:
        """Return the seconds of an optimiser step of the unpruned network."""
        return self._step(self.experiment.network, self.space.training, None)

    def retraining_step(self) -> float:
        """Return the seconds of one of the pruned network, on the threads of a worker."""
        with threads(self.space.compute.threads):
            return self._step(self.pruned, self.space.retraining, self.experiment.network)

    def _step(self, network: nn.Module, training: TrainingConfig, teacher: nn.Module | None) -> float:
        fitting = max(2, round(SECONDS / (4 * self.image)))
        batch = min(training.batch_size, fitting)
        split = self.calibration.split(2 * batch)
        batch = min(batch, len(split))
        changes = {"epochs": 1.0, "batch_size": batch, "warmup_epochs": 0.0, "early_stop": None}
        settings = training.model_copy(update=changes)
        steps = max(1, len(split) // batch)

        def run() -> None:
            train(copy.deepcopy(network), split, settings, seed=0, compute=self.compute, teacher=teacher)

        reading = self.calibration.reading_of(training.batch_size, self.space.data.workers)
        return max(_timed(run) / steps * training.batch_size / batch, reading)

    def proxy(self, section: NamedSection | None = None) -> ProxyCost:
        """Return what a proxy costs, the space's where none is named, on all images that it would take."""
        section = section or self.space.proxy
        quick, steps = _with_one_step(section)
        splits = self.experiment.splits
        searched = _taken(quick, "search_images", len(splits.search))
        few = min(len(splits.search), self.images)
        calibrating = _taken(quick, "images", len(splits.calibration))
        few_calibrating = min(calibrating, self.images)
        with threads(self.space.compute.threads):
            one = self._proxy(quick, few_calibrating, few)
        if few_calibrating < calibrating:
            one = self._on_all(quick, one, few_calibrating, calibrating)
        beyond = max(0, searched - few) * self.pruned_image
        training = steps * self.retraining_step() if steps else 0.0
        return replace(one, estimate=one.estimate + beyond + training)

    def _on_all(self, section: NamedSection, one: ProxyCost, few: int, whole: int) -> ProxyCost:
        """Return a proxy's cost on all calibration images, by that on a few.

        Passes grow with the images. Least squares grow with the output positions that they take of them, and in part
        not at all, so their share is put at what their multiplications come to.
        """
        fitted = [key for key in REFITTING if key in str({"name": section.name, **section.options})]
        if not fitted:
            return ProxyCost(one.once * whole / few, one.estimate * whole / few, one.value)
        positions = int(section.options.get("positions", POSITIONS))
        growth = self.least_squares(positions, whole) / self.least_squares(positions, few)
        passes = few * self.pruned_image
        solving = max(0.0, one.estimate - passes)
        return ProxyCost(one.once * whole / few, growth * solving + whole * self.pruned_image, one.value)

    def least_squares(self, positions: int, images: int) -> float:
        """Return the multiplications that refitting the convolutions of the pruned network takes."""
        return sum(min(positions, images * place) * width * width + width**3 / 3 for place, width in self._convolutions)

    @cached_property
    def _convolutions(self) -> list[tuple[int, int]]:
        """Output positions an image, and inputs of an output, of each convolution of the pruned network."""
        found: list[tuple[int, int]] = []

        def note(module: nn.Module, inputs: object, output: Tensor) -> None:
            assert isinstance(module, nn.Conv2d)
            found.append((output.shape[2] * output.shape[3], module.weight[0].numel()))

        network = copy.deepcopy(self.pruned).cpu()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(note)
        evaluate(network, self.calibration.split(2).batches(2))
        return found

    def _proxy(self, section: NamedSection, calibrating: int, searched: int) -> ProxyCost:
        proxy: Proxy = PROXIES.get(section.name)(**section.options)
        splits, network = self.experiment.splits, self.experiment.network
        few = self.calibration.split(calibrating)
        context = ProxyContext(
            network=self.compute.place(network),
            structure=self.experiment.structure,
            calibration=few,
            search=Sample(splits.search).split(searched),
            train=self.calibration.split(min(len(splits.calibration), self.space.retraining.batch_size)),
            training=self.space.retraining,
            compute=self.compute,
            seed=self.space.seed,
        )
        once = _timed(lambda: proxy.prepare(context), most=1)
        for one in (proxy, *proxy.made_of()):
            one.prefixes = Prefixes([])  # the same plan each time would be taken up at its end
        values: list[float] = []
        estimate = _timed(lambda: values.append(proxy.estimate(copy.deepcopy(self.pruned), self.plan).value))
        network.cpu()
        return ProxyCost(once, estimate, values[-1])

    def refit(self) -> float:
        """Return the seconds that the space's compensation takes for one pruned network; 0 where there is none."""
        section = self.space.compensation
        if section is None:
            return 0.0
        images = len(self.experiment.splits.calibration) if section.images is None else section.images
        options = {"images": images, "positions": section.positions, "ridge": section.ridge, "search_images": FEWEST}
        cost = self.proxy(NamedSection.model_validate({"name": "compensated", **options}))
        return cost.estimate * max(1.0, images / max(1, len(self.experiment.splits.calibration)))

    def statistics(self) -> float:
        """Return the seconds of scoring by all criteria of the space."""
        experiment, whole = self.experiment, len(self.experiment.splits.calibration)
        criteria = wanted_criteria(experiment)

        def score(images: int, criteria: Sequence[str]) -> float:
            batches = list(self.calibration.split(images).batches(128))
            return _timed(
                lambda: score_applicable(
                    experiment.network.cpu(), experiment.structure, batches, criteria, experiment.scoring
                ),
                most=1,
            )

        few = min(whole, max(FEWEST, self.images // 12))
        if few == whole:
            return score(whole, criteria)
        if self.images < SLOW:
            return self._some_statistics(score, criteria) * whole / 2
        first, second = score(max(2, few // 2), criteria), score(few, criteria)
        slope = max(0.0, second - first) / max(1, few - max(2, few // 2))
        return second + slope * (whole - few)

    def _some_statistics(self, score: Callable[[int, Sequence[str]], float], criteria: Sequence[str]) -> float:
        """Return about the seconds of two images under all criteria, by those of some, one after the other."""
        order = torch.randperm(len(criteria), generator=torch.Generator().manual_seed(0)).tolist()
        spent: list[float] = []
        while order and sum(spent) < 4 * SECONDS:
            spent.append(score(2, [criteria[order.pop()]]))
        return sum(spent) / len(spent) * len(criteria) / SHARED

    def all(self) -> UnitCosts:
        """Time everything."""
        found: dict[str, Any] = {}
        kinds = ("training_step", "retraining_step", "proxy", "refit", "statistics")
        for number, kind in enumerate(kinds):
            self.experiment.progress("timing", number, len(kinds), kind.replace("_", " "))
            found[kind] = getattr(self, kind)()
        self.experiment.progress("timing", len(kinds), len(kinds))
        return UnitCosts(image=self.image, pruned_image=self.pruned_image, **found)


def _plan(experiment: Experiment) -> Plan:
    structure, budget = experiment.structure, experiment.budget
    if "latency" in budget.ratios:
        budget = Budget("flops", budget.ratio)
    scores = score_applicable(experiment.network, structure, (), ["l1"], experiment.scoring).scores.get("l1")
    scores = scores or {group: torch.arange(width).float() for group, width in structure.widths.items()}
    plan: Plan = ALLOCATIONS.get("uniform")().plan(structure, scores, budget)
    return plan


def _taken(section: NamedSection, option: str, whole: int) -> int:
    """Return how many images a proxy takes by an option of its own: all of the split where it has none."""
    parts = section.options.get("proxies")
    default = options_of(PROXIES.get(section.name)).get(option)
    given = section.options.get(option, default) if parts is None else None
    return min(whole, given) if isinstance(given, int) else whole


def _with_one_step(section: NamedSection) -> tuple[NamedSection, int]:
    """Return a proxy that trains for one step where it would train for several, and how many it leaves out."""
    options: dict[str, Any] = dict(section.options)
    if "proxies" in options:
        parts = [_with_one_step(NamedSection.model_validate(_mapping(one))) for one in options["proxies"]]
        options["proxies"] = [{"name": part.name, **part.options} for part, _ in parts]
        left_out = sum(steps for _, steps in parts)
    else:
        steps = options.get("steps", options_of(PROXIES.get(section.name)).get("steps"))
        left_out = steps - 1 if isinstance(steps, int) else 0
        if left_out:
            options["steps"] = 1
    return NamedSection.model_validate({"name": section.name, **options}), left_out


def _mapping(entry: Any) -> Mapping[str, Any]:
    return {"name": entry} if isinstance(entry, str) else entry


def _timed(run: Callable[[], object], most: int = 3) -> float:
    """Return the least seconds of a few runs, of one alone where it takes long: the first may set things up."""
    best, spent = float("inf"), 0.0
    for _ in range(most):
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        best, spent = min(best, seconds), spent + seconds
        if spent > SECONDS:
            break
    return best
