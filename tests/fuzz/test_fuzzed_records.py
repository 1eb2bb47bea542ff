"""Records of run folders that are damaged: read, or told in a line that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzzing import ANYTHING, amounts, damaged, damaged_bytes, for_all, mostly, outcome
from hypothesis import strategies as st
from network_files import as_json

from blendsearch.results.runs import (
    read_audit_run,
    read_board_run,
    read_curves_run,
    read_search_run,
    read_transfer_run,
)

OLD = Path(__file__).parents[1] / "results" / "old_runs"
READERS: dict[str, Callable[[Path], Any]] = {
    **dict.fromkeys(("plain", "finals", "front", "evolved"), read_search_run),
    "audit": read_audit_run,
    "curves": read_curves_run,
    "board": read_board_run,
    "transfer": read_transfer_run,
}
RECORDS = sorted(str(file.relative_to(OLD)) for file in OLD.rglob("*.json"))


def contents(name: str) -> st.SearchStrategy[tuple[str, bytes]]:
    """Return what may stand in a record's file."""
    written = (OLD / name).read_bytes()
    damages = mostly(
        damaged(st.just(json.loads(written))).map(as_json),
        damaged_bytes(st.just(written)),
        ANYTHING.map(as_json),
    )
    return st.tuples(st.just(name), damages)


@amounts("damaged records")
def test_any_record_is_read_or_told_in_a_line(cases, tmp_path):
    for name in READERS:
        shutil.copytree(OLD / name, tmp_path / name)

    def check(drawn):
        name, content = drawn
        file, run = tmp_path / name, Path(name).parts[0]
        file.write_bytes(content)
        outcome(lambda: READERS[run](tmp_path / run), tmp_path)
        file.write_bytes((OLD / name).read_bytes())

    for_all(cases, check, st.sampled_from(RECORDS).flatmap(contents))
