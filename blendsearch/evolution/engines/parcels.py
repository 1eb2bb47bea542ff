"""How work travels to a worker of another process or machine, what the worker does with it, and what comes back."""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import platform
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import Any

import cloudpickle
import torch
from threadpoolctl import threadpool_limits

from blendsearch.errors import BlendsearchError, WorkerError, first_line
from blendsearch.evolution.engines.base import Work
from blendsearch.evolution.engines.processes import name_of_worker, prepare_process
from blendsearch.evolution.engines.shared_tensors import TensorFile, dump_beside, load_beside
from blendsearch.version import __version__

# What this process, a worker, holds: token -> (function, state, threads). One at a time; a new one replaces the old.
_HELD: dict[str, tuple[Any, Any, int]] = {}

# Workers of some engines have several threads; the work sets numbers of threads and seeds for the whole process.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Parcel:
    """A pool's work on its way: everything that is needed to open it comes before what has to be unpickled.

    content: function and state, pickled. device: "cuda" for a device of the worker's own. versions: of what must be the
    same on both sides. folder: where the campaign was started. path: where its modules were found.
    """

    token: str
    content: bytes
    threads: int
    device: str
    versions: tuple[tuple[str, str], ...]
    folder: str
    path: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What a worker sends back: a result, or the error of the work with its traceback as text."""

    value: Any = None
    error: BaseException | None = None
    trace: str = ""

    def result(self) -> Any:
        """Return the result, or raise the error of the work with its own type."""
        if self.error is None:
            return self.value
        if isinstance(self.error, BlendsearchError):
            raise self.error
        raise self.error from _RemoteTraceback(self.trace)


class _RemoteTraceback(Exception):
    """Shows, as the cause of an error, where it came from in the worker."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def pack(work: Work, device: str, beside: TensorFile | None = None) -> Parcel:
    """Pickle work as it is now; what was defined in a script or a notebook travels along, modules do not.

    beside: where large tensors are put, for workers of this machine; else all of it is in the parcel.
    """
    whole = (work.function, work.state)
    return Parcel(
        token=work.token,
        content=cloudpickle.dumps(whole) if beside is None else dump_beside(whole, beside),
        threads=work.threads,
        device=device,
        versions=_versions(),
        folder=os.getcwd(),
        path=tuple(os.path.abspath(place) for place in sys.path),
    )


def pack_item(item: Any) -> bytes:
    """Pickle an item."""
    content: bytes = cloudpickle.dumps(item)
    return content


def holds(token: str) -> bool:
    """Tell whether this process, a worker, has opened a parcel."""
    return token in _HELD


def perform(given: Parcel | str, item: Any) -> Any:
    """Do an item in this process, a worker: of a parcel, opened when it comes first, or of one that was, by token."""
    with _ONE_AT_A_TIME:
        token = given if isinstance(given, str) else given.token
        if token not in _HELD:
            assert isinstance(given, Parcel)
            _HELD.clear()
            _HELD[token] = _open(given)
        function, state, threads = _HELD[token]
        torch.set_num_threads(threads)
        return function(state, item)


def answer(given: Parcel | str, item: bytes) -> Answer:
    """Do the same with a pickled item; errors are a part of the answer, whatever the engine makes of errors."""
    try:
        return Answer(perform(given, pickle.loads(item)))
    except Exception as error:
        return Answer(error=_portable(error), trace=traceback.format_exc())


def _open(parcel: Parcel) -> tuple[Any, Any, int]:
    """Make this process fit for the work and unpickle it; WorkerError, one line, where it cannot be."""
    worker = name_of_worker()
    _check_versions(parcel, worker)
    prepare_process(parcel.device)
    if os.path.isdir(parcel.folder):
        os.chdir(parcel.folder)  # what the space names by a relative path, images above all, is found from there
    sys.path += [place for place in parcel.path if place not in sys.path and os.path.exists(place)]
    threadpool_limits(parcel.threads)  # NumPy's and SciPy's; torch has its own
    try:
        function, state = load_beside(parcel.content)
    except (ImportError, AttributeError) as error:
        raise WorkerError(
            f"{worker} cannot unpack the work ({first_line(error)}); install there what the network, data and "
            "functions are made with, or put it on PYTHONPATH"
        ) from error
    return function, state, parcel.threads


def _versions() -> tuple[tuple[str, str], ...]:
    """Return what must be the same where work is packed and where it is done."""
    return (
        ("python", ".".join(platform.python_version_tuple()[:2])),
        ("blendsearch", __version__),
        *((package, importlib.metadata.version(package)) for package in ("torch", "numpy")),
    )


def _check_versions(parcel: Parcel, worker: str) -> None:
    there = dict(_versions())
    pairs = [(name, wanted, there.get(name, "none")) for name, wanted in parcel.versions]
    differing = [f"{name} {found} (here {wanted})" for name, wanted, found in pairs if wanted != found]
    if differing:
        raise WorkerError(f"{worker} has {', '.join(differing)}; install the same versions there")


def _portable(error: Exception) -> Exception:
    """Return the error, or what it says where it cannot be pickled; what is due to how workers run says how they do."""
    if isinstance(error, AssertionError) and "daemonic processes" in str(error):
        return WorkerError(
            "data.workers: Dask's workers may not start the processes that load images; start them with "
            "DASK_DISTRIBUTED__WORKER__DAEMON=False, or set data.workers: 0"
        )
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return WorkerError(f"{type(error).__name__}: {first_line(error)}")
    return error
