"""How the floors below the command line tell how far they are, without printing."""

from __future__ import annotations

from typing import Protocol

NOTE = "note"
"""The task under which a sentence comes that is to be read, not a step of any work."""


class Progress(Protocol):
    """Called with a task's name, how many of how many steps are done, and a short detail such as 'loss 0.31'."""

    def __call__(self, task: str, done: int, total: int, detail: str = "") -> None: ...


def silent(task: str, done: int, total: int, detail: str = "") -> None:
    """Report nothing."""


def tell(progress: Progress, sentence: str) -> None:
    """Hand over a sentence that whoever waits should read now."""
    progress(NOTE, 1, 1, sentence)
