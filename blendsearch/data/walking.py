"""Walking through a tree of images: links are followed, but not round and round."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from blendsearch.errors import DataError

Identity = tuple[int, int]
MOST_VISITS = 1000
"""Ways, through links, that lead to one folder; of links that branch at every level there are soon more than stars."""


def walk(root: str | Path, skipped: list[str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder of a tree that is not hidden with the names of its files, sorted, as it goes down.

    A link to a folder that it lies in would have no end: DataError names it. skipped: given a list, such links are left
    out and put in there instead.
    """
    visits: Counter[Identity] = Counter()
    around = {_identity(str(folder)): str(folder) for folder in Path(root).resolve().parents}
    waiting: list[tuple[str, dict[Identity | None, str]]] = [(str(root), dict(around))]
    while waiting:
        folder, above = waiting.pop()
        identity = _identity(folder)
        if identity is None:
            continue
        visits[identity] += 1
        trouble = _trouble(folder, above.get(identity), visits[identity])
        if trouble and skipped is None:
            raise DataError(f"data.root: {trouble}; data.on_error: skip leaves it out")
        if trouble:
            skipped.append(folder)  # type: ignore[union-attr]
            continue
        names, folders = entries(folder)
        yield folder, names
        inner = {**above, identity: folder}
        waiting += [(os.path.join(folder, name), inner) for name in reversed(folders)]


def _trouble(folder: str, same: str | None, visits: int) -> str:
    if same is not None:
        return f"'{folder}' is a link to '{same}', a folder that it lies in"
    return f"'{folder}' is one of over {MOST_VISITS} links to one folder" if visits > MOST_VISITS else ""


def _identity(folder: str) -> Identity | None:
    try:
        found = os.stat(folder)
    except OSError:  # gone, or closed to us
        return None
    return found.st_dev, found.st_ino


def entries(folder: str | Path) -> tuple[list[str], list[str]]:
    """Return the names of a folder's files and of its folders; a folder that cannot be read has none.

    Hidden folders are left out: they are those of editors and file managers, with copies of images in them.
    """
    names: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                (folders if entry.is_dir() else names).append(entry.name)
    except OSError:
        return [], []
    return sorted(names), sorted(name for name in folders if not name.startswith("."))
