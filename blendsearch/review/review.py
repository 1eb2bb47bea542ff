"""One review: the network that is looked at, and what may be done with it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from blendsearch.experiment import Experiment
from blendsearch.proxies import PROXIES, Proxy
from blendsearch.review.aside import Aside
from blendsearch.review.decision import Decision
from blendsearch.review.inspector import Inspector
from blendsearch.review.marks import Marks
from blendsearch.review.progressive import Loop
from blendsearch.structure import Plan, Structure
from blendsearch.validation.space import make


@dataclass(kw_only=True)
class Review:
    """What the page shows. title: of the campaign; data: the data set's name; whole: the unpruned network's structure.

    static_inspector: of the network, where it stays as it is; the loop has its own. marks: None where nothing is
    marked. decision: of a finished campaign, to be explained. estimator: the accuracy as marked, on request. loop:
    pruning and retraining layer by layer. aside: what takes long, done beside the server. first: the number of the
    layer to begin with. rule: by which the shown blend was adapted to the network; "" without a blend.
    """

    title: str
    data: str
    whole: Structure
    static_inspector: Inspector | None = None
    marks: Marks | None = None
    decision: Decision | None = None
    estimator: Estimator | None = None
    loop: Loop | None = None
    aside: Aside = field(default_factory=Aside)
    first: int = 0
    rule: str = ""

    @property
    def inspector(self) -> Inspector:
        """The network as it is now."""
        inspector = self.loop.inspector if self.loop is not None else self.static_inspector
        assert inspector is not None
        return inspector

    def markable(self, number: int) -> bool:
        """Tell whether the filters of a layer may be marked now."""
        return self.marks is not None and (self.loop is None or self.loop.waits_for(number))

    def plan(self) -> Plan:
        """Return what stays of the unpruned network, as chosen or as marked by now."""
        if self.decision is not None:
            return self.decision.plan
        assert self.marks is not None
        return self.loop.plan_as_marked() if self.loop is not None else self.marks.plan(self.whole.widths)

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
        self._experiment = experiment
        self._proxy: Proxy | None = None
        self._estimating = threading.Lock()

    def __call__(self, plan: Plan) -> float:
        """Return the estimate in [0, 1]; one at a time."""
        with self._estimating:
            if self._proxy is None:
                self._proxy = make(PROXIES, self._experiment.space.proxy)
                self._proxy.prepare(self._experiment.proxy_context)
            sliced = self._experiment.structure.slice(self._experiment.network, plan)
            return self._proxy.estimate(sliced, plan).value
