"""loky's resource tracker: the small process that outlives ours and clears away what we shared with workers."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from joblib.externals.loky.backend.resource_tracker import ensure_running

QUIET = "ignore:resource_tracker:UserWarning"
"""It warns of what it clears away, which nobody needs to do anything about."""


def start_tracker() -> None:
    """Start the tracker where it does not run yet, so that it outlives us also where a terminal is closed.

    loky lets it ignore SIGINT and SIGTERM; SIGHUP, which a closed terminal sends to all that it started, ends it.
    """
    with _blocked_hangup(), _variable("PYTHONWARNINGS", QUIET):
        ensure_running()


@contextlib.contextmanager
def _blocked_hangup() -> Iterator[None]:
    """Let what a block starts never be ended by SIGHUP; one that comes meanwhile reaches us after the block."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _variable(name: str, word: str) -> Iterator[None]:
    """Add a word to a variable of the environment for what a block starts."""
    before = os.environ.get(name)
    os.environ[name] = f"{before},{word}" if before else word
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
