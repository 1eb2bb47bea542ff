"""Worker processes of this machine, beside what test_parallel.py has of them."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from remote_work import load, streamed

from blendsearch.evolution.engines.local import LocalEngine, end_workers
from blendsearch.evolution.parallel import WorkerPool


def test_workers_may_have_processes_that_load_images():
    split = streamed()
    found = dict(WorkerPool(load, split, workers=2).map([0, 1, 2]))
    assert found == {item: load(split, item) for item in (0, 1, 2)}


def grow(kept: list[np.ndarray], item: int) -> int:
    """Take 400 MB with the first item, as a wide network's state or a CUDA device does, and tell which process has."""
    if not kept:
        kept.append(np.ones(50_000_000))
    time.sleep(1.1)  # loky looks after a second
    return os.getpid()


@pytest.mark.slow
def test_a_worker_with_a_large_state_is_not_taken_for_a_leak():
    end_workers()
    try:
        found = dict(WorkerPool(grow, [], engine=LocalEngine(1)).map([0, 1, 2, 3]))
    finally:
        end_workers()
    assert len(set(found.values())) == 1
    assert os.getpid() not in found.values()
