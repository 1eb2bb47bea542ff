"""From the section `execution` to an engine; those of other packages are joined once a process."""

from __future__ import annotations

import importlib.util
import re
from typing import Protocol

from blendsearch.config import ComputeConfig, ExecutionConfig
from blendsearch.errors import ConfigError
from blendsearch.evolution.engines.base import Engine
from blendsearch.evolution.engines.local import LocalEngine
from blendsearch.evolution.parallel import resolve_workers

PACKAGES = {"dask": "distributed", "ray": "ray"}
"""What must be installed for an engine; the extra of blendsearch has the engine's name."""

ADDRESSES = {
    "dask": (r"([a-z]+://)?[^/\s]+:\d+|.+\.json", "tcp://HOST:PORT or a scheduler file NAME.json"),
    "ray": (r"auto|local|ray://[^/\s]+:\d+|[^/\s]+:\d+", "HOST:PORT, ray://HOST:PORT or auto"),
}
"""Engine -> the form of its addresses, and that in words."""


class Joined(Engine, Protocol):
    """An engine of another package, with a connection that can be lost and left."""

    @property
    def connected(self) -> bool: ...

    def close(self) -> None: ...


# The engines that this process has joined, for all campaigns that it runs.
_JOINED: dict[tuple[ExecutionConfig, int, str], Joined] = {}


def check_package(engine: str) -> None:
    """Raise ConfigError with what to install where an engine's package is not there; nothing is imported."""
    package = PACKAGES.get(engine)
    if package is not None and importlib.util.find_spec(package) is None:
        raise ConfigError(f"{engine} is not installed; pip install \"blendsearch[{engine}]\" (or 'local')")


def check_address(engine: str, address: str) -> None:
    """Raise ConfigError for an address that is none of the engine's."""
    form, words = ADDRESSES[engine]
    if not re.fullmatch(form, address):
        raise ConfigError(f"'{address}' given, allowed for {engine}: {words}")


def make_engine(execution: ExecutionConfig, compute: ComputeConfig, device: str) -> Engine | None:
    """Return the engine of a space, None where one process of this machine does the work, which is this one.

    device: on which this process computes; workers have one of the same kind. Raises WorkerError, within some ten
    seconds, where nobody answers at the address.
    """
    if execution.engine == "local":
        workers = resolve_workers(compute.workers, compute.threads, device)
        return LocalEngine(workers, device) if workers > 1 else None
    return _join(execution, compute.threads, device)


def expected_workers(execution: ExecutionConfig, compute: ComputeConfig, device: str) -> int | None:
    """Return how many workers there will be, None where only the engine's address knows; nothing is started.

    Raises BlendsearchError for more than this machine has cores, where they are to be started here.
    """
    if execution.engine == "local":
        return resolve_workers(compute.workers, compute.threads, device)
    if execution.address is not None:
        return execution.workers
    return resolve_workers(execution.workers or "auto", compute.threads, device)


def _join(execution: ExecutionConfig, threads: int, device: str) -> Engine:
    key = (execution, threads, device)
    if key not in _JOINED or not _JOINED[key].connected:
        _JOINED[key] = _connect(execution, threads, device)
    return _JOINED[key]


def leave_all() -> None:
    """Leave every engine that was joined; what was started here ends. Otherwise that comes with the process's end."""
    while _JOINED:
        _JOINED.popitem()[1].close()


def _connect(execution: ExecutionConfig, threads: int, device: str) -> Joined:
    most = execution.workers or (None if execution.address else resolve_workers("auto", threads, device))
    if execution.engine == "dask":
        from blendsearch.evolution.engines.dask import DaskEngine

        if execution.address is None:
            assert most is not None
            return DaskEngine.start(most, threads, device)
        return DaskEngine.connect(execution.address, most, device)
    from blendsearch.evolution.engines.ray import RayEngine

    if execution.address is None:
        assert most is not None
        return RayEngine.start(most, threads, device)
    return RayEngine.connect(execution.address, most, threads, device)


def describe_place(execution: ExecutionConfig) -> str:
    """Return where work is done, in words."""
    if execution.engine == "local":
        return "this machine"
    name = execution.engine.capitalize()
    return f"{name} on this machine" if execution.address is None else f"{name} at {execution.address}"
