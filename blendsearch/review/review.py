"""One review: the network on the desk, and what may be done with it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from blendsearch.experiment.experiment import Experiment
from blendsearch.proxies import PROXIES, Proxy
from blendsearch.review.decision import Choice
from blendsearch.review.inspector import Desk
from blendsearch.review.marks import Book
from blendsearch.review.progressive import Loop
from blendsearch.structure import Plan, Structure
from blendsearch.validation.space import make


@dataclass
class Review:
    """What the page shows. title: of the campaign; whole: the structure of the unpruned network.

    book: where marks are kept; None where nothing is marked. choice: of a finished campaign, to be explained.
    estimator: the accuracy as marked, on request. loop: pruning and retraining layer by layer. first: the number of
    the layer to begin with. data: the data set's name. rule: by which the blend on the desk was made to fit; ""
    without a blend.
    """

    title: str
    data: str
    whole: Structure
    desk_now: Desk
    book: Book | None = None
    choice: Choice | None = None
    estimator: Estimator | None = None
    loop: Loop | None = None
    first: int = 0
    rule: str = ""

    @property
    def desk(self) -> Desk:
        """The network as it is now."""
        return self.desk_now if self.loop is None else self.loop.desk

    def markable(self, number: int) -> bool:
        """Tell whether the filters of a layer may be marked now."""
        return self.book is not None and (self.loop is None or self.loop.waits_for(number))

    def plan(self) -> Plan:
        """Return what stays of the unpruned network, as chosen or as marked by now."""
        if self.choice is not None:
            return self.choice.plan
        assert self.book is not None
        return self.loop.plan_as_marked() if self.loop is not None else self.book.plan(self.whole.widths)

    def cost(self) -> dict[str, Any]:
        """Return FLOPs and parameters of that network as shares, and its filters."""
        counts = self.plan().counts
        return {
            "flops": self.whole.cost.ratio("flops", counts),
            "params": self.whole.cost.ratio("params", counts),
            "kept": self.whole.cost.filters(counts),
            "filters": self.whole.cost.filters(self.whole.widths),
        }


class Estimator:
    """Estimates the accuracy of the unpruned network without what is marked drop, by the space's proxy."""

    def __init__(self, experiment: Experiment) -> None:
        self.name = experiment.space.proxy.name
        self._bench = experiment
        self._proxy: Proxy | None = None
        self._turn = threading.Lock()

    def __call__(self, plan: Plan) -> float:
        """Return the estimate in [0, 1]; one at a time."""
        with self._turn:
            if self._proxy is None:
                self._proxy = make(PROXIES, self._bench.space.proxy)
                self._proxy.prepare(self._bench.proxy_context(self._bench.network))
            sliced = self._bench.structure.slice(self._bench.network, plan)
            return self._proxy.estimate(sliced, plan).value
