"""A person's ratings of filters, read from a file and checked against the network."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from blendsearch.errors import DataError, nearest
from blendsearch.structure import Structure

Ratings = Mapping[str, Mapping[int, float]]
"""group -> filter index in the unpruned network -> rating in [0, 1]; filters that are not named are unrated."""

SCHEMA = 1
WORDS = {"keep": 1.0, "drop": 0.0}
UNRATED = 0.5


def read_ratings(path: str | Path) -> dict[str, dict[int, float]]:
    """Read {"schema": 1, "groups": {group: {filter index as text: number in [0, 1], "keep" or "drop"}}}.

    Raises DataError with one line for a file that is missing or holds anything else.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    except OSError as error:
        raise DataError(f"{path}: the ratings cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(f"{path}: these are no ratings: {error}") from error
    if not isinstance(data, dict) or set(data) != {"schema", "groups"} or not isinstance(data["groups"], dict):
        raise DataError(f'{path}: ratings must be a JSON object with "schema" and "groups" and nothing else')
    if data["schema"] != SCHEMA or isinstance(data["schema"], bool):
        raise DataError(f"{path}: schema: {json.dumps(data['schema'])} given, allowed: {SCHEMA}")
    return {group: _group(f"{path}: groups.{group}", rated) for group, rated in data["groups"].items()}


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    repeated = next((key for key in keys if keys.count(key) > 1), None)
    if repeated is not None:
        raise ValueError(f"'{repeated}' is given twice")
    return dict(pairs)


def _group(where: str, rated: object) -> dict[int, float]:
    if not isinstance(rated, dict):
        raise DataError(f"{where}: {json.dumps(rated)} given; a mapping from filter index to rating is expected")
    result = {}
    for index, rating in rated.items():
        if not (index.isascii() and index.isdigit() and str(int(index)) == index):
            raise DataError(f'{where}: \'{index}\' is no filter index; allowed: "0", "1", ...')
        result[int(index)] = _rating(f"{where}.{index}", rating)
    return result


def _rating(where: str, rating: object) -> float:
    if isinstance(rating, str) and rating in WORDS:
        return WORDS[rating]
    number = isinstance(rating, int | float) and not isinstance(rating, bool) and math.isfinite(rating)
    if not number or not 0 <= rating <= 1:  # type: ignore[operator]
        raise DataError(f'{where}: {json.dumps(rating)} given; allowed: a number from 0 to 1, "keep" or "drop"')
    return float(rating)  # type: ignore[arg-type]


def ratings_from(given: str | Path | Mapping[str, Mapping[int, object]]) -> dict[str, dict[int, float]]:
    """Return ratings from a file's path, or from a mapping that holds what its "groups" would.

    Raises DataError with one line for anything that is no rating.
    """
    if isinstance(given, str | Path):
        return read_ratings(given)
    if not isinstance(given, Mapping):
        raise DataError(f"ratings: {type(given).__name__} given; allowed: a path, or group -> filter index -> rating")
    return {group: _group(f"ratings: {group}", _with_text_keys(rated)) for group, rated in given.items()}


def _with_text_keys(rated: object) -> object:
    return {str(index): rating for index, rating in rated.items()} if isinstance(rated, Mapping) else repr(rated)


def ratings_of(structure: Structure, ratings: Ratings) -> dict[str, Tensor]:
    """Return every group's ratings [C], 0.5 for filters without one; of a pruned network those of what is left.

    Raises DataError for a group or a filter that the unpruned network does not have.
    """
    widths = structure.left.widths
    for group, rated in ratings.items():
        if group not in widths:
            close = nearest(group, widths)
            hint = f"; did you mean '{close}'?" if close else ""
            raise DataError(f"ratings: the network has no group '{group}'{hint} (allowed: {', '.join(widths)})")
        strange = next((index for index in rated if not 0 <= index < widths[group]), None)
        if strange is not None:
            raise DataError(f"ratings: group '{group}' has no filter {strange}; allowed: 0 to {widths[group] - 1}")
    result = {}
    for group in structure.widths:
        rated = ratings.get(group, {})
        kept = structure.left.keep[group]
        result[group] = torch.tensor([rated.get(index, UNRATED) for index in kept], dtype=torch.float32)
    return result
