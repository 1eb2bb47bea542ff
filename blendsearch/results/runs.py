"""What a whole run folder says, read and checked: the one place that opens its files for reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from blendsearch.errors import RunError
from blendsearch.results.reading import parse, read_finished, read_text, read_yaml
from blendsearch.results.records import leaderboard, transfer
from blendsearch.results.records.audit import AuditSummary
from blendsearch.results.records.common import AgreementRecord
from blendsearch.results.records.curves import CurvesSummary
from blendsearch.results.records.leaderboard import LeaderboardSummary
from blendsearch.results.records.retraining import BLEND
from blendsearch.results.records.search import (
    BlendWeights,
    ClustersRecord,
    FinalsRecord,
    FrontRecord,
    Generation,
    GroupRecord,
    LatencyPair,
    RetrainedEntry,
    SearchSummary,
)
from blendsearch.results.records.transfer import SpaceRecord, TransferSummary

S = TypeVar("S")
FINALS = "records/finals.json"
FRONT = "records/front.json"
BENCHMARK = "records/benchmark.json"
EXPECTED: dict[str, Any] = {
    "blend.json": BlendWeights,
    "records/agreement.json": AgreementRecord,
    "records/clusters.json": ClustersRecord,
    "records/evolution.json": list[Generation],
    "records/retrained.json": list[RetrainedEntry],
    "records/groups.json": list[GroupRecord],
}
"""Records that every search campaign leaves."""

ASKED_FOR: dict[str, Any] = {FINALS: FinalsRecord, FRONT: FrontRecord, BENCHMARK: list[LatencyPair]}
"""Records that are there where the space, or a command afterwards, asked for them."""


@dataclass(frozen=True)
class FinishedRun(Generic[S]):
    """The summary and the space of a finished run."""

    folder: Path
    summary: S
    space: dict[str, Any]
    space_text: str


@dataclass(frozen=True, kw_only=True)
class SearchRun(FinishedRun[SearchSummary]):
    """The files of one search campaign; an expected record that is not there is empty and its file is in `absent`.

    finals, front, benchmark: None, or empty, where nobody asked for them, which is nothing to be told as missing.
    """

    blend: BlendWeights | None
    agreement: AgreementRecord | None
    clusters: ClustersRecord | None
    evolution: list[Generation]
    retrained: list[RetrainedEntry]
    groups: list[GroupRecord]
    finals: FinalsRecord | None
    front: FrontRecord | None
    benchmark: list[LatencyPair]
    absent: tuple[str, ...]


def read_search_run(folder: Path) -> SearchRun:
    """Read a run folder; raises RunError when it, its summary.json or space.yaml is missing, or a file is broken."""
    finished = read_finished(folder, SearchSummary)
    found = {
        name: parse(folder / name, read_text(folder, name), kind)
        for name, kind in {**EXPECTED, **ASKED_FOR}.items()
        if (folder / name).is_file()
    }
    return SearchRun(
        folder,
        *finished,
        blend=found.get("blend.json"),
        agreement=found.get("records/agreement.json"),
        clusters=found.get("records/clusters.json"),
        evolution=found.get("records/evolution.json", []),
        retrained=found.get("records/retrained.json", []),
        groups=found.get("records/groups.json", []),
        finals=found.get(FINALS),
        front=found.get(FRONT),
        benchmark=found.get(BENCHMARK, []),
        absent=tuple(name for name in EXPECTED if name not in found),
    )


AuditRun = FinishedRun[AuditSummary]
"""The files of one audit."""


def read_audit_run(folder: Path) -> AuditRun:
    """Read a run folder; raises RunError when it or a file of it is missing or broken."""
    return AuditRun(folder, *read_finished(folder, AuditSummary))


@dataclass(frozen=True)
class CurvesRun(FinishedRun[CurvesSummary]):
    """The files of one scarce-data run."""

    def highlighted(self, samples: int) -> tuple[str, ...]:
        """Return the best relevance criterion and the best of the others; without both, all that are best."""
        compared = self.summary.comparison.by_samples[str(samples)]
        return compared.most if compared.best is None else (compared.best, compared.baseline)


def read_curves_run(folder: Path) -> CurvesRun:
    """Read a run folder; raises RunError when it or a file of it is missing or broken."""
    return CurvesRun(folder, *read_finished(folder, CurvesSummary))


@dataclass(frozen=True)
class BoardRun:
    """The files of one leaderboard."""

    folder: Path
    summary: LeaderboardSummary
    board: dict[str, Any]
    board_text: str

    @property
    def blends(self) -> set[str]:
        """Names of the blends on the board."""
        return {one.name for one in self.summary.criteria if one.kind == BLEND}

    @property
    def best(self) -> set[str]:
        """Those with the best mean rank, or without a ranking the first."""
        ranks = dict(zip(self.summary.ranked, self.summary.ranks, strict=True))
        if not ranks:
            return {self.summary.criteria[0].name}
        first = min(ranks.values())
        return {name for name, rank in ranks.items() if rank == first}


def read_board_run(folder: Path) -> BoardRun:
    """Read a run folder; raises RunError when it or a file of it is missing or broken."""
    return BoardRun(folder, *read_finished(folder, LeaderboardSummary, leaderboard.SUMMARY, "board.yaml"))


@dataclass(frozen=True)
class TransferRun:
    """The files of one transfer; settings: of each space that the folder still has."""

    folder: Path
    summary: TransferSummary
    settings: list[dict[str, Any]]

    def row_of(self, space: str) -> SpaceRecord:
        """Return the record of a space."""
        return next(row for row in self.summary.spaces if row.space == space)


def read_transfer_run(folder: Path) -> TransferRun:
    """Read a run folder; raises RunError when it or a file of it is missing or broken, or it is of one space."""
    if not folder.is_dir():
        raise RunError(f"{folder}: there is no such run folder")
    file = folder / transfer.SUMMARY
    if not file.is_file() and (folder.parent / "job.json").is_file():
        raise RunError(f"{folder}: is one space of a transfer; the report is of the whole: {folder.resolve().parent}")
    summary: TransferSummary = parse(file, read_text(folder, file.name), TransferSummary)
    files = [folder / row.space / "space.yaml" for row in summary.spaces]
    settings = [read_yaml(one, read_text(one.parent, one.name)) for one in files if one.is_file()]
    return TransferRun(folder, summary, settings)
