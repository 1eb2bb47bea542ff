"""Whether a process is there, for tests of what ends with what."""

from __future__ import annotations

import os


def alive(process: int) -> bool:
    """Return whether a process runs; one that has ended and waits to be asked for its code does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
