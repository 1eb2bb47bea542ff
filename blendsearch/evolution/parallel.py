"""Running many evaluations side by side, with the same results for any number of workers."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import torch

from blendsearch.compute import cores
from blendsearch.errors import BlendsearchError, WorkerError
from blendsearch.evolution.engines.base import ENDED, SLOW, TRIES, Engine, Lost, Work
from blendsearch.evolution.engines.guarded import Guarded
from blendsearch.evolution.engines.here import HereEngine
from blendsearch.evolution.engines.local import LocalEngine
from blendsearch.evolution.stream import Stream

S = TypeVar("S")
I = TypeVar("I")  # noqa: E741
R = TypeVar("R")

BARREN_ROUNDS = 3
"""So often all workers may end before any has begun with an item."""
ADVICE = "take fewer workers (compute.workers) or smaller batches"
ADVICE_ON_TIME = "raise compute.trial_seconds or take fewer workers"
MOST_FAILED = 3
"""After so many failed items the others of a job are not tried: it is not the items, then."""


@dataclass(frozen=True)
class Failed:
    """Stands for the result of an item that was lost at every try; reason: to be read after "a worker process".

    times: how often. detail: what the system said, where it said something.
    """

    reason: str
    times: int
    detail: str = ""

    @property
    def told(self) -> str:
        """The reason, how often it came, and what is likely behind it."""
        likely = ", most likely since memory ran out" if self.reason == ENDED else ""
        return f"{self.reason} {self.times} times{likely}" + (f" ({self.detail})" if self.detail else "")

    @property
    def advice(self) -> str:
        """What helps."""
        return ADVICE_ON_TIME if self.reason.startswith(SLOW) else ADVICE


def resolve_workers(workers: int | str, threads: int, device: str) -> int:
    """Return the number of processes: "auto" is one a core (of `threads` threads), or one a CUDA device.

    Raises BlendsearchError when workers times threads exceed the cores: that is many times slower than one.
    """
    there = cores()
    if workers == "auto":
        return max(1, there // threads if device == "cpu" else devices(device))
    if device == "cpu" and int(workers) * threads > max(there, threads):
        raise BlendsearchError(
            f"compute: workers {workers} x threads {threads} exceed the {there} cores; allowed: at most "
            f"{max(1, there // threads)} workers of {threads} threads"
        )
    return int(workers)


def devices(device: str) -> int:
    """Return on how many accelerators work can be done side by side: "cuda" is all of them, "cuda:1" one."""
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
        limit_seconds: float | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.work = Work(Guarded(function, limit_seconds), state, uuid.uuid4().hex, threads, limit_seconds)
        # What may be ended for taking too long runs in a process of its own.
        apart = workers > 1 or limit_seconds is not None
        self.engine: Engine | None = engine or (LocalEngine(workers) if apart else None)
        self.placed = False
        self.alone = threading.Lock()

    def map(self, items: Sequence[I]) -> Iterator[tuple[int, R]]:
        """Yield (position, result) as results come in; an error in a worker is raised here.

        WorkerError for items that fail, when all others are done or as soon as there are too many of them.
        """
        failed: list[Failed] = []
        for position, result in self.outcomes(items):
            if not isinstance(result, Failed):
                yield position, result
                continue
            failed.append(result)
            if len(failed) == MOST_FAILED:
                break
        if failed:
            raise self._failure(failed[0], f"{len(failed)} of {len(items)} tasks failed")

    def outcomes(self, items: Sequence[I]) -> Iterator[tuple[int, R | Failed]]:
        """Yield (position, result) as results come in, a `Failed` for items that no try brings to an end.

        What was lost with a worker is done again, one item at a time: then it is known which of them it is due to, and
        those that merely ran beside it come to their results. Raises WorkerError when workers end without any work.
        """
        yield from self._tried(dict(enumerate(items)), self._engine_for)

    def stream(self) -> Stream[I, R | Failed]:
        """Return what takes items one by one and gives their results in the same order, done side by side meanwhile.

        What was lost with a worker is done again, as in `outcomes`; of several such items one at a time.
        """
        if self.engine is None:
            return Stream(partial(self._one, HereEngine()), workers=1)
        return Stream(partial(self._one, self.engine), self.engine.workers, self.engine.abandon)

    def _one(self, engine: Engine, item: I, ended: threading.Event) -> R | Failed:
        found = dict(self._tried({0: item}, lambda batch: engine, ended))  # to its end: a run left early ends workers
        if not found:
            raise CancelledError
        return found[0]

    def _tried(
        self,
        items: Mapping[int, I],
        engine_for: Callable[[Mapping[int, I]], Engine],
        ended: threading.Event | None = None,
    ) -> Iterator[tuple[int, R | Failed]]:
        """Do as `outcomes` does; ended: set when nobody waits for what is lost any more."""
        waiting, losses = dict(items), defaultdict[int, list[Lost]](list)
        barren = 0
        while waiting:
            batch = {position: item for position, item in waiting.items() if position not in losses}
            again = not batch
            batch = batch or dict([next(iter(waiting.items()))])
            barren += 1
            with self.alone if again and ended is not None else contextlib.nullcontext():
                for position, result in engine_for(batch).run(self.work, batch):
                    if isinstance(result, Lost) and not result.begun:
                        continue
                    barren = 0
                    if isinstance(result, Lost):
                        losses[position].append(result)
                        if not _spent(losses[position]):
                            continue
                        result = Failed(result.reason, len(losses[position]), result.detail)
                    del waiting[position]
                    yield position, result
            if ended is not None and ended.is_set():
                return
            if barren == BARREN_ROUNDS:
                left = Failed(ENDED, barren)
                raise self._failure(left, f"{len(waiting)} of {len(items)} tasks are left")

    def _engine_for(self, batch: Mapping[int, I]) -> Engine:
        """Return where items run: one alone needs no worker, unless the workers have the state already."""
        if self.engine is None or (
            self.engine.nearby and len(batch) == 1 and not self.placed and not self.work.limit_seconds
        ):
            return HereEngine()
        self.placed = True
        return self.engine

    def _failure(self, failed: Failed, what: str) -> WorkerError:
        workers = 1 if self.engine is None else self.engine.workers
        return WorkerError(
            f"compute.workers: a worker process {failed.told}; {what}; take fewer workers (given {workers}) or smaller "
            "batches and continue with --resume"
        )


def _spent(losses: Sequence[Lost]) -> bool:
    """Return whether an item has been lost too often to be tried again."""
    alike = sum(one.reason == losses[-1].reason for one in losses)
    return alike >= losses[-1].tries or len(losses) >= TRIES
