"""The same results for any number of workers; the state travels once."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch

from blendsearch.errors import BlendsearchError, TrainingError, WorkerError
from blendsearch.evolution.parallel import WorkerPool, resolve_workers


class Counted:
    """A state that leaves a mark in a folder each time it is unpacked in another process."""

    def __init__(self, folder: str, matrix: torch.Tensor) -> None:
        self.folder, self.matrix = folder, matrix

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        with open(os.path.join(self.folder, f"{os.getpid()}-{time.perf_counter_ns()}"), "w"):
            pass


def multiply(state: Counted, item: int) -> float:
    time.sleep(0.02)  # long enough that both workers get some
    return float((state.matrix * item).exp().sum())


def thread_count(state: None, item: int) -> int:
    return torch.get_num_threads()


def fail(state: None, item: int) -> int:
    if item == 2:
        raise TrainingError(f"item {item}: the loss is nan")
    return item


def in_order(pool: WorkerPool, items: list) -> list:
    results = dict(pool.map(items))
    assert sorted(results) == list(range(len(items)))
    return [results[position] for position in range(len(items))]


@pytest.fixture
def cores(monkeypatch):
    """A machine of four cores."""
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("the number of cores comes from elsewhere here")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})


def test_one_and_two_workers_give_the_same_and_the_state_travels_once(tmp_path):
    state = Counted(str(tmp_path), torch.linspace(0, 0.01, 500))
    items = list(range(24))
    alone = in_order(WorkerPool(multiply, state), items)
    assert not os.listdir(tmp_path)
    pool = WorkerPool(multiply, state, workers=2)
    assert in_order(pool, items) == alone
    assert in_order(pool, items[:5]) == alone[:5]
    received = [name.split("-")[0] for name in os.listdir(tmp_path)]
    assert len(set(received)) <= 2
    assert len(received) <= 6  # two a round; a round more when one worker took both

    other = Counted(str(tmp_path), torch.linspace(0, 0.02, 500))  # a second pool in the same processes
    assert in_order(WorkerPool(multiply, other, workers=2), items) == in_order(WorkerPool(multiply, other), items)
    assert in_order(pool, items[:3]) == alone[:3]  # the first again, though the workers hold the second's state


def test_no_items_and_one_item():
    assert in_order(WorkerPool(thread_count, None, workers=2), []) == []
    assert in_order(WorkerPool(thread_count, None, workers=2), [0]) == [1]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_raised_here(workers):
    pool = WorkerPool(fail, None, workers=workers)
    with pytest.raises(TrainingError, match="item 2: the loss is nan"):
        list(pool.map(list(range(5))))
    assert in_order(pool, [5, 6]) == [5, 6]


def test_threads_are_limited_here_as_there():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert in_order(WorkerPool(thread_count, None, workers=1, threads=1), [0, 1]) == [1, 1]
        assert in_order(WorkerPool(thread_count, None, workers=2, threads=1), [0, 1]) == [1, 1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize(
    ("workers", "threads", "device", "expected"),
    [
        ("auto", 1, "cpu", 4), ("auto", 2, "cpu", 2), ("auto", 3, "cpu", 1), ("auto", 9, "cpu", 1),
        ("auto", 1, "cuda", 1), (3, 1, "cpu", 3), (2, 2, "cpu", 2), (1, 8, "cpu", 1), (6, 1, "cuda", 6),
    ],
)  # fmt: skip
def test_workers_follow_cores_and_threads(workers, threads, device, expected):
    assert resolve_workers(workers, threads, device) == expected


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize(("workers", "threads", "most"), [(5, 1, 4), (3, 2, 2), (2, 9, 1)])
def test_more_than_the_cores_is_refused_in_one_line(workers, threads, most):
    with pytest.raises(BlendsearchError, match=f"exceed the 4 cores; allowed: at most {most} workers") as caught:
        resolve_workers(workers, threads, "cpu")
    assert "\n" not in str(caught.value)


def dies_once(folder, item):
    """End the worker process from outside, as the system does when memory is short, at the first try of item 3."""
    if item == 3 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def dies(folder, item):
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_what_a_killed_worker_was_at_is_done_again(tmp_path):
    pool = WorkerPool(dies_once, tmp_path, workers=2)
    assert sorted(pool.map(list(range(8)))) == [(item, item * item) for item in range(8)]
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_workers_that_die_again_and_again_end_in_one_line_with_what_helps(tmp_path):
    with pytest.raises(WorkerError, match=r"a worker process was ended from outside 3 times.* fewer workers") as found:
        list(WorkerPool(dies, tmp_path, workers=2).map(list(range(8))))
    assert "\n" not in str(found.value)
