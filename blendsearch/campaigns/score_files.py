"""Scores as files: safetensors with everything that is known of them, or CSV for other programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from blendsearch.errors import BlendsearchError, first_line
from blendsearch.files import atomic, parsed_json

KEY = "blendsearch.scores"
COLUMNS = ("criterion", "group", "filter", "score", "rank")

Row = tuple[str, str, int, float, float]
"""Criterion, group, filter, score and rank."""


@dataclass
class Content:
    """What a file holds of scores; see `blendsearch.Scores`."""

    scores: dict[str, dict[str, Tensor]]
    scales: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    samples: int | None = None
    parts: Mapping[str, Mapping[str, Mapping[str, Tensor]]] = field(default_factory=dict)


def write_scores_file(path: Path, content: Content, rows: Iterable[Row]) -> Path:
    """Write scores in the form that the path's suffix names: rows for .csv, else safetensors; return the path."""
    with atomic(path) as part:
        if path.suffix.lower() == ".csv":
            _write_rows(part, content, rows)
        else:
            _write_tensors(part, content)
    return path


def read_scores_file(path: Path) -> Content:
    """Read what `write_scores_file` wrote; BlendsearchError for a file that is not there or holds something else."""
    if not path.is_file():
        raise BlendsearchError(f"{path}: no such file of scores")
    try:
        return _read_rows(path) if path.suffix.lower() == ".csv" else _read_tensors(path)
    except BlendsearchError:
        raise
    except Exception as error:  # safetensors, csv and json each have errors of their own for damaged files
        raise BlendsearchError(f"{path}: no file of scores ({first_line(error)[:120]})") from None


def _write_rows(part: Path, content: Content, rows: Iterable[Row]) -> None:
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, "scale"])
        for name, group, index, score, rank in rows:
            writer.writerow([name, group, index, f"{score:.9g}", f"{rank:.9g}", content.scales[name][group]])


def _read_rows(path: Path) -> Content:
    values: dict[str, dict[str, list[float]]] = {}
    content = Content({})
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            missing = [column for column in ("criterion", "group", "filter", "score") if row.get(column) is None]
            if missing:
                raise BlendsearchError(f"{path}: no file of scores (it has no column '{missing[0]}')")
            own = values.setdefault(row["criterion"], {}).setdefault(row["group"], [])
            if int(row["filter"]) != len(own):
                raise BlendsearchError(
                    f"{path}: criterion '{row['criterion']}', group '{row['group']}': filter {row['filter']} given, "
                    f"{len(own)} expected"
                )
            own.append(float(row["score"]))
            if row.get("scale"):
                content.scales.setdefault(row["criterion"], {})[row["group"]] = row["scale"]
    if not values:
        raise BlendsearchError(f"{path}: no file of scores (it has no rows)")
    content.scores = {name: {g: torch.tensor(own) for g, own in groups.items()} for name, groups in values.items()}
    return content


def _write_tensors(part: Path, content: Content) -> None:
    """Write each score under CRITERION/GROUP; parts, which may be many, by number."""
    tensors: dict[str, Tensor] = {}
    scores: list[list[str]] = []
    parts: list[list[str]] = []
    for name, groups in content.scores.items():
        for group, values in groups.items():
            tensors[f"{name}/{group}"] = values
            scores.append([name, group, content.scales[name][group]])
            for conv, own in content.parts.get(name, {}).get(group, {}).items():
                tensors[f"parts/{len(parts)}"] = own
                parts.append([name, group, conv])
    about = {"scores": scores, "parts": parts, "left_out": content.left_out, "samples": content.samples}
    whole = {key: tensor.detach().float().cpu().contiguous().clone() for key, tensor in tensors.items()}
    save_file(whole, part, metadata={KEY: json.dumps(about)})


def _read_tensors(path: Path) -> Content:
    with safe_open(path, framework="pt") as file:
        about = (file.metadata() or {}).get(KEY)
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (no mapping)
    if about is None:  # as run folders have it
        content = Content({})
        for key, tensor in tensors.items():
            name, _, group = key.rpartition("/")
            content.scores.setdefault(name, {})[group] = tensor
        if not content.scores or "" in content.scores:
            raise BlendsearchError(f"{path}: no file of scores (its tensors are not called CRITERION/GROUP)")
        return content
    known = parsed_json(about)
    content = Content({}, left_out=known["left_out"], samples=known["samples"])
    parts: dict[str, dict[str, dict[str, Tensor]]] = {}
    for name, group, scale in known["scores"]:
        content.scores.setdefault(name, {})[group] = tensors[f"{name}/{group}"]
        content.scales.setdefault(name, {})[group] = scale
    for number, (name, group, conv) in enumerate(known["parts"]):
        parts.setdefault(name, {}).setdefault(group, {})[conv] = tensors[f"parts/{number}"]
    content.parts = parts
    return content
