"""What a worker process needs before any work is unpickled in it, whichever engine started it."""

from __future__ import annotations

import multiprocessing
import os
import socket

from blendsearch.evolution.engines.devices import settle_on_device


def prepare_process(device: str) -> None:
    """Give this process its device, see `settle_on_device`, and let it start processes that load images as any can.

    Those that loky starts cannot start processes of torch, and in those of Dask each would begin with importing torch,
    in every pass over the images.
    """
    multiprocessing.set_start_method(None, force=True)  # the platform's own
    settle_on_device(device, name_of_worker())


def name_of_worker() -> str:
    """Return what this process is called in messages."""
    return f"the worker on {socket.gethostname()} (process {os.getpid()})"
