"""The JSON record of a blend: what it may hold, and how it is written and read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from blendsearch.config import BLEND_UNITS
from blendsearch.criteria import CRITERIA
from blendsearch.errors import BlendsearchError, nearest, quoted
from blendsearch.files import atomic, parsed_json
from blendsearch.plain import Unchecked

SCHEMA = 2
READ = (1, 2)
"""Versions that can be read. 2 added `alpha`."""
KEYS = ("schema", "unit", "groups", "weights", "alpha", "keep", "found_on", "members")
LEAST, MOST = 1e-30, 1e30
"""What is beyond vanishes or overflows in float32, in which ranks are summed."""
OPTIONAL = ("alpha", "keep", "members")


def check(record: Any, where: str) -> None:
    """Raise BlendsearchError with one line, beginning with `where`, for the first mistake of a record."""
    _check_keys(record, where)
    unit = record["unit"]
    if unit not in BLEND_UNITS:
        allowed = ", ".join(BLEND_UNITS)
        raise BlendsearchError(f"{where}: unit: {quoted(unit)} given, {allowed} allowed{_hint(unit, BLEND_UNITS)}")
    _check_groups(record["groups"], f"{where}: groups")
    _check_alpha(record.get("alpha", {}), record["weights"], f"{where}: alpha")
    _check_weights(record["weights"], record.get("alpha", {}), f"{where}: weights")
    _check_units(unit, record, where)
    _check_keep(record.get("keep", {}), f"{where}: keep")
    if not isinstance(record["found_on"], Mapping):
        raise BlendsearchError(f"{where}: found_on: {quoted(record['found_on'])} given, a mapping expected")
    _check_members(record.get("members", {}), f"{where}: members")


def _check_members(members: Any, where: str) -> None:
    if not isinstance(members, Mapping):
        raise BlendsearchError(f"{where}: {quoted(members)} given, name -> blend expected")
    for name, member in members.items():
        if name in CRITERIA:  # whose scores, where there are any, would be taken for the member's
            raise BlendsearchError(f"{where}.{name}: the name of a criterion given, another name expected")
        check(member, f"{where}.{name}")


def _check_keys(record: Any, where: str) -> None:
    allowed = ", ".join(KEYS)
    if not isinstance(record, Mapping):
        raise BlendsearchError(f"{where}: {type(record).__name__} given, a mapping with {allowed} expected")
    schema = record.get("schema")
    if schema not in READ or isinstance(schema, bool):
        versions = " and ".join(map(str, READ))
        raise BlendsearchError(f"{where}: schema: {quoted(schema)} given, only versions {versions} can be read")
    for key in record:
        if key not in KEYS:
            raise BlendsearchError(f"{where}: unknown key {quoted(key)}{_hint(key, KEYS)} (allowed: {allowed})")
    missing = [key for key in KEYS if key not in record and key not in OPTIONAL]
    if missing:
        raise BlendsearchError(f"{where}: {', '.join(missing)} missing")


def _check_groups(groups: Any, where: str) -> None:
    if not isinstance(groups, Mapping):
        raise BlendsearchError(f"{where}: {type(groups).__name__} given, unit -> list of groups expected")
    owner: dict[str, str] = {}
    for unit, names in groups.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BlendsearchError(f"{where}.{unit}: {quoted(names)} given, a list of group names expected")
        for name in names:
            if name in owner:
                raise BlendsearchError(f"{where}.{unit}: group '{name}' is already in unit '{owner[name]}'")
            owner[name] = unit


def _check_alpha(alpha: Any, weights: Any, where: str) -> None:
    if not isinstance(alpha, Mapping):
        raise BlendsearchError(f"{where}: {quoted(alpha)} given, unit -> exponent expected")
    for unit, exponent in alpha.items():
        if not isinstance(weights, Mapping) or unit not in weights:
            raise BlendsearchError(f"{where}: unit '{unit}' is not among those of weights")
        number = isinstance(exponent, int | float) and not isinstance(exponent, bool)
        if not number or not 0 <= exponent <= 1:
            raise BlendsearchError(f"{where}.{unit}: {quoted(exponent)} given, a number from 0 to 1 expected")


def _check_weights(weights: Any, alpha: Mapping[str, float], where: str) -> None:
    if not isinstance(weights, Mapping) or not weights:
        raise BlendsearchError(f"{where}: {quoted(weights)} given, unit -> criterion -> factor expected")
    for unit, factors in weights.items():
        exponent = alpha.get(unit, 0)  # with one, the losses alone give an order
        if not isinstance(factors, Mapping) or not (factors or exponent):
            raise BlendsearchError(f"{where}.{unit}: {quoted(factors)} given, criterion -> factor expected")
        for criterion, factor in factors.items():
            _check_factor(factor, f"{where}.{unit}.{criterion}")
        if not exponent and not any(factor > 0 for factor in factors.values()):
            raise BlendsearchError(f"{where}.{unit}: every factor is 0, at least one above 0 expected")


def _check_factor(factor: Any, where: str) -> None:
    number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if not number or not 0 <= factor <= sys.float_info.max:  # nan and integers beyond all floats are neither
        raise BlendsearchError(f"{where}: factor {quoted(factor)} given, a finite number of 0 or more expected")
    if factor and not LEAST <= factor <= MOST:
        raise BlendsearchError(
            f"{where}: factor {quoted(factor)} given, 0 or a number from {LEAST:g} to {MOST:g} expected"
        )


def _check_units(unit: str, record: Unchecked, where: str) -> None:
    given, covered = set(record["weights"]), set(record["groups"])
    if unit == "network":
        if given != {"network"} or not covered <= {"network"}:
            odd = ", ".join(sorted((given | covered) - {"network"})) or "none"
            raise BlendsearchError(f"{where}: a network-level blend has the one unit 'network', given: {odd}")
    elif given != covered:
        odd = ", ".join(sorted(given ^ covered))
        raise BlendsearchError(f"{where}: weights and groups must name the same units, they differ in {odd}")
    elif empty := [name for name, groups in record["groups"].items() if not groups]:
        raise BlendsearchError(f"{where}: groups.{empty[0]}: none given, at least one group expected")


def _check_keep(keep: Any, where: str) -> None:
    if not isinstance(keep, Mapping):
        raise BlendsearchError(f"{where}: {quoted(keep)} given, group -> weight expected")
    for group, weight in keep.items():
        _check_factor(weight, f"{where}.{group}")
        if weight == 0:
            raise BlendsearchError(f"{where}.{group}: weight 0 given, a number above 0 expected")


def _hint(given: Any, allowed: Iterable[str]) -> str:
    close = nearest(given, allowed) if isinstance(given, str) else None
    return f"; did you mean '{close}'?" if close else ""


def read(path: Path) -> Any:
    """Return the parsed JSON of a file; raises BlendsearchError when it is missing or no JSON."""
    try:
        return parsed_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BlendsearchError(f"{path}: cannot read the blend ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise BlendsearchError(f"{path}: not a blend file (no UTF-8 text)") from None
    except json.JSONDecodeError as error:
        raise BlendsearchError(f"{path}:{error.lineno}: not a blend file (no JSON: {error.msg})") from None
    except ValueError as error:
        raise BlendsearchError(f"{path}: not a blend file ({error})") from None


def write(record: Unchecked, path: Path) -> None:
    """Write a record as JSON into a temporary file beside `path`, then rename it: never half a file."""
    try:
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise BlendsearchError(f"{path}: the blend holds what JSON cannot ({error})") from None
    try:
        with atomic(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BlendsearchError(f"{path}: cannot write the blend ({error.strerror or error})") from None
