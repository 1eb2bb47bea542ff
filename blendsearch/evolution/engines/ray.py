"""The engine of a Ray cluster: one that runs already, or one started on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from blendsearch.errors import BlendsearchError, WorkerError, first_line
from blendsearch.evolution.engines.base import ENDED, Lost, Work
from blendsearch.evolution.engines.guarded import late
from blendsearch.evolution.engines.parcels import Answer, Parcel, answer, holds, pack, pack_item

SECONDS_TO_ANSWER = 8
SECONDS_BETWEEN_LOOKS = 1.0
FALSE_STARTS = 3
"""How many workers in a row may die before they have begun."""


class Worker:
    """What Ray runs in each of its processes: it holds the state of one piece of work."""

    given: Parcel | str = ""

    def begin(self) -> None:
        """Answer once the process is there and has loaded what it needs."""

    def hold(self, parcel: Parcel) -> None:
        """Take a parcel, which is opened with its first item."""
        self.given = parcel

    def perform(self, item: bytes) -> Answer:
        """Do an item of the parcel, of which nothing but the token is kept once it is open."""
        done = answer(self.given, item)
        if isinstance(self.given, Parcel) and holds(self.given.token):
            self.given = self.given.token
        return done


class RayEngine:
    """Actors of a Ray cluster, one thing at a time each, which stay for the next piece of work.

    The state is put once and read once by each actor. Ray retries nothing: what an actor was at when it died comes back
    as `Lost`, and another one takes its place. most: how many actors there are; on CUDA each has a device of its own.
    threads: for which Ray reserves CPUs.
    """

    nearby = False

    def __init__(self, place: str, most: int, threads: int, device: str) -> None:
        self.ray, self.place, self.most, self.device = _ray(), place, most, device
        reserved = {"num_cpus": threads, "num_gpus": 1 if device == "cuda" else 0}
        self._make = self.ray.remote(Worker).options(max_restarts=0, max_task_retries=0, **reserved).remote
        self._lock = threading.Lock()
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._busy: set[Any] = set()
        self._false_starts = 0
        self._put: dict[str, Any] = {}
        self._holds: dict[Any, str] = {}

    @classmethod
    def connect(cls, address: str, most: int | None, threads: int, device: str) -> RayEngine:
        """Join a cluster; WorkerError where nobody answers in time."""
        ray = _ray()
        if not ray.is_initialized():
            try:
                _knock(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, ValueError, RuntimeError) as error:  # ConnectionError is an OSError
                raise WorkerError(
                    f"execution.address: no Ray head answers at '{address}' ({first_line(error)}); start one with: "
                    "ray start --head"
                ) from None
        return cls(f"Ray at {address}", most or _room(ray.cluster_resources(), threads, device), threads, device)

    @classmethod
    def start(cls, workers: int, threads: int, device: str) -> RayEngine:
        """Start Ray on this machine; it ends with this process."""
        ray = _ray()
        if not ray.is_initialized():
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(
                num_cpus=workers * threads, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
        return cls("Ray on this machine", workers, threads, device)

    @property
    def connected(self) -> bool:
        """Whether Ray still runs in this process."""
        return bool(self.ray.is_initialized())

    @property
    def workers(self) -> int:
        """How many workers are used, also those that the cluster has yet to make room for."""
        return self.most

    def run(self, work: Work, items: Mapping[int, Any]) -> Iterator[tuple[int, Any]]:
        """Yield (position, result) as results come in; an error of the work is raised, and the rest ended."""
        waiting: deque[tuple[int, Any]] = deque(items.items())
        running: dict[Any, tuple[Any, int, float]] = {}
        parcel = self._place(work)
        try:
            while waiting or running:
                while waiting and (worker := self._take(patient=not running)) is not None:
                    position, item = waiting.popleft()
                    if self._holds.get(worker) != work.token:
                        worker.hold.remote(parcel)
                        self._holds[worker] = work.token
                    running[worker.perform.remote(pack_item(item))] = (worker, position, time.monotonic())
                for future in self._first_done(list(running)):
                    worker, position, begun = running.pop(future)
                    yield position, late(work, begun, self._result(future, worker))
        finally:
            for worker, *_ in running.values():
                self._end(worker)

    def abandon(self) -> None:
        """End the actors that are at something; others take their places."""
        for worker in list(self._busy):
            self._end(worker)

    def close(self) -> None:
        """End the actors, and Ray where it was started here."""
        for worker in [*self._starting.values(), *self._idle, *self._busy]:
            self._end(worker)
        self.ray.shutdown()

    def _place(self, work: Work) -> Any:
        """Return the reference of the parcel in Ray's object store."""
        with self._lock:
            if work.token not in self._put:
                self._put = {work.token: self.ray.put(pack(work, self.device))}  # the one before is freed
            return self._put[work.token]

    def _take(self, *, patient: bool) -> Any | None:
        """Return a worker that is idle and has begun; None where there is none, after a while of waiting if patient."""
        while True:
            with self._lock:
                for _ in range(self.most - len(self._starting) - len(self._idle) - len(self._busy)):
                    worker = self._make()
                    self._starting[worker.begin.remote()] = worker
                if not self._idle:
                    self._see_who_has_begun()
                if self._idle:
                    worker = self._idle.pop()
                    self._busy.add(worker)
                    return worker
            if not patient:
                return None
            time.sleep(0.02)

    def _see_who_has_begun(self) -> None:
        begun, _ = self.ray.wait(list(self._starting), num_returns=len(self._starting), timeout=0)
        for future in begun:
            worker = self._starting.pop(future)
            try:
                self.ray.get(future)
            except self.ray.exceptions.RayError as error:
                self._false_starts += 1
                if self._false_starts >= FALSE_STARTS:
                    raise WorkerError(
                        f"execution: workers of {self.place} do not start ({type(error).__name__}: "
                        f"{_last_line(error)}); the same version of blendsearch must be installed there"
                    ) from None
                continue
            self._false_starts = 0
            self._idle.append(worker)

    def _first_done(self, futures: list[Any]) -> list[Any]:
        if not futures:
            return []
        done, _ = self.ray.wait(futures, num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
        return list(done)

    def _result(self, future: Any, worker: Any) -> Any:
        errors = self.ray.exceptions
        try:
            found: Answer = self.ray.get(future)
        except errors.RayTaskError as error:  # before any code of ours: what carries it is not there, or another
            self._end(worker)
            raise WorkerError(
                f"execution: a worker of {self.place} cannot do its work ({_last_line(error)}); install the same "
                "version of blendsearch there"
            ) from None
        except errors.RayError:
            self._end(worker)
            return Lost(ENDED)
        with self._lock:
            self._busy.discard(worker)
            self._idle.append(worker)
        return found.result()

    def _end(self, worker: Any) -> None:
        with self._lock:
            self._busy.discard(worker)
            self._holds.pop(worker, None)
        with contextlib.suppress(Exception):  # it is dead already
            self.ray.kill(worker)


def _room(resources: Mapping[str, float], threads: int, device: str) -> int:
    """Return how many workers a cluster has room for, one at least: it may grow."""
    room = resources.get("GPU", 0) if device == "cuda" else resources.get("CPU", 0) // threads
    return max(1, int(room))


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at an address: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise BlendsearchError('execution.engine: ray needs Ray; pip install "blendsearch[ray]"') from None
    return ray
