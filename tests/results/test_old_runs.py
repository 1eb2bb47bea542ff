"""Run folders as earlier versions left them are read, nothing in them is lost, and they can be resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from blendsearch.config import space_from_dict
from blendsearch.errors import RunError
from blendsearch.results.records.audit import AuditSummary
from blendsearch.results.records.curves import CurvesSummary
from blendsearch.results.records.leaderboard import LeaderboardSummary
from blendsearch.results.records.search import RandomSearchRecord, SearchSummary
from blendsearch.results.records.transfer import TransferSummary
from blendsearch.results.run_folder import RunFolder, check_same_job, check_same_space
from blendsearch.results.runs import ASKED_FOR, EXPECTED, read_search_run

OLD = Path(__file__).parent / "old_runs"
RECORDS: dict[str, Any] = {
    "summary.json": SearchSummary,
    "records/control.json": RandomSearchRecord,
    **{name: kind for name, kind in EXPECTED.items() if name != "blend.json"},  # of which reports read a part
    **ASKED_FOR,
}
KINDS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("plain", "finals", "front", "evolved"), RECORDS),
    "audit": {"summary.json": AuditSummary},
    "curves": {"summary.json": CurvesSummary},
    "board": {"leaderboard.json": LeaderboardSummary},
    "transfer": {"transfer.json": TransferSummary},
}
SPACE: dict[str, Any] = {
    "name": "plain",
    "seed": 3,
    "data": {"name": "digits", "test": 200, "calibration": 100, "search": 150, "limit": 600},
    "model": {"name": "conv4", "arguments": {"width": 6}},
    "training": {"epochs": 4, "batch_size": 64, "lr": 0.1},
    "criteria": ["l1", "taylor", "fpgm", "apoz", "random", "lrp_epsilon_plus"],
    "budget": {"flops": 0.3},
    "clusters": {"count": 3},
    "blend": {"unit": "layer"},
    "proxy": {"name": "compensated", "images": 64, "positions": 1000},
    "search": {"population": 6, "generations": 2},
    "retraining": {"epochs": 1, "batch_size": 64, "lr": 0.05, "seeds": 3},
    "compute": {"device": "cpu", "workers": 1},
}
"""What the space file of these runs said; an earlier version wrote it into space.json with all its keys."""


def changed(written: Any, again: Any, path: str = "") -> list[str]:
    """Return the places of what was written that is not there again as it was."""
    if isinstance(written, dict) and isinstance(again, dict):
        return [place for key in written for place in changed(written[key], again.get(key, "lost"), f"{path}.{key}")]
    if isinstance(written, list) and isinstance(again, list) and len(written) == len(again):
        pairs = enumerate(zip(written, again, strict=True))
        return [place for at, (one, other) in pairs for place in changed(one, other, f"{path}[{at}]")]
    return [] if written == again else [path]


@pytest.mark.parametrize("name", KINDS)
def test_what_is_read_of_a_run_is_written_again_as_it_was(name):
    for file, kind in KINDS[name].items():
        if (OLD / name / file).exists():
            written, adapter = json.loads((OLD / name / file).read_text()), TypeAdapter(kind)
            again = adapter.dump_python(adapter.validate_python(written), mode="json", by_alias=True)
            assert not changed(written, again), file


def test_names_in_files_stay_while_attributes_have_better_ones():
    run, written = read_search_run(OLD / "plain"), json.loads((OLD / "plain/summary.json").read_text())
    assert run.summary.unpruned.test_accuracy == written["baseline"]["test_accuracy"]
    assert run.summary.random_search.test_accuracy == written["control"]["test_accuracy"]
    assert run.summary.comparison.random_search.sentence == written["comparison"]["control"]["sentence"]
    assert run.absent == ()
    assert read_search_run(OLD / "evolved").absent[0] == "blend.json"


@pytest.mark.parametrize(
    ("name", "search"),
    [
        ("plain", {}),
        ("finals", {"finals": {"candidates": 4, "rungs": [0.5, 1.0]}}),
        ("front", {"objectives": ["flops"], "lowest": 0.15, "algorithm": "nsga2", "front": 3}),
    ],
)
def test_a_campaign_of_an_earlier_version_can_be_resumed(name, search):
    given = {**SPACE, "name": name, "search": {**SPACE["search"], **search}}
    given["retraining"] = {**SPACE["retraining"], "seeds": 3 if name == "plain" else 2}
    folder, space = RunFolder(OLD / name), space_from_dict(given)
    check_same_job(folder, "search")
    check_same_space(folder, space.to_dict())
    other = space_from_dict({**given, "search": {**given["search"], "generations": 7}})
    with pytest.raises(RunError, match=r"differing: search\.generations;"):
        check_same_space(folder, other.to_dict())
