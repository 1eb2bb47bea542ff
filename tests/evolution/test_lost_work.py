"""Work that kills its worker, fills the memory or never ends: whom it is due to is found, and nobody else pays."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import pytest
import torch

from blendsearch.errors import WorkerError
from blendsearch.evolution.engines.base import Lost
from blendsearch.evolution.parallel import Failed, WorkerPool

KILLED = Failed("was ended from outside", 3)


def note(folder, item):
    """Leave a mark in a folder: the item was tried."""
    (folder / f"{item}-{time.monotonic_ns()}").touch()


def tries(folder, item):
    return len(list(folder.glob(f"{item}-*")))


def poisonous(folder, item):
    """End the worker process, as the system does when memory is short, at every try of item 3."""
    note(folder, item)
    time.sleep(0.05)
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


@pytest.mark.slow
def test_a_poisonous_item_fails_alone_and_its_neighbours_come_to_their_results(tmp_path):
    found = dict(WorkerPool(poisonous, tmp_path, workers=2).outcomes(list(range(8))))
    assert found == {item: KILLED if item == 3 else item * item for item in range(8)}
    assert tries(tmp_path, 3) == 3
    assert sum(tries(tmp_path, item) for item in (0, 1, 2, 4, 5, 6, 7)) <= 7 + 1  # who was beside it, once more


def hangs(folder, item):
    """Never come back from item 2."""
    note(folder, item)
    while item == 2:
        time.sleep(0.01)
    time.sleep(0.3)
    return item


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_hangs_is_ended_tried_once_more_and_failed(tmp_path, workers):
    pool = WorkerPool(hangs, tmp_path, workers=workers, limit_seconds=1.5)
    assert dict(pool.outcomes([0, 1, 2, 3])) == {0: 0, 1: 1, 2: Failed("took longer than 1.5 s", 2), 3: 3}
    assert tries(tmp_path, 2) == 2


def hangs_below_python(state, item):
    """Wait for ever in a library that does not return to Python, and so neither to its signal handlers."""
    import ctypes

    if item == 1:
        libc = ctypes.PyDLL(None)  # holds the interpreter's lock as well
        while True:
            libc.sleep(1000)
    return item


@pytest.mark.slow
def test_what_hangs_below_python_is_ended_too():
    pool = WorkerPool(hangs_below_python, None, workers=1, limit_seconds=1)
    assert dict(pool.outcomes([0, 1, 2])) == {0: 0, 1: Failed("took longer than 1 s", 2), 2: 2}


def test_a_limit_that_nothing_reaches_changes_nothing(tmp_path):
    assert dict(WorkerPool(poisonous, tmp_path, workers=1, limit_seconds=60).map([1, 2, 4])) == {0: 1, 1: 4, 2: 16}


def greedy(folder, item):
    """Run out of memory at every try of item 1, of item 2 at the first."""
    note(folder, item)
    if item == 1 or (item == 2 and tries(folder, 2) == 1):
        raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {item} GiB")
    return item, os.getpid()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_memory_that_runs_out_is_tried_again_alone_and_then_failed(tmp_path, workers):
    found = dict(WorkerPool(greedy, tmp_path, workers=workers).outcomes([0, 1, 2, 3]))
    assert found[1] == Failed("ran out of memory", 2, "CUDA out of memory. Tried to allocate 1 GiB")
    assert [found[item][0] for item in (0, 2, 3)] == [0, 2, 3]
    assert [tries(tmp_path, item) for item in range(4)] == [1, 2, 2, 1]
    if workers > 1:  # the second try has a process of its own, and the memory of those that are gone
        assert found[2][1] not in (found[0][1], found[3][1])


def allocates(state, item):
    """Ask for more than the process may have, of torch or of Python."""
    if item == 0:
        return 0
    lines = Path("/proc/self/status").read_text().splitlines()
    here = next(int(line.split()[1]) for line in lines if line.startswith("VmSize")) * 1024
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (here + 50_000_000, before[1]))
    try:
        return len(bytes(400_000_000)) if item == 1 else float(torch.ones(100_000_000).sum())
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_real_errors_of_memory_are_known():
    found = dict(WorkerPool(allocates, None).outcomes([0, 1, 2]))
    assert [found[0], found[1].reason, found[2].reason] == [0, "ran out of memory", "ran out of memory"]
    assert "allocate memory" in found[2].detail or "not enough memory" in found[2].detail


def test_other_errors_stay_errors():
    def wrong(state, item):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        list(WorkerPool(wrong, None).outcomes([0]))


class Scripted:
    """An engine of two workers that loses what its script says, one list a run."""

    nearby, workers = True, 2

    def __init__(self, script):
        self.script, self.runs = script, []

    def run(self, work, items):
        self.runs.append(list(items))
        lost = self.script.pop(0) if self.script else {}
        for position, item in items.items():
            yield position, lost.get(position) or work.function(work.state, item)


def itself(state, item):
    return item


def _read(found, positions):
    for position, _ in found:
        positions.append(position)


def scripted(*script):
    pool = WorkerPool(itself, None, workers=2)
    pool.engine = Scripted(list(script))
    return pool


WAITED, BESIDE = Lost("was ended from outside", begun=False), Lost("was ended from outside")


def test_on_any_engine_what_was_lost_runs_alone_and_what_waited_does_not_count_it():
    pool = scripted({1: BESIDE, 2: BESIDE, 3: WAITED}, {}, {1: BESIDE}, {1: BESIDE})
    assert dict(pool.outcomes([10, 11, 12, 13])) == {0: 10, 1: KILLED, 2: 12, 3: 13}
    assert pool.engine.runs == [[0, 1, 2, 3], [3], [1], [1], [2]]


def test_a_job_does_what_it_can_before_it_says_what_failed():
    pool = scripted({1: BESIDE}, {1: BESIDE}, {1: BESIDE})
    done = []
    with pytest.raises(WorkerError, match=r"1 of 8 tasks failed; take fewer workers \(given 2\)") as told:
        _read(pool.map(list(range(8))), done)
    assert done == [0, 2, 3, 4, 5, 6, 7]
    assert "\n" not in str(told.value)


def test_a_job_of_which_all_fails_does_not_try_all():
    pool = scripted(*[dict.fromkeys(range(8), BESIDE)] * 30)
    with pytest.raises(WorkerError, match="3 of 8 tasks failed"):
        list(pool.map(list(range(8))))
    assert len(pool.engine.runs) == 1 + 3 * 2


def test_workers_that_end_before_any_work_end_in_one_line():
    with pytest.raises(WorkerError, match=r"was ended from outside 3 times, .*; 2 of 2 tasks are left"):
        list(scripted(*[{0: WAITED, 1: WAITED}] * 9).outcomes([5, 6]))


def test_one_item_needs_no_worker_until_the_workers_have_the_state():
    pool = scripted()
    list(pool.outcomes([1]))
    assert pool.engine.runs == []
    list(pool.outcomes([1, 2]))
    list(pool.outcomes([1]))
    assert pool.engine.runs == [[0, 1], [0]]
