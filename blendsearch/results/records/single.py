"""What the jobs come to that do one part of a campaign: train, score, prune, sensitivity."""

from __future__ import annotations

from pydantic import Field

from blendsearch.results.records.common import (
    AgreementRecord,
    Averages,
    Bounds,
    LatencyRecord,
    Number,
    Record,
    UnprunedRecord,
)
from blendsearch.results.records.scoring import RatersRecord


class TrainSummary(Record):
    """summary.json of a training: accuracies in [0, 1], cost, steps, seconds; schedule: one that trains, or None."""

    name: str
    seconds: Number = None
    steps: int
    search_accuracy: float
    flops: int
    params: int
    test_accuracy: float
    schedule: str | None = None
    seed: int
    versions: dict[str, str]


class CriterionAgreement(Record):
    """How a criterion ranks beside the others: Spearman's rho with them on average, and the one most like it."""

    name: str
    family: str
    mean_agreement: float
    nearest: str


class ExtremeFilters(Record):
    """The filters of a group, of so many, that are ranked highest and lowest, the most extreme first.

    criterion: by which; None: by the mean of the ranks under all.
    """

    criterion: str | None = None
    group: str
    width: int
    top: list[int]
    bottom: list[int]


class ScoreSummary(Record):
    """What scoring came to; clusters: unit -> criteria that rank alike. Its files are those of a campaign's records.

    filters: the extreme ones of each group by the mean of all ranks, then by each criterion. left_out: criterion -> why
    it could not score the network.
    """

    criteria: list[CriterionAgreement]
    agreement: AgreementRecord
    ratings: RatersRecord | None = None
    clusters: dict[str, list[list[str]]]
    filters: list[ExtremeFilters] = Field(default_factory=list)
    left_out: dict[str, str] = Field(default_factory=dict)


class PruneSummary(Record):
    """summary.json of a pruning by one criterion or blend; kept: group -> filters left, filters before.

    pruned: retrained with one seed. rule: how a blend came to fit this network, "" for a criterion. note: what else is
    to be known of the blend.
    """

    name: str
    unpruned: UnprunedRecord = Field(alias="baseline")
    pruned: Averages
    kept: dict[str, tuple[int, int]]
    seed: int
    versions: dict[str, str]
    rule: str = ""
    ratings: RatersRecord | None = None
    note: str = ""
    latency: LatencyRecord | None = None


class GroupSensitivity(Record):
    """A group's loss of accuracy under damage of each strength, their mean, and its rank, 1 for the most sensitive.

    interval: 95 % interval of the mean loss, which may be below 0; None where nothing varies, and in records of older
    versions. ranks: the first and the last rank that it may have, as far as images and draws can tell.
    """

    name: str
    width: int
    drops: list[float]
    sensitiveness: float
    rank: int
    interval: Bounds | None = None
    ranks: tuple[int, int] | None = None


class SensitivityRecord(Record):
    """sensitivity.json: accuracy undamaged on the search split, strengths in standard deviations, groups in order.

    images, draws: how many of each there were. note: how many layers can be told apart on them.
    """

    accuracy: float
    strengths: list[float]
    groups: list[GroupSensitivity]
    images: int | None = None
    draws: int | None = None
    note: str = ""
    seed: int
    versions: dict[str, str]
