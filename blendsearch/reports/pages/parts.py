"""What the pages of several jobs tell alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blendsearch.models.loading import GIVEN
from blendsearch.plain import Unchecked

HANDED_OVER = f"{GIVEN}:"
"""How the names of networks begin that were handed over in Python."""

VERDICTS = {
    "beats": ("▲", "good"),
    "equal": ("=", "even"),
    "undecided": ("?", "open"),
    "no difference shown": ("=", "even"),
    "worse": ("▼", "bad"),
    "not tested (one seed)": ("○", "open"),
    "not tested (seeds alike)": ("○", "open"),
}
"""Verdict of a paired difference -> its symbol and tone."""


@dataclass(frozen=True)
class KeyNumber:
    """A number at the head of the page, what it is, and a line about it."""

    label: str
    value: str
    detail: str


def list_sources(folder: Path, sources: Mapping[str, str]) -> list[tuple[str, str, bool]]:
    """Return each file that a page is made of, what it holds, and whether it is there."""
    return [(name, what, (folder / name).exists()) for name, what in sources.items()]


def model_of(space: Unchecked) -> str:
    """Return the name of a space's network."""
    model = space.get("model")
    name = str(model.get("name", "the network")) if isinstance(model, Mapping) else "the network"
    return f"your {name.removeprefix(HANDED_OVER)}" if name.startswith(HANDED_OVER) else name
