"""The records of an audit: which plans it drew, what each proxy said of them, and what came of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, FiniteFloat

from blendsearch.results.records.common import (
    Bounds,
    BudgetRecord,
    DataRecord,
    Number,
    PlanData,
    Record,
    Seconds,
    UnprunedRecord,
)

COMBINED = "mean rank of all"
"""The name of a proxy that stands beside those given: each plan's rank averaged over them."""

RANDOM = "random"
EVOLVED = "evolved"
"""Kinds of plans: of random blends, and of those that a search came upon; the third kind is that of criteria."""


class DrawnPlan(Record):
    """A plan to be audited; plan: see `Plan.to_dict`."""

    name: str
    kind: str
    plan: PlanData


class PlanEstimate(NamedTuple):
    """What a proxy says of a plan, and what it cost in seconds and image passes (None: of an older version)."""

    value: FiniteFloat
    seconds: FiniteFloat
    passes: int | None = None


Estimates = dict[str, PlanEstimate]
"""Plan -> what one proxy says of it; in its file a list of two or three numbers."""


class CeilingRecord(Record):
    """Kendall's tau between retrainings that differ in the seed alone, the mean over pairs of seeds."""

    tau: Number = None
    interval: Bounds | None = None
    pairs: int = 1


class ProxyRecord(Record):
    """What an audit found of a proxy: tau with the truth, its share of the ceiling, cost and regret as shares.

    cost: mean seconds of an estimate over those of a retraining. passes_cost: the same of images run through the
    network, one trained on counting three, which does not depend on what else the machine did; without closed-form
    solutions, which run no image. regret: how much accuracy is lost by taking the plan that the proxy puts first
    instead of the best of all, in [0, 1]; of several in the first place the mean counts.
    """

    tau: Number = None
    interval: Bounds | None = None
    of_ceiling: Number = None
    seconds: Number = None
    cost: Number = None
    passes_cost: Number = None
    regret: Number = None


class PlanRecord(Record):
    """One audited plan: its mean accuracy after retraining, that of every seed, and every proxy's estimate."""

    name: str
    kind: str
    test_accuracy: float
    seeds: list[float]
    estimates: dict[str, float]


class AuditFindings(Record):
    """What the retrainings say of the proxies; retraining_seconds: of one, the mean."""

    ceiling: CeilingRecord | None = None
    retraining_seconds: Number = None
    proxies: dict[str, ProxyRecord]
    plans: list[PlanRecord]

    @property
    def ranked(self) -> list[tuple[str, ProxyRecord]]:
        """The proxies, the highest tau first, those without one last."""
        return sorted(self.proxies.items(), key=lambda pair: (pair[1].tau is None, -(pair[1].tau or 0)))


class AuditSummary(AuditFindings):
    """summary.json of an audit."""

    job: Literal["audit"] = "audit"
    name: str
    seed: int
    budget: BudgetRecord
    allocation: str
    model: str
    data: DataRecord = DataRecord()
    unpruned: UnprunedRecord = Field(alias="baseline")
    seconds: Seconds = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
