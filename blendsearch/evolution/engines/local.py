"""The engine of this machine: joblib's worker processes, which stay for the next piece of work."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from typing import Any

import joblib
import torch

from blendsearch.evolution.engines.base import Lost, Work

# What this process holds of the shared states: token -> state. One at a time; a new one replaces the old.
_STATES: dict[str, Any] = {}

# The process that this one, a worker, ends with; at most one.
_WATCHED: set[int] = set()
SECONDS_BETWEEN_LOOKS = 1.0


class _Missing:
    """A worker's answer when it does not hold the state yet."""


class LocalEngine:
    """Worker processes of this machine. The state travels to each of them once, not with every item."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, work: Work, items: Mapping[int, Any]) -> Iterator[tuple[int, Any]]:
        """Yield (position, result) as results come in; everything unfinished is `Lost` when a worker dies."""
        waiting = dict(items)
        attach = 0
        while waiting:
            missed = dict(waiting)
            try:
                for position, result in self._round(work, waiting, attach):
                    if not isinstance(result, _Missing):
                        del missed[position]
                        yield position, result
            except BrokenExecutor:
                yield from ((position, Lost("was ended from outside")) for position in missed)
                return
            # Every second round goes without the state: by then most workers hold it.
            waiting, attach = missed, 0 if attach else self.workers

    def _round(self, work: Work, waiting: Mapping[int, Any], attach: int) -> Iterator[tuple[int, Any]]:
        """Run the waiting items once; the first `attach` of them carry the state along."""
        positions = list(waiting)
        first = positions[:attach] if attach else positions
        carried = {work.token: work.state} if attach else {}
        given, parent = (work.token, carried, work.function, work.threads), os.getpid()
        tasks = (joblib.delayed(_run)(*given, position, waiting[position], parent) for position in first)
        with joblib.parallel_config(backend="loky", inner_max_num_threads=work.threads):
            yield from joblib.Parallel(n_jobs=self.workers, return_as="generator_unordered", batch_size=1)(tasks)
        for position in positions[len(first) :]:
            yield position, _Missing()


def _run(
    token: str,
    carried: dict[str, Any],
    function: Callable[[Any, Any], Any],
    threads: int,
    position: int,
    item: Any,
    parent: int,
) -> Any:
    _end_with(parent)
    if carried:
        _STATES.clear()
        _STATES.update(carried)
    if token not in _STATES:
        return position, _Missing()
    torch.set_num_threads(threads)
    return position, function(_STATES[token], item)


def _end_with(parent: int) -> None:
    """Let this worker process end soon after its parent, however that ended."""
    if _WATCHED:
        return
    _WATCHED.add(parent)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
