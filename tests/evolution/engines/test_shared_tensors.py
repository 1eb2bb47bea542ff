"""Tensors that lie beside pickled work, in a file that workers map."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from blendsearch.errors import WorkerError
from blendsearch.evolution.engines import shared_tensors
from blendsearch.evolution.engines.shared_tensors import TensorFile, dump_beside, load_beside
from blendsearch.evolution.parallel import WorkerPool

MEGABYTE = 2**20


def big(megabytes=1, dtype=torch.float32):
    return torch.arange(megabytes * MEGABYTE // dtype.itemsize).to(dtype)


def test_what_is_loaded_is_what_was_dumped():
    network = nn.Sequential(nn.Conv2d(64, 64, 3, bias=False), nn.BatchNorm2d(64))
    rows = big().view(512, 512)
    given = {
        "network": network, "bytes": big(dtype=torch.uint8), "half": big(dtype=torch.bfloat16),
        "turned": rows.T[3:, ::2],
        "small": torch.ones(3), "text": "x", "none": torch.empty(0), "wide": torch.arange(9.0).view(3, 3).expand(3, 3),
    }  # fmt: skip
    file = TensorFile()
    content = dump_beside(given, file)
    found = load_beside(content)
    assert len(content) < 20_000
    for name in ("bytes", "half", "turned", "small", "none", "wide"):
        assert torch.equal(found[name], given[name])
        assert found[name].stride() == given[name].stride()
        assert found[name].dtype == given[name].dtype
    for one, other in zip(found["network"].state_dict().values(), network.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert isinstance(found["network"][0].weight, nn.Parameter)
    assert found["network"][0].weight.requires_grad


def test_memory_that_tensors_share_is_written_once_and_shared_again():
    whole = big(4)
    file = TensorFile()
    content = dump_beside([whole, whole[10:20], {"again": whole.view(2, -1)}, whole.detach()], file)
    assert file.path.stat().st_size < 4 * MEGABYTE + 1000
    first, part, table, other = load_beside(content)
    first[12] = -1
    assert part[2] == other[12] == table["again"][0, 12] == -1


def test_writing_changes_nobody_elses_tensors():
    file = TensorFile()
    content = dump_beside(big(), file)
    load_beside(content).zero_()
    assert torch.equal(load_beside(content), big())


def test_the_tensors_stay_when_the_file_goes():
    file = TensorFile()
    found = load_beside(dump_beside(big(), file))
    path = file.path
    del file
    assert not path.exists()
    assert torch.equal(found, big())


def test_a_file_that_cannot_be_written_is_told_in_one_line(monkeypatch):
    class Full(shared_tensors._Pickler):
        def dump(self, value):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_tensors, "_Pickler", Full)
    with pytest.raises(WorkerError, match=r"cannot be given their state, .*No space left on device.*TMPDIR") as told:
        dump_beside(big(), TensorFile())
    assert "\n" not in str(told.value)


def test_it_goes_with_a_process_that_is_killed():
    code = (
        "import sys, time; from blendsearch.evolution.engines.shared_tensors import TensorFile\n"
        "file = TensorFile(); print(file.path, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        path = Path(process.stdout.readline().strip())
        assert path.exists()
        process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 20
    while path.exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not path.exists()


def mapped_kilobytes(state: torch.Tensor, item: int) -> tuple[int, int, float]:
    """Return this process, how much of the shared file it has to itself, and a sum that reads all of it."""
    time.sleep(0.2)  # long enough that both workers get some
    total = float(state.double().sum())
    maps = Path("/proc/self/smaps").read_text().split("VmFlags")
    own = [part for part in maps if "blendsearch-state" in part]
    assert own, "the state is not mapped"
    private = [int(kilobytes) for part in own for kilobytes in re.findall(r"Private_Dirty: +(\d+) kB", part)]
    return os.getpid(), sum(private), total


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what a process has to itself")
def test_two_workers_share_the_state():
    state = big(32)
    found = dict(WorkerPool(mapped_kilobytes, state, workers=2).map(range(6)))
    assert len({process for process, _, _ in found.values()}) == 2
    assert all(private == 0 for _, private, _ in found.values())
    assert {total for _, _, total in found.values()} == {float(state.double().sum())}


def grow(state: list, item: int) -> int:
    """Keep 400 MB from the second item on."""
    time.sleep(1.1)  # after that loky looks again
    if not state and item:
        state.append(torch.ones(100 * MEGABYTE))
    return os.getpid()


def test_a_worker_that_grows_stays():
    """loky would end it as leaking after each item, and each would begin with importing torch."""
    found = dict(WorkerPool(grow, [], workers=1, limit_seconds=60).map(range(4)))
    assert len(set(found.values())) == 1
