"""The console of the command line, and whether it shows progress."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console

from blendsearch.progress import Progress, silent
from blendsearch.progress.heartbeat import Heartbeat
from blendsearch.progress.lines import Lines

PIPE_WIDTH = 2000  # no table is cut or wrapped where there is no terminal


def output_console(quiet: bool = False) -> Console:
    """Return a console on standard output that takes texts as they are: no markup, no emoji codes."""
    console = Console(markup=False, emoji=False, highlight=False, quiet=quiet)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


@contextlib.contextmanager
def shown_loading(console: Console) -> Iterator[None]:
    """Show during a block, where it takes long, that the package and its libraries are loaded."""
    if console.is_terminal:
        with console.status("loading"):
            yield
        return
    with Heartbeat(Lines(console).still, "loading the package and its libraries"):
        yield


@contextlib.contextmanager
def no_progress() -> Iterator[Progress]:
    """Give a progress callback that shows nothing."""
    yield silent
