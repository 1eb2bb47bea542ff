"""Running many evaluations side by side, with the same results for any number of workers."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial
from typing import Generic, TypeVar

import torch

from blendsearch.compute import threads as thread_limit
from blendsearch.errors import BlendsearchError, WorkerError
from blendsearch.evolution.engines.base import Engine, Lost, Work
from blendsearch.evolution.engines.local import LocalEngine
from blendsearch.evolution.stream import Stream

S = TypeVar("S")
I = TypeVar("I")  # noqa: E741
R = TypeVar("R")

RETRIES = 2
"""How often work goes on after a worker process has died."""


def resolve_workers(workers: int | str, threads: int, device: str) -> int:
    """Return the number of processes: "auto" is one a core (of `threads` threads), or one a CUDA device.

    Raises BlendsearchError when workers times threads exceed the cores: that is many times slower than one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers == "auto":
        return max(1, cores // threads if device == "cpu" else devices(device))
    if device == "cpu" and int(workers) * threads > max(cores, threads):
        raise BlendsearchError(
            f"compute: workers {workers} x threads {threads} exceed the {cores} cores; allowed: at most "
            f"{max(1, cores // threads)} workers of {threads} threads"
        )
    return int(workers)


def devices(device: str) -> int:
    """Return on how many accelerators work can be done side by side: "cuda" is all of them, "cuda:1" and "mps" one."""
    return torch.cuda.device_count() if device == "cuda" else 1


class WorkerPool(Generic[S, I, R]):
    """Applies `function(state, item)` to items, on an engine's workers or, with one worker, in this process.

    engine: whose workers; None starts `workers` processes of this machine.

    The state (networks, images) travels to each worker once, not with every item. Every evaluation runs on
    `threads` threads wherever it runs, since the number of threads decides the order of floating-point sums.
    """

    def __init__(
        self,
        function: Callable[[S, I], R],
        state: S,
        *,
        workers: int = 1,
        threads: int = 1,
        engine: Engine | None = None,
    ) -> None:
        self.work = Work(function, state, uuid.uuid4().hex, threads)
        self.engine = engine or (LocalEngine(workers) if workers > 1 else None)

    def map(self, items: Sequence[I]) -> Iterator[tuple[int, R]]:
        """Yield (position, result) as results come in; an error in a worker is raised here.

        What a worker was at when it was killed is done again; WorkerError when that happens too often.
        """
        if self.engine is None or (self.engine.nearby and len(items) == 1):
            with thread_limit(self.work.threads):
                for position, item in enumerate(items):
                    yield position, self.work.function(self.work.state, item)
            return
        yield from self._on_engine(self.engine, dict(enumerate(items)))

    def stream(self) -> Stream[I, R]:
        """Return what takes items one by one and gives their results in the same order, done side by side meanwhile.

        What a worker was at when it was killed is done again, as in `map`.
        """
        if self.engine is None:
            return Stream(self._here, workers=1)
        return Stream(partial(self._there, self.engine), self.engine.workers, self.engine.abandon)

    def _here(self, item: I, ended: threading.Event) -> R:
        with thread_limit(self.work.threads):
            return self.work.function(self.work.state, item)

    def _there(self, engine: Engine, item: I, ended: threading.Event) -> R:
        for _, result in self._on_engine(engine, {0: item}, ended):
            return result
        raise CancelledError

    def _on_engine(
        self, engine: Engine, items: dict[int, I], ended: threading.Event | None = None
    ) -> Iterator[tuple[int, R]]:
        waiting = dict(items)
        for deaths in range(1 + RETRIES):
            lost: Lost | None = None
            for position, result in engine.run(self.work, dict(waiting)):
                if isinstance(result, Lost):
                    lost = result
                    continue
                del waiting[position]
                yield position, result
            if lost is None or (ended is not None and ended.is_set()):
                return
            if deaths == RETRIES:
                raise WorkerError(
                    f"compute.workers: a worker process {lost.reason} {deaths + 1} times, most likely since "
                    f"memory ran out; {len(waiting)} of {len(items)} tasks are left; take fewer workers (given "
                    f"{engine.workers}) or smaller batches and continue with --resume"
                )
