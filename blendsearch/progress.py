"""How the floors below the command line tell how far they are, without printing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with a task's name, how many of how many steps are done, and a short detail such as 'loss 0.31'."""

    def __call__(self, task: str, done: int, total: int, detail: str = "") -> None: ...


def silent(task: str, done: int, total: int, detail: str = "") -> None:
    """Report nothing."""
