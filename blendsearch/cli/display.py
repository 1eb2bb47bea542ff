"""The console of the command line, and whether it shows progress."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console

from blendsearch.progress import Progress, silent

PIPE_WIDTH = 2000  # no table is cut or wrapped where there is no terminal


def output_console(quiet: bool = False) -> Console:
    """Return a console on standard output that takes texts as they are: no markup, no emoji codes."""
    console = Console(markup=False, emoji=False, highlight=False, quiet=quiet)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


@contextlib.contextmanager
def no_progress() -> Iterator[Progress]:
    """Give a progress callback that shows nothing."""
    yield silent
