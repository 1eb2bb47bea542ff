"""What a run needs of the file system that its folder is on, checked with small files before any work."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from blendsearch.errors import RunError
from blendsearch.files import TRIED

try:
    import fcntl
except ImportError:  # not a Unix: there filelock has locks of the system's own
    fcntl = None  # type: ignore[assignment]

ADVICE = "choose another --run-dir (docs/shared-folders.md says what is needed)"


class Lacking(Exception):
    """Something that a file system does not do."""


def check_file_system(folder: Path) -> None:
    """Raise RunError where the file system of a folder does not do what runs rely on; the folder is left as it was.

    Files that read back as they were written, also after a rename over an existing one; files made only where there is
    none; appending; locks between processes. What holds between hosts cannot be seen from one of them.
    """
    probe = Path(tempfile.mkdtemp(dir=folder, prefix=f"{TRIED}{os.getpid()}-"))
    try:
        for need, check in CHECKS.items():
            with _told(folder, need):
                check(probe)
    finally:
        shutil.rmtree(probe, ignore_errors=True)


@contextlib.contextmanager
def _told(folder: Path, need: str) -> Iterator[None]:
    try:
        yield
    except Lacking as lacking:
        raise RunError(f"{folder}: the file system cannot {need} ({lacking}); {ADVICE}") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # full, whatever else it can
            raise
        raise RunError(f"{folder}: the file system cannot {need} ({error.strerror or error}); {ADVICE}") from None


def _read_back(probe: Path) -> None:
    content = os.urandom(4096)
    with (probe / "written").open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _expect((probe / "written").read_bytes() == content, "other bytes came back")
    _expect([entry.name for entry in probe.iterdir()] == ["written"], "the folder does not list the file")


def _replace(probe: Path) -> None:
    (probe / "new").write_text("new")
    (probe / "old").write_text("old")
    (probe / "new").replace(probe / "old")
    _expect((probe / "old").read_text() == "new", "the old file is still there")
    _expect(not (probe / "new").exists(), "the renamed file is there twice")


def _create_once(probe: Path) -> None:
    os.close(os.open(probe / "once", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
        os.close(os.open(probe / "once", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return
    raise Lacking("a second process would make it again")


def _append(probe: Path) -> None:
    for line in ("one\n", "two\n"):
        with (probe / "log").open("a") as log:
            log.write(line)
    _expect((probe / "log").read_text() == "one\ntwo\n", "a line is lost")


def _lock(probe: Path) -> None:
    if fcntl is None:
        return
    with (probe / "lock").open("w") as first, (probe / "lock").open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
    raise Lacking("a second process would get the same lock")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Lacking(otherwise)


CHECKS = {
    "give back what was written": _read_back,
    "rename a file over another": _replace,
    "make a file only where there is none": _create_once,
    "append to a file": _append,
    "lock a file": _lock,
}
"""What is needed, in words -> what tells whether it is there."""
