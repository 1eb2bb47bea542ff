"""The engine of this machine: loky's worker processes, which stay for the next piece of work."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, replace
from typing import Any

from joblib.externals.loky import get_reusable_executor, process_executor
from joblib.externals.loky.backend.utils import kill_process_tree
from joblib.externals.loky.process_executor import ProcessPoolExecutor, ShutdownExecutorError

from blendsearch.evolution.engines.base import ENDED, Lost, Work, thread_variables
from blendsearch.evolution.engines.guarded import took_too_long
from blendsearch.evolution.engines.parcels import Parcel, holds, pack, perform
from blendsearch.evolution.engines.shared_tensors import TensorFile
from blendsearch.evolution.engines.tracker import start_tracker

# The process that this one, a worker, ends with; at most one.
_WATCHED: set[int] = set()
SECONDS_BETWEEN_LOOKS = 1.0

IDLE_SECONDS = 300
"""A worker without work ends after so long."""

DOWN = (BrokenExecutor, ShutdownExecutorError)

# The executor whose workers are there; at most one.
_EXECUTORS: list[ProcessPoolExecutor] = []


class _Missing:
    """A worker's answer when it does not hold the state yet."""


@dataclass(frozen=True)
class _Given:
    """An item that waits or that a worker was given; carried: with the state. at: when, see `time.monotonic`."""

    position: int
    item: Any
    carried: bool = False
    at: float = 0.0


class LocalEngine:
    """Worker processes of this machine. The state travels to each of them once, not with every item.

    No worker is given an item before it is free, so what may have ended one is known: the items in work.
    device: "cuda" gives each worker a device of its own, as far as they go.
    """

    nearby = True

    def __init__(self, workers: int, device: str = "cpu") -> None:
        self.workers, self.device = workers, device
        self._packing = threading.Lock()
        self._packed: tuple[Parcel, TensorFile] | None = None  # the last work's; its file is all workers'

    def run(self, work: Work, items: Mapping[int, Any]) -> Iterator[tuple[int, Any]]:
        """Yield (position, result) as results come in; when a worker dies, everything unfinished is `Lost`."""
        finished = False
        try:
            yield from _Round(work, items, self).results()
            finished = True
        finally:
            if not finished:  # an error, Ctrl-C, or a reader that wants no more: what runs is of no use
                end_workers()

    def parcel_of(self, work: Work) -> Parcel:
        """Return work as it was packed when a worker first asked for it."""
        with self._packing:
            if self._packed is None or self._packed[0].token != work.token:
                self._packed = None  # its file goes before the next one comes
                file = TensorFile()
                self._packed = pack(work, self.device, file), file
            return self._packed[0]

    def abandon(self) -> None:
        """End the worker processes; the next piece of work gets new ones."""
        end_workers()


class _Round:
    """One run of items through the workers."""

    def __init__(self, work: Work, items: Mapping[int, Any], engine: LocalEngine) -> None:
        self.work, self.workers, self.engine = work, engine.workers, engine
        self.executor = _executor(engine.workers, work.threads)
        self.waiting = deque(_Given(position, item) for position, item in items.items())
        self.running: dict[Future[Any], _Given] = {}

    def results(self) -> Iterator[tuple[int, Any]]:
        """Yield (position, result), a `Lost` for all that is left when a worker dies."""
        down = memory_short = False
        while (self.waiting or self.running) and not down:
            down = not self._give()
            done, _ = wait(self.running, return_when=FIRST_COMPLETED)
            found = [self._take(future) for future in done if not isinstance(future.exception(), DOWN)]
            down = down or len(found) < len(done)
            if not down:
                down = not self._give()  # before anyone reads: workers do not wait for that
            for position, result in found:
                if not isinstance(result, _Missing):
                    memory_short |= isinstance(result, Lost)
                    yield position, result
        if down:
            yield from self._lost()
        if memory_short:
            end_workers()  # what is done again has the memory of all of them

    def _give(self) -> bool:
        """Give free workers what waits; return whether they are still there."""
        try:
            while self.waiting and len(self.running) < self.workers:
                given = self.waiting[0]
                what = self.engine.parcel_of(self.work) if given.carried else self.work.token
                future = self.executor.submit(_run, what, given.item, os.getpid())
                self.running[future] = replace(given, at=time.monotonic())
                self.waiting.popleft()
        except DOWN:
            return False
        return True

    def _take(self, future: Future[Any]) -> tuple[int, Any]:
        """Return a result; a worker without the state gets its item again, with the state."""
        given = self.running.pop(future)
        result = future.result()
        if isinstance(result, _Missing):
            self.waiting.appendleft(replace(given, carried=True))
        return given.position, result

    def _lost(self) -> Iterator[tuple[int, Lost]]:
        """Yield the loss of all that is left: due to those over their time where there are any, else to those in work.

        An item whose time was not over cannot have ended a worker when another's was.
        """
        limit, now = self.work.limit_seconds, time.monotonic()
        late = {one.position for one in self.running.values() if limit is not None and now - one.at >= limit}
        for one in self.running.values():
            if one.position in late and limit is not None:
                yield one.position, took_too_long(limit)
            else:
                yield one.position, Lost(ENDED, begun=not late)
        for one in self.waiting:
            yield one.position, Lost(ENDED, begun=False)


def end_workers() -> None:
    """End all workers of this process now, whatever they are at; the next work starts new ones.

    loky's own way to that (kill_workers) stumbles over work that was handed in a moment before, and hangs. An executor
    whose workers are gone is shut down safely, as after any death.
    """
    while _EXECUTORS:
        executor = _EXECUTORS.pop()
        for worker in list(executor._processes.values()):
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                kill_process_tree(worker)
        executor.shutdown(wait=True)


def _executor(workers: int, threads: int) -> ProcessPoolExecutor:
    start_tracker()
    executor: ProcessPoolExecutor = get_reusable_executor(
        max_workers=workers, timeout=IDLE_SECONDS, env=thread_variables(threads)
    )
    _EXECUTORS[:] = [executor]
    return executor


def _run(given: Parcel | str, item: Any, parent: int) -> Any:
    """Do an item of the parcel that comes along, or of the one whose token does."""
    _end_with(parent)
    # loky ends workers that grow by 300 MB after their first call, before which ours hold nothing: it would end one
    # after each item, and the next would import torch and open the state anew.
    process_executor._MAX_MEMORY_LEAK_SIZE = sys.maxsize
    if isinstance(given, str) and not holds(given):
        return _Missing()
    return perform(given, item)


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
