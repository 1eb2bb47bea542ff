"""Dask and Ray, each real, with two processes of this machine: as in one process, whatever happens to a worker."""

from __future__ import annotations

import importlib
import sys
import threading

import pytest
from remote_work import Counted, dies_once, fail, hang_at_1, load, marks, meet, multiply, processes, streamed

from blendsearch.errors import TrainingError, WorkerError
from blendsearch.evolution.engines import parcels
from blendsearch.evolution.parallel import WorkerPool


@pytest.fixture(scope="module", params=["dask", pytest.param("ray", marks=pytest.mark.slow)])
def engine(request):
    pytest.importorskip({"dask": "distributed", "ray": "ray"}[request.param])
    module = importlib.import_module(f"blendsearch.evolution.engines.{request.param}")
    made = getattr(module, f"{request.param.capitalize()}Engine").start(2, 1, "cpu")
    yield made
    made.close()


def in_order(pool, items):
    results = dict(pool.map(items))
    assert sorted(results) == list(range(len(items)))
    return [results[position] for position in range(len(items))]


def meet_or_multiply(state, item):
    return meet(state, item) if item is None else multiply(state, item)


def test_results_are_those_of_one_process_and_each_worker_opens_the_state_once(engine, tmp_path):
    state, items = Counted(tmp_path), list(range(12))
    alone = in_order(WorkerPool(multiply, state), items)
    assert engine.workers == 2
    for file in (tmp_path / "done").iterdir():
        file.unlink()
    pool = WorkerPool(meet_or_multiply, state, engine=engine)
    in_order(pool, [None, None])  # now both are there
    assert in_order(pool, items) == alone
    assert in_order(pool, items[:1]) == alone[:1]  # one alone is done there, too
    assert in_order(pool, []) == []
    assert marks(tmp_path / "done") == sorted(map(str, [*items, 0]))  # nothing twice
    opened = processes(tmp_path / "opened")
    assert 1 <= len(opened) == len(set(opened)) <= 2  # a busy machine may give all to the first


def test_only_what_a_killed_worker_was_at_is_done_again(engine, tmp_path):
    pool = WorkerPool(dies_once, Counted(tmp_path), engine=engine)
    assert in_order(pool, list(range(10))) == [item * item for item in range(10)]
    assert len(marks(tmp_path / "died")) == 1
    assert marks(tmp_path / "done") == sorted(map(str, [*range(10), 3]))


def test_an_item_that_hangs_is_ended_by_its_limit_and_the_others_come(engine):
    pool = WorkerPool(hang_at_1, None, engine=engine, limit_seconds=1.0)
    found = dict(pool.outcomes([0, 1, 2]))
    assert (found[0], found[2]) == (0, 2)
    assert found[1].reason == "took longer than 1 s"


def test_an_error_of_the_work_is_raised_here_with_its_type(engine):
    pool = WorkerPool(fail, None, engine=engine)
    with pytest.raises(TrainingError, match=r"^item 2: the loss is nan$") as found:
        list(pool.map([0, 1, 2, 3]))
    assert found.value.__cause__ is None
    with pytest.raises(ZeroDivisionError) as bug:  # one of ours shows where it comes from
        list(pool.map([4]))
    assert "in fail" in str(bug.value.__cause__)
    assert in_order(pool, [0, 1]) == [3, 4]


def test_what_is_given_up_is_not_begun(engine, tmp_path):
    results = WorkerPool(multiply, Counted(tmp_path), engine=engine).map(list(range(50)))
    next(results)
    results.close()  # as Ctrl-C does
    assert len(marks(tmp_path / "done")) <= 6
    assert in_order(WorkerPool(fail, None, engine=engine), [0, 1]) == [3, 4]


def test_workers_may_have_processes_that_load_images(engine):
    split = streamed()
    assert in_order(WorkerPool(load, split, engine=engine), [0, 1]) == [load(split, 0), load(split, 1)]


def test_several_threads_may_hand_over_items(engine, tmp_path):
    pool, found = WorkerPool(multiply, Counted(tmp_path), engine=engine), {}

    def one(item):
        ((_, found[item]),) = pool.map([item])

    threads = [threading.Thread(target=one, args=(item,)) for item in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {item: multiply(Counted(tmp_path), item) for item in range(4)}


def test_other_versions_on_a_worker_are_told_in_one_line(engine, monkeypatch):
    monkeypatch.setattr(parcels, "_versions", lambda: (("python", "3.11"), ("torch", "9.9")))
    with pytest.raises(WorkerError, match=r"worker on \S+ \(process \d+\) has .*torch \S+ \(here 9.9\)") as found:
        list(WorkerPool(fail, None, engine=engine).map([0, 1]))
    assert "\n" not in str(found.value)


def test_a_module_that_workers_do_not_have_is_told_in_one_line(engine, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("class Net:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    state = importlib.import_module("only_here").Net()
    (tmp_path / "only_here.py").unlink()
    try:
        with pytest.raises(WorkerError, match=r"cannot unpack the work .*only_here.*PYTHONPATH") as found:
            list(WorkerPool(fail, state, engine=engine).map([0, 1]))
        assert "\n" not in str(found.value)
    finally:
        del sys.modules["only_here"]
