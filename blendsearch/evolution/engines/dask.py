"""The engine of a Dask cluster: one that runs already, or processes started on this machine."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from blendsearch.errors import BlendsearchError, WorkerError, first_line
from blendsearch.evolution.engines.base import ENDED, Lost, Work, thread_variables
from blendsearch.evolution.engines.guarded import late
from blendsearch.evolution.engines.parcels import answer, pack, pack_item
from blendsearch.files import parsed_json

SECONDS_TO_ANSWER = 8
SECONDS_BETWEEN_LOOKS = 1.0


class DaskEngine:
    """The workers of a Dask cluster, each a process of one thread; Dask decides which of them does what.

    most: how many of them are used at once, None for all that are there, also those that come later. The state lies on
    every worker once and is opened there once. Processes started here are not replaced silently: what a worker was at
    when it died comes back as `Lost`; a scheduler of others tries it again first, as often as its setting
    `distributed.scheduler.allowed-failures` says.
    """

    nearby = False

    def __init__(self, client: Any, place: str, most: int | None, device: str) -> None:
        self.client, self.place, self.most, self.device = client, place, most, device
        self._looked = -SECONDS_BETWEEN_LOOKS
        self._placed: dict[str, Any] = {}
        self._under_way: set[Any] = set()
        self._lock = threading.Lock()

    @classmethod
    def connect(cls, address: str, most: int | None, device: str) -> DaskEngine:
        """Join the cluster of a scheduler; WorkerError where nobody answers in time or workers have several threads."""
        distributed = _distributed()
        scheduler = scheduler_at(address)
        try:
            _knock(scheduler)
            client = distributed.Client(scheduler, timeout=SECONDS_TO_ANSWER, set_as_default=False)
        except Exception as error:  # whatever another service that listens there makes of it
            what = first_line(error) if isinstance(error, OSError) else f"another service does, {type(error).__name__}"
            raise WorkerError(
                f"execution.address: no Dask scheduler answers at '{address}' ({what}); start one with: dask scheduler"
            ) from None
        engine = cls(client, f"Dask at {address}", most, device)
        _ = engine.workers
        return engine

    @classmethod
    def start(cls, workers: int, threads: int, device: str) -> DaskEngine:
        """Start worker processes on this machine, which end with this process."""
        distributed = _distributed()
        import dask

        # Workers may have processes of their own, which load images; read whenever one is started, also much later.
        dask.config.set({"distributed.worker.daemon": False})
        limits = {f"distributed.nanny.pre-spawn-environ.{k}": v for k, v in thread_variables(threads).items()}
        with dask.config.set({"distributed.scheduler.allowed-failures": 0, **limits}):
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                memory_limit=0,  # the machine's; workers that Dask pauses or ends at a share of it help nobody here
                silence_logs=logging.CRITICAL,
            )
        client = distributed.Client(cluster, set_as_default=False)
        engine = cls(client, "Dask on this machine", workers, device)
        atexit.register(engine.close)
        return engine

    @property
    def connected(self) -> bool:
        """Whether the scheduler is still there."""
        return bool(self.client.status == "running")

    @property
    def workers(self) -> int:
        """How many workers are there and used; WorkerError for those that do several things at once."""
        threads = self.client.nthreads()
        crowded = [f"{address} ({count})" for address, count in threads.items() if count > 1]
        if crowded:
            raise WorkerError(
                f"execution: workers of {self.place} have several threads, {crowded[0]}; start each as a process of "
                "one: dask worker ADDRESS --nworkers NUMBER --nthreads 1"
            )
        return len(threads) if self.most is None else min(self.most, len(threads))

    def run(self, work: Work, items: Mapping[int, Any]) -> Iterator[tuple[int, Any]]:
        """Yield (position, result) as results come in; an error of the work is raised, and the rest given up."""
        waiting = deque(items.items())
        running: dict[Any, tuple[int, float]] = {}
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        at_once, looked = 0, 0.0
        try:
            while waiting or running:
                if time.monotonic() - looked > SECONDS_BETWEEN_LOOKS:  # workers come and go
                    at_once, looked = max(1, self.workers), time.monotonic()
                while waiting and len(running) < at_once:
                    position, item = waiting.popleft()
                    future = self._submit(work, item)
                    running[future] = position, time.monotonic()
                    self._under_way.add(future)
                    future.add_done_callback(done.put)
                try:
                    future = done.get(timeout=SECONDS_BETWEEN_LOOKS)
                except queue.Empty:
                    self._check_connected()
                    continue
                self._under_way.discard(future)
                position, begun = running.pop(future)
                yield position, late(work, begun, self._result(future))
        finally:
            self._under_way.difference_update(running)
            self.client.cancel(list(running))

    def abandon(self) -> None:
        """Give up what is under way; a worker that is at something brings it to its end first."""
        self.client.cancel(list(self._under_way))

    def close(self) -> None:
        """Leave the cluster; processes that were started here end at once, whatever they are at."""
        atexit.unregister(self.close)
        cluster = self.client.cluster
        for nanny in cluster.workers.values() if cluster is not None else ():
            nanny.auto_restart = False
            if nanny.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(nanny.pid, signal.SIGKILL)
        self.client.close()
        if cluster is not None:
            cluster.close()

    def _submit(self, work: Work, item: Any) -> Any:
        return self.client.submit(answer, self._place(work), pack_item(item), pure=False, retries=0)

    def _place(self, work: Work) -> Any:
        """Return the future of the parcel that lies on every worker; it is put there where it is not, or no longer."""
        with self._lock:
            placed = self._placed.get(work.token)
            if placed is None or placed.status != "finished":
                self._wait_for_workers()
                placed = self.client.scatter(pack(work, self.device), broadcast=True, hash=False)
                self._placed = {work.token: placed}  # the one before is given up, and freed when nothing needs it
            return placed

    def _wait_for_workers(self) -> None:
        while not self.client.nthreads():
            self._check_connected()
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _check_connected(self) -> None:
        if not self.connected:
            raise WorkerError(f"execution: {self.place} no longer answers; start it again and continue with --resume")

    def _result(self, future: Any) -> Any:
        distributed = _distributed()
        if future.status in ("cancelled", "lost"):  # with all workers that held the state, or with the scheduler
            self._check_connected()
            return Lost(ENDED)
        error = future.exception()
        if isinstance(error, distributed.KilledWorker):
            return Lost(ENDED)
        if error is not None:  # before any code of ours: what carries it is not there, or another
            raise WorkerError(
                f"execution: a worker of {self.place} cannot do its work ({type(error).__name__}: {first_line(error)})"
                "; install the same version of blendsearch there"
            )
        return future.result().result()


def scheduler_at(address: str) -> str:
    """Return the address of a scheduler, of which the file may be given in which it left that.

    Raises WorkerError for a file that is not there or says no address.
    """
    if not address.endswith(".json"):
        return address
    try:
        return str(parsed_json(Path(address).read_bytes())["address"])
    except FileNotFoundError:
        reason = "there is no such file; start one with: dask scheduler --scheduler-file"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"no Dask scheduler wrote it ({type(error).__name__}: {first_line(error)})"
    raise WorkerError(f"execution.address: '{address}': {reason}")


def _knock(scheduler: str) -> None:
    """Raise an error unless a scheduler answers; Dask's client itself is hard to get rid of where none does."""
    from distributed import Security
    from distributed.comm import connect

    async def knock() -> None:
        terms = Security().get_connection_args("client")
        comm = await asyncio.wait_for(connect(scheduler, timeout=SECONDS_TO_ANSWER, **terms), SECONDS_TO_ANSWER + 1)
        comm.abort()

    with ThreadPoolExecutor(1) as aside:  # in a notebook this thread has a running loop already
        aside.submit(asyncio.run, knock()).result()


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise BlendsearchError('execution.engine: dask needs Dask; pip install "blendsearch[dask]"') from None
    return distributed
