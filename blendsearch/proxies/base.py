"""What a proxy is: a cheap estimate of the accuracy that a pruned network has after retraining."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.data.batches import Split
from blendsearch.data.resident import resident
from blendsearch.errors import ConfigError
from blendsearch.proxies.passes import counted
from blendsearch.proxies.prefixes import RACING, READING, Prefixes, Visit, find_cuts
from blendsearch.proxies.racing import Course, Racing, error_of_difference, estimated_mean
from blendsearch.registry import Registry
from blendsearch.statistics.task import Loss
from blendsearch.structure import Plan, Structure
from blendsearch.training.evaluation import score_images
from blendsearch.training.folding import fold_norms, foldable_norms
from blendsearch.training.sensitivity import Sensitivity


@dataclass
class ProxyContext:
    """What proxies work with: the unpruned network, its structure, and the splits they may look at.

    calibration: images whose labels no proxy uses. search: accuracy is read here. train: for proxies that train.
    Never the test split. racing: how candidates are raced, where they are; search images then come by chance. loss:
    what proxies that train lower in place of cross entropy.
    """

    network: nn.Module
    structure: Structure
    calibration: Split
    search: Split
    train: Split
    training: TrainingConfig
    compute: Compute = field(default_factory=Compute)
    seed: int = 0
    racing: Racing | None = None
    loss: Loss | None = None


@dataclass(frozen=True)
class Estimate:
    """A proxy's answer: accuracy in [0, 1], and what it cost in seconds and in passes.

    passes: images run through the candidate's network; one that it was trained on counts three. scores: of a raced
    candidate that was read on all search images, float32 [N] in the order of the race. stopped: whether it was read on
    a part of them alone. error: of one that was read beside a rival, the standard error of their difference.
    """

    value: float
    seconds: float
    passes: int = 0
    scores: np.ndarray | None = None
    stopped: bool = False
    error: float | None = None


class Proxy:
    """Estimates the accuracy after retraining; higher = better. Options are the keyword arguments of its class.

    search_images: how many images of the search split the accuracy is read on (None: all).
    """

    name: ClassVar[str]
    source: ClassVar[str]
    adapts_as: ClassVar[type[Proxy] | None] = None
    """The proxy whose `adapt`, and what it prepares for that, this class takes over unchanged; None: its own."""
    raced: ClassVar[bool] = False
    """Whether the class's estimate is that of `value_of` from the scores of single images; not inherited."""
    trains: ClassVar[bool] = False
    """Whether `adapt` lowers the loss on the targets of the training images."""
    adapts_forward: ClassVar[bool] = False
    """Whether what `adapt` makes of a layer depends on nothing behind it, and `value` does no more than read the search
    images in their order: candidates with the same first layers are then read from there on; not inherited."""
    settles: ClassVar[bool] = False
    """Whether `adapt`, besides, passes the same images, all at once, and leaves alone what is in `settled`; the same
    candidates are then adapted from there on, too; not inherited."""
    settled: frozenset[str] = frozenset()
    """While `adapt` runs: the modules that have got what it would give them."""

    def __init__(self, search_images: int | None = None) -> None:
        positive(search_images=search_images)
        self.search_images = search_images

    def made_of(self) -> list[Proxy]:
        """Return the proxies that the estimate is made of: this one, where it is made of no others."""
        return [self]

    def prepare(self, context: ProxyContext) -> None:
        """Do once per campaign what does not depend on the candidate."""
        if context.compute.kind != "cpu" or context.compute.channels_last:
            # Candidates are cut where they run; the caller's network stays where, and laid out as, it is.
            context = replace(context, network=context.compute.place(copy.deepcopy(context.network)))
        self.context = context
        search = context.search.take(min(self.search_images or len(context.search), len(context.search)))
        self.course = None if context.racing is None else Course(context.racing, search, context.seed)
        if self.course is not None:
            self.parts = [resident(part, context.compute) for part in self.course.parts]
            search = self.course.images
        self.search = resident(search, context.compute)
        if self.course is None:
            self.parts = [self.search]
        few = next(search.batches(2))[0]
        self.foldable = foldable_norms(context.network, context.structure.trace, few)
        cuts = []
        if vars(type(self)).get("adapts_forward", False) and len(few) > 1:
            network = context.compute.place(copy.deepcopy(context.network))
            cuts = find_cuts(network, context.structure, few, context.compute)
        self.prefixes = Prefixes(cuts)

    def same_as(self, other: Proxy) -> bool:
        """Return whether another one has the same class and options, before either is prepared."""
        own, others = vars(self), vars(other)
        return type(self) is type(other) and own.keys() == others.keys() and all(_same(own[k], others[k]) for k in own)

    def adapts_like(self, other: Proxy) -> bool:
        """Return whether both change a candidate's network in the same way, before either is prepared."""
        kinds = [vars(type(one)).get("adapts_as") or type(one) for one in (self, other)]  # subclasses do not inherit it
        own, others = ({**vars(one), "search_images": None} for one in (self, other))
        plain = all(type(one).estimate is Proxy.estimate for one in (self, other))
        return plain and kinds[0] is kinds[1] and own == others

    def adapt(self, network: nn.Module, plan: Plan) -> None:
        """Change the candidate's network in place before its accuracy is read."""

    def estimate(self, network: nn.Module, plan: Plan) -> Estimate:
        """Estimate a network that was sliced by `plan`; the network is used up (changed in place)."""
        start = time.perf_counter()
        network = self.context.compute.place(network)
        with counted(network) as passes:
            visit = self._adapted(network, plan)
            if self.prefixes.cuts:
                self.folded(network)  # before it is watched: norms are other modules then
            with visit.reading(READING):
                value = self.value(network)
        return Estimate(value, time.perf_counter() - start, passes())

    def _adapted(self, network: nn.Module, plan: Plan) -> Visit:
        """Adapt a candidate's network, and return what its answers are read with."""
        visit = self.prefixes.visit(network, plan)
        if not vars(type(self)).get("settles", False):
            self.adapt(network, plan)
            return visit
        try:
            with visit.adapting() as self.settled:
                self.adapt(network, plan)
        finally:
            self.settled = frozenset()
        return visit

    def read(self, network: nn.Module, plan: Plan) -> float:
        """Return the `value` of a network that another proxy, which adapts candidates alike, adapted for a plan."""
        with self.prefixes.visit(network, plan).reading(READING):
            return self.value(network)

    def value(self, network: nn.Module) -> float:
        """Return the estimate in [0, 1] from the adapted network: accuracy (or metric) on the search split."""
        return float(score_images(self.folded(network), self.search, self.context.compute).mean())

    def folded(self, network: nn.Module) -> nn.Module:
        """Return the adapted network with its batch norms folded into what they follow, in place: quicker to read."""
        fold_norms(network, self.foldable)
        return network

    def sensitivities(self, plan: Plan, images: int) -> dict[str, Sensitivity]:
        """Return by layer what the estimate's loss makes of the weights of a plan's refitted network; {} if unknown.

        images: on so many search images at most.
        """
        return {}

    @classmethod
    def forecasts(cls) -> bool:
        """Return whether `sensitivities` knows anything."""
        return cls.sensitivities is not Proxy.sensitivities

    @classmethod
    def can_race(cls) -> bool:
        """Return whether candidates can be raced by this proxy, or compared image by image."""
        return bool(vars(cls).get("raced", False))

    def race(self, network: nn.Module, plan: Plan, rival: np.ndarray | None) -> Estimate:
        """Estimate as `estimate` does, but in a race stop as soon as the scores are clearly below the rival's.

        rival: scores of a candidate that was read on all images, float32 [N]; None reads them all.
        """
        start = time.perf_counter()
        network = self.context.compute.place(network)
        with counted(network) as passes:
            visit = self._adapted(network, plan)
            self.folded(network)
            with visit.reading(RACING):
                scores, stopped = self._scores(network, rival)
            error = None if rival is None else error_of_difference(scores, rival)
            if stopped and rival is not None:
                value = self.value_of(estimated_mean(scores, rival))
                return Estimate(value, time.perf_counter() - start, passes(), stopped=True, error=error)
        whole = scores.numpy().astype(np.float32)
        value = self.value_of(float(whole.mean(dtype=np.float64)))
        return Estimate(value, time.perf_counter() - start, passes(), whole, error=error)

    def _scores(self, network: nn.Module, rival: np.ndarray | None) -> tuple[Tensor, bool]:
        """Return the scores of a network, float [n] on the CPU, and whether they stop short of the images' end."""
        answers: list[Tensor] = []
        for part in self.parts:
            answers.append(self.answers(network, part))
            scores = self.scores_of(torch.cat(answers)).cpu()
            if self.course is not None and rival is not None and self.course.lost(scores, rival):
                return scores, True
        return scores, False

    def answers(self, network: nn.Module, images: Split) -> Tensor:
        """Return what is read of each image of a split, [N, ...]; for racing."""
        return score_images(network, images, self.context.compute)

    def scores_of(self, answers: Tensor) -> Tensor:
        """Return the score of each of the first images of a race, float [n], from their answers."""
        return answers

    def value_of(self, mean: float) -> float:
        """Return the estimate in [0, 1] that a mean score, or what it is likely to be, stands for."""
        return min(max(mean, 0.0), 1.0)


def _same(value: object, other: object) -> bool:
    return value.same_as(other) if isinstance(value, Proxy) and isinstance(other, Proxy) else value == other


def positive(**options: float | None) -> None:
    """Raise ConfigError for the first option that is given and not above 0."""
    for name, value in options.items():
        if value is not None and value <= 0:
            raise ConfigError(f"proxy.{name}: {value} given, more than 0 expected")


PROXIES: Registry[type[Proxy]] = Registry("proxy", "proxies")


def register_proxy(proxy: type[Proxy]) -> type[Proxy]:
    """Register a proxy class under its `name`; usable as a decorator."""
    return PROXIES.register(proxy.name)(proxy)
