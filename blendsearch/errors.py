"""The errors a user can cause, each one clear line: what, where, given, allowed, nearest name."""

from __future__ import annotations

import difflib
import itertools
import re
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

LONGEST_LINE, LONGEST_WORD, LONGEST_QUOTE = 800, 200, 200
"""Characters of a message's line, of a run without spaces in it, such as a path, and of what it quotes."""
LISTED = 540
"""Characters of a list of allowed names."""


LIBRARIES = (
    f"{Path(__file__).parent}/",
    *(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)
"""Folders of code that is not the user's own."""


class BlendsearchError(Exception):
    """Base of every error that is the input's fault; the command line prints it and exits with code 2.

    lines: of the message, mostly one. Whatever it quotes, each is one line of printable text of at most LONGEST_LINE
    characters. given: the message before that.
    """

    def __init__(self, *lines: str) -> None:
        self.given = "\n".join(lines)
        super().__init__(*map(self.plain, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)

    @staticmethod
    def plain(message: str) -> str:
        """Return a message as a line that can be printed."""
        return printable(" ".join(message.splitlines()) if "\n" in message else message)


class ConfigError(BlendsearchError):
    """A space file or an override is wrong; may hold several lines, one a mistake."""

    @staticmethod
    def plain(message: str) -> str:
        """Return a message with each line such that it can be printed."""
        return "\n".join(map(printable, message.split("\n")))


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


class TrialError(WorkerError):
    """A candidate cannot be judged, since its trial failed at every try."""


def printable(line: str) -> str:
    """Return a line with escapes for what is no text, and without the middle of what is too long."""
    escaped = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)
    words = re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda found: shortened(found[0], LONGEST_WORD), escaped)
    return shortened(words, LONGEST_LINE)


def shortened(text: str, most: int = LONGEST_QUOTE) -> str:
    """Return a text of at most so many characters: the middle of a longer one becomes '...'."""
    end = (most - 3) // 3
    return text if len(text) <= most else f"{text[: most - 3 - end]}...{text[-end:]}"


def quoted(value: object, most: int = LONGEST_QUOTE) -> str:
    """Return a value as Python writes it, shortened."""
    try:
        return shortened(repr(value), most)
    except (ValueError, RecursionError):  # a whole number of more digits than Python writes; very deep nesting
        return f"(a value of type {type(value).__name__} that cannot be written out)"


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def blame(error: BaseException) -> str:
    """Return in a line what somebody's code raised, and where in that code, since no traceback is shown with it."""
    text, place = shortened(" ".join(str(error).split())), own_place(error)
    return type(error).__name__ + (f": {text}" if text else "") + (f" ({place})" if place else "")


def own_place(error: BaseException) -> str | None:
    """Return FILE:LINE of the innermost place of an error outside of this package, Python and what is installed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((*LIBRARIES, "<"))]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else None


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
    return UnknownNameError(f"{place}unknown {kind} '{shortened(given)}'{hint} (allowed: {listed(names)})")


def listed(names: Sequence[str]) -> str:
    """Return names as a list; of very many the first, and how many more there are."""
    lengths = itertools.accumulate(len(name) + 2 for name in names)
    told = [name for name, length in zip(names, lengths, strict=True) if length <= LISTED + 2]
    more = len(names) - len(told)
    return ", ".join(told) + (f" and {more} more" if more else "")
