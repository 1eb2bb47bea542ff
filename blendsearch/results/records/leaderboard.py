"""The records of a leaderboard, from one cell to leaderboard.json."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from blendsearch.config import NamedSection
from blendsearch.plain import State
from blendsearch.results.records.common import (
    AgreementRecord,
    Bounds,
    DataRecord,
    Number,
    Record,
    Seconds,
    UnprunedRecord,
)
from blendsearch.results.records.retraining import RetrainingOutcome

SUMMARY = "leaderboard.json"


class BoardName(Record):
    """Of board.json, that by which a folder is known."""

    name: str


class CriterionScored(Record):
    """networks/NAME/scores/CRITERION-KEY.json: the seconds that scoring by it alone took, or why it cannot score."""

    criterion: str
    seconds: float
    left_out: str = ""


class LossesGathered(Record):
    """networks/NAME/losses.json: the seconds that the drop losses of set-aware blends took, once for all of them."""

    seconds: float


class CellRecord(Record):
    """cells/KEY.json: what one retraining is of, in words, and what came out.

    budget: kind -> ratio, with its options. plan: a digest of it; `result` has no plan.
    """

    network: str
    criterion: str
    allocation: NamedSection
    budget: State
    schedule: NamedSection
    seed: int
    result: RetrainingOutcome
    plan: str
    versions: dict[str, str]


class CellRow(Record):
    """A line of leaderboard.csv: one cell, with what it is compared by; its fields are the columns.

    budget_options: what a budget says beside its share, as text; "" where that is nothing.
    """

    network: str
    model: str
    data: str
    criterion: str
    kind: str
    allocation: str
    budget_kind: str
    budget: float
    min_keep: float
    budget_options: str = ""
    schedule: str
    seed: int
    test_accuracy: float
    search_accuracy: float
    unpruned_test_accuracy: float
    flops_ratio: float
    params_ratio: float
    steps: int | None
    retraining_seconds: float
    scoring_seconds: float
    file: str


class Standing(Record):
    """A criterion or blend over the whole board, best mean rank first, those that are not in every column last.

    rank: None when it is not in every column, then there are no wins, ties and losses either; these count all others
    in all blocks. mean: over the columns, its interval over the seeds. loss: mean difference to the unpruned networks.
    columns: how many it is in. scoring_seconds: added up over the networks. retraining_seconds: mean of a cell.
    """

    name: str
    kind: str
    rank: Number = None
    mean: float
    interval: Bounds | None = None
    loss: float
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    columns: int
    scoring_seconds: float
    retraining_seconds: float


class ColumnResult(Record):
    """A criterion in one column: mean, interval and values over the seeds, mean rank, and the file of each value."""

    mean: float
    interval: Bounds | None = None
    values: list[float]
    rank: float
    search_accuracy: Number = None
    flops_ratio: float
    params_ratio: float
    retraining_seconds: float
    files: list[str]


class Column(Record):
    """One network, allocation, budget and schedule, with the result of each criterion in it.

    budget_options: as in CellRow. seeds_alike: whether there are several seeds and each gave the very same, as where
    nothing is trained; they then say no more than one. Columns of earlier versions have neither.
    """

    network: str
    allocation: str
    budget_kind: str
    budget: float
    min_keep: float
    budget_options: str = ""
    schedule: str
    unpruned: float
    seeds_alike: bool = False
    results: dict[str, ColumnResult]

    @property
    def options_suffix(self) -> str:
        """What follows the share in the name of a budget, for example ' (round_to: 4)'."""
        return f" ({self.budget_options})" if self.budget_options else ""


class RankTest(Record):
    """Friedman's test over all blocks, and Nemenyi's critical difference of mean ranks."""

    name: str = "Friedman"
    statistic: float
    p: float
    alpha: float
    critical_difference: float
    cliques: list[list[str]]


class Ranking(Record):
    """What is in every column, ranked over all blocks; ranked, ranks and wins are in the same order, best first.

    A block is a column with one seed; seeds that are all alike in a column are one block. ranks: means over the blocks.
    wins: in how many blocks the row is better than the column. test: None where there are too few results for one.
    sentence: what that shows.
    """

    sentence: str
    ranked: list[str]
    ranks: list[float]
    blocks: int
    wins: list[list[int]]
    test: RankTest | None = None


class BoardNetworkRecord(Record):
    """A network of the board, and the criteria that do not apply to it; file: of the unpruned network's record."""

    name: str
    model: str
    file: str
    unpruned: UnprunedRecord = Field(alias="baseline")
    left_out: dict[str, str] = Field(default_factory=dict)
    refused: dict[str, str] = Field(default_factory=dict)
    data: DataRecord = DataRecord()


class LeaderboardSummary(Ranking):
    """leaderboard.json."""

    job: Literal["leaderboard"] = "leaderboard"
    name: str
    seed: int
    seeds: int
    cells: int
    criteria: list[Standing]
    columns: list[Column]
    networks: list[BoardNetworkRecord]
    agreement: dict[str, AgreementRecord]
    seconds: Seconds = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
