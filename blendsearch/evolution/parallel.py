"""Running many evaluations side by side with joblib, with the same results for any number of workers."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any, Generic, TypeVar

import joblib
import torch

from blendsearch.compute import threads as thread_limit
from blendsearch.errors import BlendsearchError, WorkerError

S = TypeVar("S")
I = TypeVar("I")  # noqa: E741
R = TypeVar("R")

# What this process holds of the shared states: token -> state. One at a time; a new one replaces the old.
_STATES: dict[str, Any] = {}


# The process that this one, a worker, ends with; at most one.
_WATCHED: set[int] = set()
SECONDS_BETWEEN_LOOKS = 1.0
RETRIES = 2
"""How often work goes on after a worker process has died."""


class _Missing:
    """A worker's answer when it does not hold the state yet."""


def resolve_workers(workers: int | str, threads: int, device: str) -> int:
    """Return the number of processes: "auto" is one a core (of `threads` threads), and one on an accelerator.

    Raises BlendsearchError when workers times threads exceed the cores: that is many times slower than one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers == "auto":
        return max(1, cores // threads) if device == "cpu" else 1
    if device == "cpu" and int(workers) * threads > max(cores, threads):
        raise BlendsearchError(
            f"compute: workers {workers} x threads {threads} exceed the {cores} cores; allowed: at most "
            f"{max(1, cores // threads)} workers of {threads} threads"
        )
    return int(workers)


class WorkerPool(Generic[S, I, R]):
    """Applies `function(state, item)` to items, in worker processes or, with one worker, in this one.

    The state (networks, images) travels to each worker once, not with every item. Every evaluation runs on
    `threads` threads wherever it runs, since the number of threads decides the order of floating-point sums.
    """

    def __init__(self, function: Callable[[S, I], R], state: S, *, workers: int = 1, threads: int = 1) -> None:
        self.function, self.state = function, state
        self.workers, self.threads = workers, threads
        self.token = uuid.uuid4().hex

    def map(self, items: Sequence[I]) -> Iterator[tuple[int, R]]:
        """Yield (position, result) as results come in; an error in a worker is raised here.

        What a worker was at when it was killed is done again; WorkerError when that happens too often.
        """
        if self.workers == 1 or len(items) == 1:
            with thread_limit(self.threads):
                for position, item in enumerate(items):
                    yield position, self.function(self.state, item)
            return
        waiting = list(range(len(items)))
        attach = deaths = 0
        while waiting:
            missed = set(waiting)
            try:
                for position, result in self._round(items, waiting, attach):
                    if not isinstance(result, _Missing):
                        missed.discard(position)
                        yield position, result
            except BrokenExecutor as error:
                deaths += 1
                if deaths > RETRIES:
                    raise WorkerError(
                        f"compute.workers: a worker process was ended from outside {deaths} times, most likely since "
                        f"memory ran out; {len(missed)} of {len(items)} tasks are left; take fewer workers (given "
                        f"{self.workers}) or smaller batches and continue with --resume"
                    ) from error
                attach = 0  # the processes that come in their place hold nothing yet
            # Every second round goes without the state: by then most workers hold it.
            waiting, attach = sorted(missed), 0 if attach else self.workers

    def _round(self, items: Sequence[I], waiting: list[int], attach: int) -> Iterator[tuple[int, Any]]:
        """Run the waiting items once; the first `attach` of them carry the state along."""
        first = waiting[:attach] if attach else waiting
        carried = {self.token: self.state} if attach else {}
        given, parent = (self.token, carried, self.function, self.threads), os.getpid()
        tasks = (joblib.delayed(_run)(*given, position, items[position], parent) for position in first)
        with joblib.parallel_config(backend="loky", inner_max_num_threads=self.threads):
            yield from joblib.Parallel(n_jobs=self.workers, return_as="generator_unordered", batch_size=1)(tasks)
        for position in waiting[len(first) :]:
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
