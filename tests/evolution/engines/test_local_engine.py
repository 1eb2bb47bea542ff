"""Worker processes of this machine, beside what test_parallel.py has of them."""

from __future__ import annotations

from remote_work import load, streamed

from blendsearch.evolution.parallel import WorkerPool


def test_workers_may_have_processes_that_load_images():
    split = streamed()
    found = dict(WorkerPool(load, split, workers=2).map([0, 1, 2]))
    assert found == {item: load(split, item) for item in (0, 1, 2)}
