"""What a proxy is: a cheap estimate of the accuracy that a pruned network has after retraining."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import nn

from blendsearch.compute import Compute
from blendsearch.config import TrainingConfig
from blendsearch.data.batches import Split
from blendsearch.data.resident import resident
from blendsearch.errors import ConfigError
from blendsearch.proxies.passes import counted
from blendsearch.registry import Registry
from blendsearch.structure import Plan, Structure
from blendsearch.training.evaluation import score_images


@dataclass
class ProxyContext:
    """What proxies work with: the unpruned network, its structure, and the splits they may look at.

    calibration: images whose labels no proxy uses. search: accuracy is read here. train: for proxies that train.
    Never the test split.
    """

    network: nn.Module
    structure: Structure
    calibration: Split
    search: Split
    train: Split
    training: TrainingConfig
    compute: Compute = field(default_factory=Compute)
    seed: int = 0


@dataclass(frozen=True)
class Estimate:
    """A proxy's answer: accuracy in [0, 1], and what it cost in seconds and in passes.

    passes: images run through the candidate's network; one that it was trained on counts three.
    """

    value: float
    seconds: float
    passes: int = 0


class Proxy:
    """Estimates the accuracy after retraining; higher = better. Options are the keyword arguments of its class.

    search_images: how many images of the search split the accuracy is read on (None: all).
    """

    name: ClassVar[str]
    source: ClassVar[str]
    adapts_as: ClassVar[type[Proxy] | None] = None
    """The proxy whose `adapt`, and what it prepares for that, this class takes over unchanged; None: its own."""

    def __init__(self, search_images: int | None = None) -> None:
        positive(search_images=search_images)
        self.search_images = search_images

    def prepare(self, context: ProxyContext) -> None:
        """Do once per campaign what does not depend on the candidate."""
        if context.compute.kind != "cpu":  # candidates are cut where they run; the caller's network stays where it is
            context = replace(context, network=context.compute.place(copy.deepcopy(context.network)))
        self.context = context
        search = context.search.take(min(self.search_images or len(context.search), len(context.search)))
        self.search = resident(search, context.compute)

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
            self.adapt(network, plan)
            value = self.value(network)
        return Estimate(value, time.perf_counter() - start, passes())

    def value(self, network: nn.Module) -> float:
        """Return the estimate in [0, 1] from the adapted network: accuracy (or metric) on the search split."""
        return float(score_images(network, self.search, self.context.compute).mean())


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
