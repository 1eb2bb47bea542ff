"""What the folder of an audit says, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from blendsearch.results.records.search import Baseline, Budget, DataRecord, Number, read_finished


class Ceiling(BaseModel):
    """Kendall's tau between retrainings that differ in the seed alone, the mean over pairs of seeds."""

    tau: Number = None
    interval: tuple[float, float] | None = None
    pairs: int = 1


class ProxyRecord(BaseModel):
    """What an audit found of a proxy: tau with the truth, its share of the ceiling, cost and regret as shares."""

    tau: Number = None
    interval: tuple[float, float] | None = None
    of_ceiling: Number = None
    seconds: Number = None
    cost: Number = None
    passes_cost: Number = None
    regret: Number = None


class PlanRecord(BaseModel):
    """One audited plan: its mean accuracy after retraining, that of every seed, and every proxy's estimate."""

    name: str
    kind: str
    test_accuracy: float
    seeds: list[float]
    estimates: dict[str, float]


class AuditSummary(BaseModel):
    """summary.json of an audit."""

    name: str
    seed: int
    budget: Budget
    allocation: str
    model: str
    baseline: Baseline
    ceiling: Ceiling | None = None
    retraining_seconds: Number = None
    proxies: dict[str, ProxyRecord]
    plans: list[PlanRecord]
    seconds: dict[str, Number] = Field(default_factory=dict)
    versions: dict[str, Any] = Field(default_factory=dict)
    data: DataRecord = DataRecord()


@dataclass(frozen=True)
class AuditRun:
    """The files of one audit."""

    folder: Path
    summary: AuditSummary
    space: dict[str, Any]
    space_text: str

    @property
    def ranked(self) -> list[tuple[str, ProxyRecord]]:
        """The proxies, the highest tau first, those without one last."""
        return sorted(self.summary.proxies.items(), key=lambda pair: (pair[1].tau is None, -(pair[1].tau or 0)))


def read_audit(folder: Path) -> AuditRun:
    """Read a run folder; raises RunError when it or a file of it is missing or broken."""
    return AuditRun(folder, *read_finished(folder, AuditSummary))
