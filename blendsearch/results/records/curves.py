"""The records of a scarce-data run: what was measured draw by draw, the curves of it, and how they compare."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from blendsearch.results.records.common import Bounds, DataRecord, Number, Record, Seconds, UnprunedRecord
from blendsearch.results.words import join_words

RELEVANCE = "relevance"


class CurvesCriteria(Record):
    """records/criteria.json: the criteria that score this network, and why others do not."""

    criteria: list[str]
    left_out: dict[str, str] = Field(default_factory=dict)


class UnprunedAccuracy(Record):
    """records/unpruned.json: the unpruned network's accuracy on the test images of the curves, in [0, 1]."""

    test_accuracy: float


class DrawRecord(Record):
    """One draw of images, scored and measured; accuracy: criterion or blend -> one a share removed, in [0, 1].

    samples: images per class. images: how many were looked at. evaluations: different plans, each measured once.
    """

    samples: int
    draw: int
    images: int
    accuracy: dict[str, list[float]]
    evaluations: int
    seconds: Number = None


class Curve(Record):
    """A criterion's (or blend's) accuracies, one a share removed, as mean and range over the draws.

    samples: images per class, None for a criterion that looks at no image. evidence: the richest that it looks at.
    areas: mean accuracy over the shares, one a draw; area, area_low, area_high: mean and range of these.
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


class FamilyRecord(Record):
    """The mean area of a family's criteria, and the best of them."""

    area: float
    best: str
    best_area: float


class FamilyComparison(Record):
    """The best relevance criterion against the best of the others at one number of images, draw by draw.

    families: what is looked at -> its criteria's areas. best: None without relevance criteria, or with nothing else.
    difference: mean of the areas' differences over the draws, range of these. ahead: draws in which relevance is.
    verdict: "ahead" or "behind" in every draw, else "open". alike: where there is nothing to compare, all whose area is
    the largest; empty in records of earlier versions.
    """

    families: dict[str, FamilyRecord]
    best: str | None = None
    baseline: str = Field(alias="rival")
    difference: Number = None
    range: Bounds | None = None
    ahead: int | None = None
    draws: int | None = None
    verdict: str | None = None
    alike: list[str] = Field(default_factory=list)

    @property
    def most(self) -> tuple[str, ...]:
        """Who keeps most accuracy, where relevance is not compared with the others."""
        return tuple(self.alike) or (self.baseline,)

    @property
    def keeping_most(self) -> tuple[str, str]:
        """The same in words, and the verb that goes with them."""
        return join_words(self.most), "keeps" if len(self.most) == 1 else "keep"


class CurvesComparison(Record):
    """Relevance against the rest, images per class -> comparison."""

    by_samples: dict[str, FamilyComparison]
    sentence: str


class CurvesBudget(Record):
    """What is removed, and the least share that a group keeps."""

    kind: str
    min_keep: float


class CurvesSummary(Record):
    """summary.json of a scarce-data run; blends: found blends among the curves, each with the rule that made it fit.

    notes: what is to be known of them.
    """

    job: Literal["curves"] = "curves"
    name: str
    seed: int
    budget: CurvesBudget
    allocation: str
    removed: list[float]
    samples_per_class: list[int]
    draws: int
    test_images: int
    unpruned: UnprunedRecord = Field(alias="baseline")
    curves: list[Curve]
    comparison: CurvesComparison
    blends: dict[str, str] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    left_out: dict[str, str] = Field(default_factory=dict)
    refused: dict[str, str] = Field(default_factory=dict)
    seconds: Seconds = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    data: DataRecord = DataRecord()

    def curves_at(self, samples: int) -> list[Curve]:
        """Return the curves for `samples` images per class and those that need none, best area first."""
        shown = [curve for curve in self.curves if curve.samples in (samples, None)]
        return sorted(shown, key=lambda curve: (-curve.area, curve.criterion))

    def curves_by_criterion(self) -> dict[str, list[Curve]]:
        """Return criterion -> its curve at each number of images, the best mean area first."""
        found: dict[str, list[Curve]] = {}
        for samples in self.samples_per_class:
            for curve in self.curves_at(samples):
                found.setdefault(curve.criterion, []).append(curve)
        return dict(sorted(found.items(), key=lambda pair: -sum(curve.area for curve in pair[1])))
