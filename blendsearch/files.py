"""Files that are written whole or not at all, and JSON from outside."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEEPEST = 50


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path` in one step.

    A reader sees the old file or the new one, never a part. The folder is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_umask())  # a temporary file is private to its owner; results are made to be read
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield a folder for files that are then put into `folder`, each in one step; after an error none is."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as name:
        yield Path(name)
        for file in sorted(Path(name).iterdir()):
            file.replace(folder / file.name)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def parsed_json(text: str | bytes, object_of: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return the data of a JSON text; object_of: makes an object of its pairs.

    Raises ValueError for what is no JSON and for what is nested deeper than DEEPEST: code that walks through the data
    level by level may trust that it gets to the end.
    """
    try:
        data = json.loads(text, object_pairs_hook=object_of)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [data]
    for _ in range(DEEPEST):
        level = [child for one in level for child in _children(one)]
        if not level:
            return data
    raise ValueError(f"nested too deeply (at most {DEEPEST} levels)")


def _children(data: Any) -> list[Any]:
    return list(data.values()) if isinstance(data, dict) else data if isinstance(data, list) else []


def content_digest(path: Path) -> str:
    """Return 16 hexadecimal digits that stand for a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
