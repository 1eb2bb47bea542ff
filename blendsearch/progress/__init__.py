"""How the floors below the command line tell how far they are, without printing."""

from __future__ import annotations

from typing import Literal, Protocol

NOTE = "note"
"""The task under which a sentence comes that is to be read, not a step of any work."""


class Progress(Protocol):
    """Called with a task's name, how many of how many steps are done, and a short detail such as 'loss 0.31'.

    total: 0 where it is not known.
    """

    def __call__(self, task: str, done: int, total: int, detail: str = "") -> None: ...


Reporting = Progress | Literal["auto", False] | None
"""What calls of the Python interface take: "auto" (shown where a call takes over two seconds: a bar in a terminal or a
notebook, lines elsewhere, on standard error), None or False (silent), or a callback of one's own."""


def silent(task: str, done: int, total: int, detail: str = "") -> None:
    """Report nothing."""


def tell(progress: Progress, sentence: str) -> None:
    """Hand over a sentence that whoever waits should read now."""
    progress(NOTE, 1, 1, sentence)
