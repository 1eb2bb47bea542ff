"""What the folder of a scarce-data run says, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from blendsearch.results.records.search import Baseline, DataRecord, Number, read_finished

RELEVANCE = "relevance"


class Curve(BaseModel):
    """A criterion's accuracies, one a share removed, as mean and range over the draws; area: their mean.

    samples: images per class, None for a criterion that looks at no image. evidence: what it looks at.
    """

    criterion: str
    evidence: str
    samples: int | None = None
    mean: list[float]
    low: list[float]
    high: list[float]
    areas: list[float]
    area: float
    area_low: float
    area_high: float

    @property
    def is_relevance(self) -> bool:
        """Whether the criterion looks at relevance."""
        return self.evidence == RELEVANCE


class FamilyRecord(BaseModel):
    """The mean area of a family's criteria, and the best of them."""

    area: float
    best: str
    best_area: float


class Compared(BaseModel):
    """Relevance against the rest at one number of images; best is None where there is nothing to compare."""

    families: dict[str, FamilyRecord]
    best: str | None = None
    rival: str
    difference: Number = None
    range: tuple[float, float] | None = None
    ahead: int | None = None
    draws: int | None = None
    verdict: str | None = None


class CurvesComparison(BaseModel):
    """Relevance against the rest, images per class -> comparison."""

    by_samples: dict[str, Compared]
    sentence: str


class CurvesBudget(BaseModel):
    """What is removed, and the least share that a group keeps."""

    kind: str
    min_keep: float


class CurvesSummary(BaseModel):
    """summary.json of a scarce-data run."""

    name: str
    seed: int
    budget: CurvesBudget
    allocation: str
    removed: list[float]
    samples_per_class: list[int]
    draws: int
    test_images: int
    baseline: Baseline
    curves: list[Curve]
    comparison: CurvesComparison
    left_out: dict[str, str] = Field(default_factory=dict)
    seconds: dict[str, Number] = Field(default_factory=dict)
    versions: dict[str, Any] = Field(default_factory=dict)
    data: DataRecord = DataRecord()


@dataclass(frozen=True)
class CurvesRun:
    """The files of one scarce-data run."""

    folder: Path
    summary: CurvesSummary
    space: dict[str, Any]
    space_text: str

    def at(self, samples: int) -> list[Curve]:
        """Return the curves for `samples` images per class and those that need none, best area first."""
        shown = [curve for curve in self.summary.curves if curve.samples in (samples, None)]
        return sorted(shown, key=lambda curve: (-curve.area, curve.criterion))

    def highlighted(self, samples: int) -> tuple[str, ...]:
        """Return the best relevance criterion and the best of the others, where there are both."""
        compared = self.summary.comparison.by_samples[str(samples)]
        return (compared.rival,) if compared.best is None else (compared.best, compared.rival)


def read_curves(folder: Path) -> CurvesRun:
    """Read a run folder; raises RunError when it or a file of it is missing or broken."""
    return CurvesRun(folder, *read_finished(folder, CurvesSummary))
