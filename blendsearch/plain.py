"""Plain data, as JSON and YAML have it: what is put away to go on from, and what nobody has checked yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

State = dict[str, Any]
"""What an object remembers, in plain values (a training's in tensors, too), so that another one can go on from it."""

Unchecked = Mapping[str, Any]
"""Data from outside of which only that is known that it is a mapping, such as the keys of a space file."""


def name_of(section: Any) -> Any:
    """Return the name in a section that is a name, or a mapping with one; None for one that is left out."""
    return section.get("name") if isinstance(section, Mapping) else section


DEVICE, DEVICE_WORDS = r"^(auto|cpu|cuda(:\d+)?)$", "'auto', 'cpu', 'cuda' or 'cuda:NUMBER'"
"""What a device is called, as a pattern and in words; others, such as mps, have no float64 to sum in."""
