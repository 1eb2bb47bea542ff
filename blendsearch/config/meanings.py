"""What docstrings say of single names, in lines such as `seed: every random choice comes from this number.`

The keys of space and board files are explained in the docstrings of their sections, the arguments of functions in
theirs; the pages of the documentation, the JSON Schema and whoever else tells a meaning read them from there.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from dataclasses import dataclass

SEPARATOR = r"(?:,\s+and\s+|,\s+|\s+and\s+)"
ENDINGS = r"(?:Returns|Raises|Yields|Source)\b"
"""Words that begin a sentence which is no longer about the name before it."""


@dataclass(frozen=True)
class Explained:
    """A docstring taken apart: what it says on the whole, and name -> what it says of that name."""

    whole: str
    meanings: dict[str, str]


def explain(docstring: str | None, names: Collection[str]) -> Explained:
    """Take a docstring apart by the names that it explains.

    What stands behind `name:`, at the start of a line or of a sentence, up to the next one or the end of the paragraph
    is the meaning of a name; several may share one (`mean, std: one number a channel`). Other colons mean nothing.
    """
    text = inspect.cleandoc(docstring or "")
    if not names:
        return Explained(text, {})
    name = "|".join(re.escape(one) for one in sorted(names, key=len, reverse=True))
    heads = re.compile(rf"(?:^|(?<=[.;:]\s))(?P<names>(?:{name})(?:{SEPARATOR}(?:{name}))*):\s+", re.MULTILINE)
    ends = re.compile(rf"\n\n|(?:^|(?<=\.\s)){ENDINGS}", re.MULTILINE)
    whole: list[str] = []
    meanings: dict[str, str] = {}
    at = 0
    while head := heads.search(text, at):
        end = ends.search(text, head.end())
        following = heads.search(text, head.end())
        stop = min(found.start() for found in (end, following) if found) if end or following else len(text)
        whole.append(text[at : head.start()])
        meaning = " ".join(text[head.end() : stop].split())
        meanings |= dict.fromkeys(re.split(SEPARATOR, head["names"]), meaning)
        at = stop
    return Explained(re.sub(r"\n{3,}", "\n\n", "".join([*whole, text[at:]])).strip(), meanings)


def key_meanings(section: type) -> dict[str, str]:
    """Return key -> meaning of a section of a space or board file, the keys that it inherits included."""
    found: dict[str, str] = {}
    for one in reversed(section.__mro__):
        if keys := getattr(one, "model_fields", None):
            found |= explain(one.__doc__, keys).meanings
    return found
