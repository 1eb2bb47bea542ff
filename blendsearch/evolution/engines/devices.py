"""Which CUDA device a worker process takes: each its own as far as they go, a dead worker's becomes free again."""

from __future__ import annotations

import getpass
import itertools
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from blendsearch.errors import WorkerError

VISIBLE = "CUDA_VISIBLE_DEVICES"

# The lock of the device that this process has taken; it ends with the process.
_TAKEN: list[FileLock] = []


def visible_devices(environment: Mapping[str, str], count: int) -> list[str]:
    """Return the names of the devices that a process may see: those that its environment lists, or all `count`."""
    listed = environment.get(VISIBLE)
    if listed is None:
        return [str(number) for number in range(count)]
    return [name for name in (part.strip() for part in listed.split(",")) if name and name != "-1"]


def choose_device(visible: Sequence[str], take: Callable[[str, int], bool]) -> str:
    """Return the first device that can be taken; where each has a worker, the first that two can share, or three.

    take: takes a device in a round and tells whether that was possible. The names, not the numbers, tell devices apart,
    so that it does not matter in which order a process sees them.
    """
    for shared in itertools.count():
        for device in visible:
            if take(device, shared):
                return device
    raise AssertionError("a round is always possible")


def take_device(device: str, shared: int, folder: Path | None = None) -> bool:
    """Take a device for as long as this process lives, unless another process of the user has it in that round."""
    folder = folder or Path(tempfile.gettempdir()) / f"blendsearch-devices-{getpass.getuser()}"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{device.replace('/', '-')}.{shared}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    _TAKEN.append(lock)
    return True


def settle_on_device(device: str, worker: str) -> None:
    """Let this worker process see one CUDA device alone, its own, where the work asks for "cuda"; once a process.

    To be called before anything of the work is unpickled: tensors and networks then come to that device by themselves,
    and "cuda" in code of users is that one too. A device named by its number, "cuda:1", is the same for all. Raises
    WorkerError where the worker's machine has no such device.
    """
    if not device.startswith("cuda"):
        return
    count = torch.cuda.device_count()
    if count == 0:
        raise WorkerError(f"compute.device: '{device}' is needed, but {worker} has no CUDA device; use workers that do")
    if device != "cuda" or _TAKEN or count == 1 or torch.cuda.is_initialized():
        return
    os.environ[VISIBLE] = choose_device(visible_devices(os.environ, count), take_device)
