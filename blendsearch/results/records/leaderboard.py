"""What the folder of a leaderboard says, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from blendsearch.errors import RunError
from blendsearch.results.records.search import Agreement, Baseline, DataRecord, Number, parse, read_text


class Standing(BaseModel):
    """A criterion or blend over the whole board; rank is None when it does not stand in every column."""

    name: str
    kind: str
    rank: Number = None
    mean: float
    interval: tuple[float, float] | None = None
    loss: float
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    columns: int
    scoring_seconds: float
    retraining_seconds: float


class Result(BaseModel):
    """A criterion in one column: mean, interval and values over the seeds, and the file of each value."""

    mean: float
    interval: tuple[float, float] | None = None
    values: list[float]
    rank: float
    flops_ratio: float
    params_ratio: float
    retraining_seconds: float
    files: list[str]


class Column(BaseModel):
    """One network, allocation, budget and schedule, with all results in it."""

    network: str
    allocation: str
    budget_kind: str
    budget: float
    min_keep: float
    schedule: str
    unpruned: float
    results: dict[str, Result]

    @property
    def limit(self) -> str:
        """The budget in words."""
        units = {"flops": "FLOPs", "params": "parameters"}
        return f"{100 * self.budget:g} % {units.get(self.budget_kind, self.budget_kind)}"


class RankTest(BaseModel):
    """Friedman's test over all blocks, and Nemenyi's critical difference of mean ranks."""

    statistic: float
    p: float
    alpha: float
    critical_difference: float
    cliques: list[list[str]]


class NetworkRecord(BaseModel):
    """A network of the board, and the criteria that do not apply to it."""

    name: str
    model: str
    file: str
    baseline: Baseline
    left_out: dict[str, str] = Field(default_factory=dict)
    data: DataRecord = DataRecord()


class BoardSummary(BaseModel):
    """leaderboard.json; ranked, ranks and wins are in the same order, best first."""

    name: str
    seed: int
    seeds: int
    cells: int
    sentence: str
    criteria: list[Standing]
    ranked: list[str]
    ranks: list[float]
    blocks: int
    wins: list[list[int]]
    test: RankTest | None = None
    columns: list[Column]
    networks: list[NetworkRecord]
    agreement: dict[str, Agreement]
    seconds: dict[str, Number] = Field(default_factory=dict)
    versions: dict[str, Any] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class BoardRun:
    """The files of one leaderboard."""

    folder: Path
    summary: BoardSummary
    board_text: str

    @property
    def blends(self) -> set[str]:
        """Names of the blends on the board."""
        return {one.name for one in self.summary.criteria if one.kind == "blend"}

    @property
    def best(self) -> str:
        """The criterion with the best mean rank, or without a ranking the first."""
        return (self.summary.ranked or [one.name for one in self.summary.criteria])[0]


def read_board_run(folder: Path) -> BoardRun:
    """Read a run folder; raises RunError when it or a file of it is missing or broken."""
    if not folder.is_dir():
        raise RunError(f"{folder}: there is no such run folder")
    board_text = read_text(folder, "board.yaml")
    name = "leaderboard.json"
    return BoardRun(folder, parse(folder / name, read_text(folder, name), BoardSummary), board_text)
