"""The engine of this machine: joblib's worker processes, which stay for the next piece of work."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor
from typing import Any

import joblib
from joblib.externals.loky import get_reusable_executor

from blendsearch.evolution.engines.base import Lost, Work
from blendsearch.evolution.engines.parcels import Parcel, holds, pack, perform

# The process that this one, a worker, ends with; at most one.
_WATCHED: set[int] = set()
SECONDS_BETWEEN_LOOKS = 1.0


class _Missing:
    """A worker's answer when it does not hold the state yet."""


class LocalEngine:
    """Worker processes of this machine. The state travels to each of them once, not with every item.

    device: "cuda" gives each worker a device of its own, as far as they go.
    """

    nearby = True

    def __init__(self, workers: int, device: str = "cpu") -> None:
        self.workers, self.device = workers, device

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

    def abandon(self) -> None:
        """End the worker processes; the next piece of work gets new ones."""
        get_reusable_executor(max_workers=self.workers, reuse=True).shutdown(wait=False, kill_workers=True)

    def _round(self, work: Work, waiting: Mapping[int, Any], attach: int) -> Iterator[tuple[int, Any]]:
        """Run the waiting items once; the first `attach` of them carry the state along."""
        positions = list(waiting)
        first = positions[:attach] if attach else positions
        given = pack(work, self.device) if attach else work.token
        tasks = (joblib.delayed(_run)(given, position, waiting[position], os.getpid()) for position in first)
        with joblib.parallel_config(backend="loky", inner_max_num_threads=work.threads):
            yield from joblib.Parallel(n_jobs=self.workers, return_as="generator_unordered", batch_size=1)(tasks)
        for position in positions[len(first) :]:
            yield position, _Missing()


def _run(given: Parcel | str, position: int, item: Any, parent: int) -> Any:
    """Do an item of the parcel that comes along, or of the one whose token does."""
    _end_with(parent)
    if isinstance(given, str) and not holds(given):
        return position, _Missing()
    return position, perform(given, item)


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
