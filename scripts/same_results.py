"""Whether two run folders hold the same results: files bit for bit, records and trials but for times."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

TIMES = {"seconds", "cost", "latency_ms", "shipped_ms", "unpruned_ms", "retraining_seconds", "scoring_seconds"}
"""Keys and columns that hold times, or shares of them (cost, of an audit)."""
TIMED_LISTS = {"known", "estimates"}
"""Key, or folder, whose lists are (value, seconds, passes)."""
IGNORED = {".lock", "events.jsonl", "seconds.json", "time.png", "time.svg"}
RENDERED = {".html", ".md"}
"""What shows times among results that are compared in the records they are made of."""
TABLES = {
    "trials": "SELECT study_id, number, state FROM trials",
    "values": "SELECT study_id, number, objective, value FROM trial_values JOIN trials USING (trial_id)",
    "parameters": "SELECT study_id, number, param_name, param_value FROM trial_params JOIN trials USING (trial_id)",
    "attributes": "SELECT study_id, number, key, value_json FROM trial_user_attributes JOIN trials USING (trial_id) "
    "WHERE key != 'seconds'",
    "rungs": "SELECT study_id, number, step, intermediate_value FROM trial_intermediate_values "
    "JOIN trials USING (trial_id)",
}


def differences(reference: Path, other: Path) -> list[str]:
    """Return a line for each result of `reference` that is not the same in `other`, and for each that is more."""
    mine, theirs = _results(reference), _results(other)
    found = [f"missing: {name}" for name in sorted(mine - theirs)]
    found += [f"too much: {name}" for name in sorted(theirs - mine)]
    for name in sorted(mine & theirs):
        places = list(_different(reference / name, other / name, timed=Path(name).parent.name in TIMED_LISTS))
        found += [f"differs: {name} {', '.join(places[:3])}".strip()] if places else []
    return found


def _results(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.name not in IGNORED and path.suffix not in RENDERED
    }


def _different(one: Path, other: Path, *, timed: bool) -> Iterator[str]:
    read = READERS.get(one.suffix)
    if read is None:
        if one.read_bytes() != other.read_bytes():
            yield "(content)"
    else:
        yield from _places(_timeless(read(one), timed), _timeless(read(other), timed))


def _timeless(data: Any, timed: bool = False) -> Any:
    """Return data without times; timed: lists in a mapping are (value, seconds, passes), some with a 1."""
    if isinstance(data, dict):
        return {key: _timeless(one, timed or key in TIMED_LISTS) for key, one in data.items() if key not in TIMES}
    if isinstance(data, list):
        kept = [data[0], *data[2:]] if timed and len(data) in (3, 4) else data
        return [_timeless(one) for one in kept]
    return data


def _places(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _places(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from _places(*pair, f"{path}[{index}]")
    elif one != other:
        yield path or "(all of it)"


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_csv(path: Path) -> Any:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _read_trials(path: Path) -> Any:
    """Return what an Optuna storage in SQLite knows of every trial but its times and internal numbers."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as storage:
        return {name: sorted(map(list, storage.execute(query))) for name, query in TABLES.items()}


def _read_judgements(path: Path) -> Any:
    """Return the lines of a journal, [judge, plan, value, seconds, passes, ...], without their seconds."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [[*line[:3], *line[4:]] for line in lines]


READERS: dict[str, Callable[[Path], Any]] = {
    ".json": _read_json,
    ".csv": _read_csv,
    ".db": _read_trials,
    ".jsonl": _read_judgements,
}
