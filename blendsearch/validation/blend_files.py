"""The blends that a space or a board names by their files, checked before any work is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from blendsearch.blending import Blend
from blendsearch.config import BlendFile
from blendsearch.criteria import CRITERIA
from blendsearch.errors import BlendsearchError
from blendsearch.validation.names import Mistakes


def mistakes_in_blends(section: Any, reserved: Mapping[str, str]) -> Mistakes:
    """Yield (key path, what is wrong) for files that hold no blend, and for names that are taken.

    section: the value of `blends`. reserved: name -> what it stands for. Values of a wrong type are passed over.
    """
    taken = {**dict.fromkeys(CRITERIA.names(), "a criterion"), **reserved}
    for position, one in enumerate(section if isinstance(section, list) else []):
        given = blend_file(one)
        if given is None:
            continue
        if given.label in taken:
            what = f"'{given.label}' is the name of {taken[given.label]}; give another: {{file: ..., name: ...}}"
            yield ("blends", position), what
        taken.setdefault(given.label, "another blend")
        try:
            unknown = [name for name in Blend.load(given.file).criteria if name not in CRITERIA]
        except BlendsearchError as error:
            yield ("blends", position), str(error)
            continue
        if unknown:
            yield ("blends", position), f"{given.file} blends criteria that are not registered: {', '.join(unknown)}"


def labels(section: Any) -> list[str]:
    """Return the names of the blends of a section, as far as it is of the right form."""
    listed: Iterable[Any] = section if isinstance(section, list) else []
    return [given.label for given in map(blend_file, listed) if given is not None]


def blend_file(section: Any) -> BlendFile | None:
    """Return the section of a blend, or None where types are wrong, which is told elsewhere."""
    if isinstance(section, str) and section:
        return BlendFile(file=section)
    if not isinstance(section, Mapping):
        return None
    file, name = section.get("file"), section.get("name")
    named = name is None or (isinstance(name, str) and name)
    return BlendFile(file=file, name=name) if isinstance(file, str) and file and named else None
