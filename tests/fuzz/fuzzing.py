"""What every fuzzer needs: how many cases there are, what a reader may answer, and data that nobody would write.

Every property runs twice: with a few cases that are the same each time, and, marked as slow, with so many that all
fuzzers together try more than 10,000, drawn anew each time; a case that fails is printed in full.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from blendsearch.errors import BlendsearchError, ConfigError

LONGEST_LINE = 800
"""Characters of a line of an error, its places and the names that are allowed included."""
FEW = 20
SECONDS_A_CASE = 10
"""Of computing time; a hang takes longer."""
MANY = {
    "valid spaces": 500,
    "damaged spaces": 1500,
    "texts of spaces": 1000,
    "overrides": 1000,
    "valid boards": 300,
    "damaged boards": 700,
    "valid blends": 500,
    "damaged blends": 1000,
    "blends that prune": 100,
    "valid plans": 300,
    "damaged plans": 700,
    "plans that prune": 200,
    "valid ratings": 300,
    "damaged ratings": 700,
    "damaged records": 1000,
    "valid weights": 200,
    "damaged weights": 800,
    "damaged saved networks": 400,
    "pickles of code": 200,
    "damaged images": 300,
}
"""Property -> cases of its slow run; 10,000 and more in all."""


def amounts(property: str, few: int = FEW) -> pytest.MarkDecorator:
    """Return the mark that gives a test its number of `cases`."""
    many = pytest.param(MANY[property], id="many", marks=[pytest.mark.slow, pytest.mark.timeout(1800)])
    return pytest.mark.parametrize("cases", [pytest.param(few, id="few"), many])


def for_all(cases: int, check: Callable[..., None], *drawn: st.SearchStrategy[Any]) -> None:
    """Call a check with so many examples of the strategies; few are the same in every run."""
    decided = settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=cases <= FEW,
        phases=(Phase.generate,),  # to look for a smaller case that fails takes minutes with whole files
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    decided(given(*drawn)(check))()


def outcome(read: Callable[[], Any], folder: Path) -> Any:
    """Return what a reader returns, or None where it refuses in the words of an error of ours; nothing is written."""
    before, begun = _content(folder), time.process_time()
    try:
        return read()
    except BlendsearchError as error:
        check_words(error)
        return None
    finally:
        assert time.process_time() - begun < SECONDS_A_CASE, "it hangs, or nearly"
        assert _content(folder) == before, "it writes"


def check_words(error: BlendsearchError) -> None:
    """Fail where an error is no line, several (but for a space's, one a mistake), too long, or moves the cursor."""
    lines = str(error).split("\n")
    assert len(lines) == 1 or isinstance(error, ConfigError), f"several lines: {str(error)!r}"
    for line in lines:
        assert line.strip(), f"an empty line: {str(error)!r}"
        assert len(line) <= LONGEST_LINE, f"{len(line)} characters: {line[:2000]!r}"
        odd = [character for character in line if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")]
        assert not odd, f"characters that are no text: {odd} in {line!r}"


def _content(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789_.", min_size=1, max_size=8).filter(lambda name: name.strip("."))
"""Of groups, units and criteria."""
TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(max_size=3).map(lambda text: text * 500),
    st.sampled_from(
        [
            "",
            " ",
            "\n",
            "\0",
            "\x1b[31m",
            "\u2028",
            "\ud800",
            "~",
            "=",
            "null",
            "é" * 300,
            "-1",
            "1e999",
            "!!x",
            "1" * 5000,
            "0x" + "f" * 5000,
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0, -1, 2**31, 2**63, -(2**64), 10**30, 10**400]),
    st.floats(allow_nan=True, allow_infinity=True),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)
"""Data as JSON and YAML have it, of every kind."""


@st.composite
def mostly(draw: st.DrawFn, often: st.SearchStrategy[Any], *seldom: st.SearchStrategy[Any]) -> Any:
    """Draw from the first strategy seven times in ten, else from one of the others."""
    return draw(often if draw(st.sampled_from([True] * 7 + [False] * 3)) else st.one_of(*seldom))


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in nested data, its own first."""
    found = [path]
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        found += places(value, (*path, key))
    return found


@st.composite
def damaged(draw: st.DrawFn, valid: st.SearchStrategy[Any]) -> Any:
    """Draw data and change them in one place, or in up to three: see `_changed_at`."""
    data = draw(valid)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        inside = sorted(places(data)[1:], key=len, reverse=True)  # the first ones are drawn a little more often
        if not inside:
            return draw(ANYTHING)
        data = _changed(data, draw(st.sampled_from(inside)), draw)
    return data


def _changed(data: Any, path: tuple[Any, ...], draw: st.DrawFn) -> Any:
    if len(path) == 1:
        return _changed_at(data, path[0], draw)
    inner = _changed(data[path[0]], path[1:], draw)
    return {**data, path[0]: inner} if isinstance(data, dict) else [*data[: path[0]], inner, *data[path[0] + 1 :]]


def _changed_at(data: Any, key: Any, draw: st.DrawFn) -> Any:
    """Return a mapping or list with one of its entries changed: gone, renamed, more, another value, or one like it."""
    entries = list(data.items()) if isinstance(data, dict) else list(enumerate(data))
    at = [one for one, _ in entries].index(key)
    value = entries[at][1]
    change = draw(
        st.sampled_from(["any", "like", "like", "like", "gone", "renamed", "more", "wrapped", "text", "twice"])
    )
    if change == "gone":
        entries.pop(at)
    elif change == "renamed" and isinstance(data, dict):
        entries[at] = (draw(st.one_of(TEXTS, st.just(str(key)[:-1]), st.just(str(key) + "s"))), value)
    elif change == "more":
        entries.insert(at, (draw(TEXTS), draw(ANYTHING)))
    elif change == "twice":
        entries[at] = (key, entries[draw(st.integers(0, len(entries) - 1))][1])
    elif change == "wrapped":
        entries[at] = (key, draw(st.sampled_from([[value], {"name": value}, [value, value], {str(key): value}])))
    elif change == "text":
        entries[at] = (key, str(value))
    else:
        entries[at] = (key, draw(ANYTHING if change == "any" else _like(value)))
    return dict(entries) if isinstance(data, dict) else [one for _, one in entries]


def _like(value: Any) -> st.SearchStrategy[Any]:
    """Return values of the same type as a value, most of them near to it."""
    if isinstance(value, bool):
        return st.just(not value)
    if isinstance(value, int | float):
        halved = value // 2 if isinstance(value, int) else value / 2  # some whole numbers are beyond all floats
        return st.sampled_from([0, 1, -1, 0.5, value + 1, value - 1, value * 2, -value, halved, 1e-9, 1e9])
    if isinstance(value, str):
        return st.one_of(st.sampled_from([value + "x", value[1:], value.upper(), value + " ", ""]), TEXTS)
    if isinstance(value, list):
        return st.sampled_from([[], value[1:], value[::-1], value + value, [*value, None]])
    if isinstance(value, dict):
        items = list(value.items())
        return st.sampled_from([{}, dict(items[1:]), dict(items[::-1]), {**value, "": None}])
    return SCALARS


CHANGES = ("cut", "bits", "more", "gone", "zeros", "digits", "deep")
"""What can become of a file's bytes; digits: those of a number that Python does not read, deep: lists in lists."""


@st.composite
def damaged_bytes(
    draw: st.DrawFn, valid: st.SearchStrategy[bytes], first: int = 0, changes: Sequence[str] = CHANGES
) -> bytes:
    """Draw a file and cut it, turn bits of it, or put bytes into it, from the byte `first` on."""
    content = bytearray(draw(valid))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(min(first, len(content)), len(content)))
        change = draw(st.sampled_from(changes))
        if change == "cut":
            del content[at:]
        elif change == "bits" and at < len(content):
            content[at] ^= draw(st.integers(1, 255))
        elif change == "more":
            content[at:at] = draw(st.binary(max_size=9))
        elif change in ("digits", "deep"):
            content[at:at] = b"1" * 5000 if change == "digits" else b"[" * 100_000
        elif change == "zeros":
            content[at : at + 8] = b"\0" * len(content[at : at + 8])
        else:
            del content[at : at + draw(st.integers(1, 9))]
    return bytes(content)


def as_bytes(text: str) -> bytes:
    """Return a text as a file holds it; half characters, which no file can hold as UTF-8, are written all the same."""
    return text.encode("utf-8", "surrogatepass")
