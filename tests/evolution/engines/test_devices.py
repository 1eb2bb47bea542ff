"""Each worker takes a CUDA device of its own, as far as they go; looked at without any such device."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from blendsearch.errors import WorkerError
from blendsearch.evolution.engines import devices
from blendsearch.evolution.engines.devices import choose_device, settle_on_device, take_device, visible_devices
from blendsearch.evolution.parallel import resolve_workers


@pytest.fixture(autouse=True)
def nothing_taken(monkeypatch):
    monkeypatch.setattr(devices, "_TAKEN", [])


@pytest.mark.parametrize(
    ("environment", "count", "expected"),
    [
        ({}, 3, ["0", "1", "2"]),
        ({"CUDA_VISIBLE_DEVICES": "2, 3"}, 8, ["2", "3"]),  # as Slurm or a user sets it
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, 2, ["1", "0"]),  # as dask-cuda does: each worker's own comes first
        ({"CUDA_VISIBLE_DEVICES": "GPU-8f2a"}, 1, ["GPU-8f2a"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0, []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 0, []),
    ],
)
def test_what_a_process_may_see(environment, count, expected):
    assert visible_devices(environment, count) == expected


def test_workers_take_turns_and_share_when_there_are_more_of_them():
    taken = set()

    def take(device, shared):
        return (device, shared) not in taken and not taken.add((device, shared))

    assert [choose_device(["0", "1"], take) for _ in range(5)] == ["0", "1", "0", "1", "0"]
    taken.remove(("1", 0))  # its worker died
    assert choose_device(["0", "1"], take) == "1"


def test_workers_that_see_devices_in_another_order_do_not_take_the_same():
    taken = set()

    def take(device, shared):
        return (device, shared) not in taken and not taken.add((device, shared))

    assert [choose_device(["0", "1"], take), choose_device(["1", "0"], take)] == ["0", "1"]


def test_a_device_is_free_again_when_its_process_has_ended(tmp_path):
    given = (
        "import sys; from pathlib import Path; from blendsearch.evolution.engines.devices import take_device; "
        f"print(take_device('0', 0, Path({str(tmp_path)!r})), flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "True\n"
    assert not take_device("0", 0, tmp_path)
    assert take_device("0", 1, tmp_path)
    other.kill()
    other.wait()
    assert take_device("0", 0, tmp_path)


@pytest.fixture
def two_devices(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")


@pytest.mark.usefixtures("two_devices")
def test_a_worker_sees_its_own_device_alone_and_keeps_it(monkeypatch):
    settle_on_device("cuda", "a worker")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4"
    settle_on_device("cuda", "a worker")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4"
    monkeypatch.setattr(devices, "_TAKEN", [])  # the next worker
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_other_devices_are_left_as_they_are(device):
    settle_on_device(device, "a worker")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5"


def test_a_worker_without_a_device_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(WorkerError, match="'cuda' is needed, but the worker on host has no CUDA device"):
        settle_on_device("cuda", "the worker on host")


def test_on_cuda_there_is_a_worker_for_each_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert resolve_workers("auto", 1, "cuda") == 4
    assert resolve_workers("auto", 1, "cuda:2") == 1
    assert resolve_workers(2, 1, "cuda") == 2
