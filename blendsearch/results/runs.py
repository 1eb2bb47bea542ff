"""What a whole run folder says, read and checked: the one place that opens its files for reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendsearch.results.reading import parse, read_finished, read_text
from blendsearch.results.records.common import AgreementRecord
from blendsearch.results.records.search import (
    BlendWeights,
    ClustersRecord,
    FinalsRecord,
    FrontRecord,
    Generation,
    GroupRecord,
    RetrainedEntry,
    SearchSummary,
)

FINALS = "records/finals.json"
FRONT = "records/front.json"
EXPECTED: dict[str, Any] = {
    "blend.json": BlendWeights,
    "records/agreement.json": AgreementRecord,
    "records/clusters.json": ClustersRecord,
    "records/evolution.json": list[Generation],
    "records/retrained.json": list[RetrainedEntry],
    "records/groups.json": list[GroupRecord],
}
"""Records that every search campaign leaves."""

ASKED_FOR: dict[str, Any] = {FINALS: FinalsRecord, FRONT: FrontRecord}
"""Records that a search campaign leaves where its space asked for them."""


@dataclass(frozen=True, kw_only=True)
class SearchRun:
    """The files of one search campaign; an expected record that is not there is empty and its file is in `absent`.

    finals, front: None where the space asked for none, which is nothing to be told as missing.
    """

    folder: Path
    summary: SearchSummary
    space: dict[str, Any]
    space_text: str
    blend: BlendWeights | None
    agreement: AgreementRecord | None
    clusters: ClustersRecord | None
    evolution: list[Generation]
    retrained: list[RetrainedEntry]
    groups: list[GroupRecord]
    finals: FinalsRecord | None
    front: FrontRecord | None
    absent: tuple[str, ...]


def read_search_run(folder: Path) -> SearchRun:
    """Read a run folder; raises RunError when it, its summary.json or space.yaml is missing, or a file is broken."""
    summary, space, space_text = read_finished(folder, SearchSummary)
    found = {
        name: parse(folder / name, read_text(folder, name), kind)
        for name, kind in {**EXPECTED, **ASKED_FOR}.items()
        if (folder / name).is_file()
    }
    return SearchRun(
        folder=folder,
        summary=summary,
        space=space,
        space_text=space_text,
        blend=found.get("blend.json"),
        agreement=found.get("records/agreement.json"),
        clusters=found.get("records/clusters.json"),
        evolution=found.get("records/evolution.json", []),
        retrained=found.get("records/retrained.json", []),
        groups=found.get("records/groups.json", []),
        finals=found.get(FINALS),
        front=found.get(FRONT),
        absent=tuple(name for name in EXPECTED if name not in found),
    )
