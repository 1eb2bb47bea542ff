"""The errors a user can cause, each one clear line: what, where, given, allowed, nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BlendsearchError(Exception):
    """Base of every error that is the input's fault; the command line prints it and exits with code 2."""


class ConfigError(BlendsearchError):
    """A space file or an override is wrong; may hold several lines, one a mistake."""


class DataError(BlendsearchError):
    """A data set is missing, empty or of another shape than stated."""


class WeightsError(BlendsearchError):
    """A weights file cannot be read or does not fit the network."""


class StructureError(BlendsearchError):
    """A network, a group or a plan cannot be pruned as asked."""


class BudgetError(BlendsearchError):
    """A budget cannot be met; the message says what is possible."""


class TrainingError(BlendsearchError):
    """Training cannot go on, for example because the loss is not finite."""


class UnknownNameError(BlendsearchError):
    """A name that no registry entry has."""


class RunError(BlendsearchError):
    """A run folder is missing, incomplete, or belongs to another campaign."""


class ExportError(BlendsearchError):
    """A network cannot be written in a format, or what was written does not give the network's outputs."""


class WorkerError(BlendsearchError):
    """Worker processes die, again and again."""


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def nearest(given: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name closest to `given`, or None when none is close."""
    matches = difflib.get_close_matches(given.lower(), {name.lower(): name for name in allowed}, n=1, cutoff=0.5)
    return next((name for name in allowed if name.lower() == matches[0]), None) if matches else None


def unknown_name(kind: str, given: str, allowed: Iterable[str], where: str = "") -> UnknownNameError:
    """Build the error for a name that is not among `allowed`, naming the nearest one that is."""
    names = sorted(allowed)
    close = nearest(given, names)
    hint = f"; did you mean '{close}'?" if close else ""
    place = f"{where}: " if where else ""
    return UnknownNameError(f"{place}unknown {kind} '{given}'{hint} (allowed: {', '.join(names)})")
