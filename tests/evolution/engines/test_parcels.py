"""What a worker does with a parcel, seen in this process."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from blendsearch.errors import WorkerError
from blendsearch.evolution.engines import parcels
from blendsearch.evolution.engines.base import Work
from blendsearch.evolution.engines.parcels import Answer, answer, holds, pack, pack_item, perform


class Unfriendly(Exception):
    """Cannot be unpickled, as exceptions of some libraries."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def odd(state, item):
    if item == "daemon":
        raise AssertionError("daemonic processes are not allowed to have children")
    if item == "unfriendly":
        raise Unfriendly(1, 2)
    return state, item, torch.get_num_threads()


@pytest.fixture(autouse=True)
def as_a_worker(monkeypatch, tmp_path):
    """Give this process back its threads, folder and path."""
    monkeypatch.setattr(parcels, "_HELD", {})
    monkeypatch.setattr(parcels, "threadpool_limits", lambda threads: None)
    monkeypatch.setattr(parcels, "prepare_process", lambda device: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def parcel(token="a", threads=1, state="state"):
    return pack(Work(odd, state, token, threads), "cpu")


def test_a_parcel_is_opened_once_and_replaced_by_the_next():
    given = parcel(threads=2)
    assert not holds("a")
    assert perform(given, 1) == ("state", 1, 2)
    assert holds("a")
    assert perform("a", 2) == ("state", 2, 2)
    perform(parcel("b"), 1)
    assert not holds("a")
    assert perform(given, 3) == ("state", 3, 2)


def test_a_worker_works_where_the_campaign_was_started_and_finds_its_modules_last(tmp_path, monkeypatch):
    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    monkeypatch.syspath_prepend(str(tmp_path / "start"))
    given = parcel()
    monkeypatch.chdir(tmp_path)
    sys.path.remove(str(tmp_path / "start"))
    perform(given, 1)
    assert os.getcwd() == str(tmp_path / "start")
    assert sys.path[-1] == str(tmp_path / "start")


def test_a_worker_without_that_folder_stays_where_it_is(tmp_path, monkeypatch):
    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    given = parcel()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "start").rmdir()
    assert perform(given, 1)[:2] == ("state", 1)
    assert os.getcwd() == str(tmp_path)


def test_errors_come_back_in_a_form_that_travels():
    found = answer(parcel(), pack_item("unfriendly"))
    assert str(found.error) in ("Unfriendly: 1 and 2", "1 and 2")  # Dask, once loaded, lets any exception travel
    told = answer(parcel(), pack_item("daemon"))
    with pytest.raises(WorkerError, match=r"data\.workers: .*DASK_DISTRIBUTED__WORKER__DAEMON=False"):
        told.result()
    assert Answer(5).result() == 5


def test_what_was_made_in_a_script_travels_by_itself():
    made = type("Made", (), {"__module__": "__main__", "value": 7})
    (state, _, _) = perform(parcel(state=made()), 1)
    assert state.value == 7
