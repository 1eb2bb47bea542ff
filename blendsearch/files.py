"""Files that are written whole or not at all, and JSON from outside."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEEPEST = 50
PART, STAGED, TRIED = ".part", ".export-", ".probe-"
WRITERS = re.compile(
    rf"\..*\.(?:(?P<file>\d+)-)?[^.]*{re.escape(PART)}|(?:{re.escape(STAGED)}|{re.escape(TRIED)})(?:(?P<folder>\d+)-)?.*"
)
"""Names of what `atomic` and `staged` write into, and of what a file system is tried with, with the number of the
process that does (not of older versions)."""
SHARED = Path("/dev/shm")
"""Where Linux keeps the semaphores of processes that share them by name."""
PROBE = 1 << 20
"""Bytes that a place which is not full takes."""


def in_the_way(folder: Path) -> Path | None:
    """Return the file that is in the place of a folder, or of one above it; None where the folder is or can be made."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return None if there.is_dir() else there


def make_folder(folder: Path) -> None:
    """Make a folder where it is missing; NotADirectoryError names a file that is in its way."""
    if (file := in_the_way(folder)) is not None:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(file))
    folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path` in one step.

    A reader sees the old file or the new one, never a part. The folder is made where it is missing. OSError names
    `path` where the disk is full, whatever the library that wrote said of it.
    """
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{os.getpid()}-", suffix=PART)
    os.close(handle)
    part = Path(name)
    try:
        with _named(path, part):
            try:
                yield part
            except Exception as error:
                if not isinstance(error, OSError):
                    _probe(part)
                raise
            part.chmod(0o666 & ~_umask())  # a temporary file is private to its owner; results are made to be read
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(path: Path, part: Path) -> Iterator[None]:
    """Let errors of the system that name no file, or the temporary one, name the one that is meant."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(part)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def _probe(part: Path) -> None:
    """Raise OSError where no more can be written: libraries of tensors tell that in words of their own."""
    with part.open("ab") as file:
        file.write(bytes(PROBE))


def sweep(folder: Path) -> list[Path]:
    """Delete what killed processes were writing into below a folder, and return it; what live ones write stays.

    To be called by who alone is at work there.
    """
    gone = []
    for place, folders, files in os.walk(folder):
        for name in (*files, *folders):
            found = WRITERS.fullmatch(name)
            if found is None or _alive(found["file"] or found["folder"]):
                continue
            path = Path(place, name)
            if name in files and name.endswith(PART):
                path.unlink(missing_ok=True)
            elif name in folders and name.startswith((STAGED, TRIED)) and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
                folders.remove(name)
            else:
                continue
            gone.append(path)
    return gone


def sweep_shared(process: int) -> None:
    """Delete the semaphores that a process and its workers shared, if it was killed together with what clears them."""
    if not _alive(str(process)):
        for name in SHARED.glob(f"sem.loky-{process}-*"):
            with contextlib.suppress(OSError):  # another user's process had that number
                name.unlink()


def _alive(process: str | None) -> bool:
    """Return whether a process is there; one without a number is taken for gone."""
    if process is None or int(process) == os.getpid():
        return process is not None
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, which is not ours to judge
        return True
    return True


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield a folder for files that are then put into `folder`, each in one step; after an error none is."""
    make_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{STAGED}{os.getpid()}-") as name:
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
