"""What a format's writer says of what it wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Written:
    """Files that were written and checked; see `ExportRecord` for the rest."""

    files: tuple[Path, ...]
    difference: float
    largest_output: float
    checked: str
    opset: int | None = None
    note: str = ""
