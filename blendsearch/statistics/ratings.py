"""People's ratings of filters, read from a file and checked against the network."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from blendsearch.errors import DataError, nearest, quoted, shortened
from blendsearch.files import parsed_json
from blendsearch.statistics.kappa import fleiss_kappa
from blendsearch.structure import Structure

RatedFilters = Mapping[str, Mapping[int, float]]
"""group -> filter index in the unpruned network -> rating in [0, 1]; filters that are not named are unrated."""

SCHEMA = 2
WORDS = {"keep": 1.0, "unsure": 0.5, "drop": 0.0}
INDEX = re.compile("0|[1-9][0-9]{0,8}")
LONGEST_SHOWN = 20
NOBODY = "rater"
"""The name of the one rater of a file of schema 1, and of ratings given from Python."""


@dataclass(frozen=True)
class Ratings:
    """What raters say of a network's filters; rater -> marks.

    fallback: the criterion whose ranks stand in for filters that nobody rated; None: they get 0.5.
    """

    raters: Mapping[str, RatedFilters]
    fallback: str | None = None

    @classmethod
    def of(cls, marks: RatedFilters, fallback: str | None = None) -> Ratings:
        """Return the ratings of a single rater."""
        return cls({NOBODY: marks}, fallback)

    @property
    def means(self) -> dict[str, dict[int, float]]:
        """The mean of the marks of everybody who rated a filter: group -> filter -> [0, 1]."""
        given: dict[str, dict[int, list[float]]] = {}
        for marks in self.raters.values():
            for group, rated in marks.items():
                for index, mark in rated.items():
                    given.setdefault(group, {}).setdefault(index, []).append(mark)
        return {g: {i: fmean(marks) for i, marks in sorted(rated.items())} for g, rated in given.items()}

    @property
    def shared(self) -> list[tuple[str, int]]:
        """The filters that every rater rated, as (group, filter)."""
        rated = [{(group, i) for group, marks in own.items() for i in marks} for own in self.raters.values()]
        return sorted(set.intersection(*rated)) if rated else []

    @property
    def kappa(self) -> float | None:
        """Fleiss' kappa of the raters over the filters that all of them rated.

        Numbers count as the nearest mark: below 0.25 drop, above 0.75 keep, else unsure. None for fewer than two
        raters, without a shared filter, and where all of them always chose the same mark.
        """
        if len(self.raters) < 2:
            return None
        counts = [[0, 0, 0] for _ in self.shared]
        for row, (group, index) in zip(counts, self.shared, strict=True):
            for marks in self.raters.values():
                row[_category(marks[group][index])] += 1
        return fleiss_kappa(counts)


def _category(mark: float) -> int:
    return 0 if mark < 0.25 else 2 if mark > 0.75 else 1


def read_ratings(path: str | Path, fallback: str | None = None) -> Ratings:
    """Read {"schema": 2, "raters": {rater: {"groups": {group: {filter index as text: mark}}}}}.

    A mark is "keep", "unsure", "drop" or a number in [0, 1]. A rater without marks is left out. Schema 1 has "groups"
    of one rater in place of "raters". Raises DataError with one line for a file that is missing or holds anything else.
    """
    try:
        data = parsed_json(Path(path).read_text(encoding="utf-8"), _without_repeats)
    except OSError as error:
        raise DataError(f"{path}: the ratings cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(f"{path}: these are no ratings: {error}") from error
    return Ratings(_raters(str(path), data), fallback)


def _raters(path: str, data: object) -> dict[str, dict[str, dict[int, float]]]:
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema == 2:
        raters = _only(path, data, "raters")
        found = {name: _groups(f"{path}: raters.{name}", _own(path, name, own)) for name, own in raters.items()}
        return {name: marks for name, marks in found.items() if any(marks.values())}
    groups = _only(path, data, "groups")
    if schema != 1 or isinstance(schema, bool):
        raise DataError(f"{path}: schema: {_shown(schema)} given, allowed: 1 or {SCHEMA}")
    return {NOBODY: _groups(path, groups)}


def _only(path: str, data: object, key: str) -> dict[str, object]:
    if not isinstance(data, dict) or set(data) != {"schema", key} or not isinstance(data[key], dict):
        raise DataError(f'{path}: ratings must be a JSON object with "schema" and "{key}" and nothing else')
    content: dict[str, object] = data[key]
    return content


def _own(path: str, rater: str, own: object) -> dict[str, object]:
    if not isinstance(own, dict) or set(own) != {"groups"} or not isinstance(own["groups"], dict):
        raise DataError(f'{path}: raters.{rater}: a JSON object with "groups" and nothing else is expected')
    groups: dict[str, object] = own["groups"]
    return groups


def _groups(where: str, groups: Mapping[str, object]) -> dict[str, dict[int, float]]:
    separator = "." if ": " in where else ": "
    return {group: _group(f"{where}{separator}groups.{group}", rated) for group, rated in groups.items()}


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    repeated = next((key for key in keys if keys.count(key) > 1), None)
    if repeated is not None:
        raise ValueError(f"'{repeated}' is given twice")
    return dict(pairs)


def _group(where: str, rated: object) -> dict[int, float]:
    if not isinstance(rated, dict):
        raise DataError(f"{where}: {_shown(rated)} given; a mapping from filter index to rating is expected")
    result = {}
    for index, rating in rated.items():
        if not INDEX.fullmatch(index):
            shown = index if len(index) <= LONGEST_SHOWN else f"{index[:LONGEST_SHOWN]}..."
            raise DataError(f'{where}: \'{shown}\' is no filter index; allowed: "0", "1", ...')
        result[int(index)] = _rating(f"{where}.{index}", rating)
    return result


def _rating(where: str, rating: object) -> float:
    if isinstance(rating, str) and rating in WORDS:
        return WORDS[rating]
    number = isinstance(rating, int | float) and not isinstance(rating, bool)
    if not number or not 0 <= rating <= 1:  # type: ignore[operator]
        words = ", ".join(f'"{word}"' for word in WORDS)
        raise DataError(f"{where}: {_shown(rating)} given; allowed: a number from 0 to 1, {words}")
    return float(rating)  # type: ignore[arg-type]


def _shown(value: object) -> str:
    """Return a value as JSON has it, shortened; what comes from Python and is no JSON, as Python has it."""
    try:
        return shortened(json.dumps(value))
    except (TypeError, ValueError):
        return quoted(value)


def ratings_from(given: str | Path | Mapping[str, Mapping[int, object]] | Ratings) -> Ratings:
    """Return ratings from a file's path, or from a mapping that holds what the "groups" of one rater would.

    Raises DataError with one line for anything that is no rating.
    """
    if isinstance(given, Ratings):
        return given
    if isinstance(given, str | Path):
        return read_ratings(given)
    if not isinstance(given, Mapping):
        raise DataError(f"ratings: {type(given).__name__} given; allowed: a path, or group -> filter index -> rating")
    return Ratings.of({group: _group(f"ratings: {group}", _with_text_keys(rated)) for group, rated in given.items()})


def _with_text_keys(rated: object) -> object:
    return {str(index): rating for index, rating in rated.items()} if isinstance(rated, Mapping) else repr(rated)


def ratings_of(structure: Structure, ratings: Ratings | None) -> dict[str, Tensor]:
    """Return every group's mean ratings [C], nan for filters without one; of a pruned network those of what is left.

    Raises DataError for a group or a filter that the unpruned network does not have.
    """
    means = ratings.means if ratings is not None else {}
    for marks in ratings.raters.values() if ratings is not None else ():
        check_marks(structure, marks)
    result = {}
    for group in structure.widths:
        rated = means.get(group, {})
        kept = structure.left.keep[group]
        result[group] = torch.tensor([rated.get(index, math.nan) for index in kept], dtype=torch.float32)
    return result


def check_marks(structure: Structure, marks: RatedFilters) -> None:
    """Raise DataError for a group or a filter that the unpruned network does not have."""
    widths = structure.left.widths
    for group, rated in marks.items():
        if group not in widths:
            close = nearest(group, widths)
            hint = f"; did you mean '{close}'?" if close else ""
            raise DataError(f"ratings: the network has no group '{group}'{hint} (allowed: {', '.join(widths)})")
        strange = next((index for index in rated if not 0 <= index < widths[group]), None)
        if strange is not None:
            raise DataError(f"ratings: group '{group}' has no filter {strange}; allowed: 0 to {widths[group] - 1}")
