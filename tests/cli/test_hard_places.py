"""Run folders that cannot be made, disks that are full, devices that are not there: one line, exit code 2."""

from __future__ import annotations

import errno

import pytest
import torch
import typer
from typer.testing import CliRunner

from blendsearch.cli import app
from blendsearch.cli.session import plain_errors
from blendsearch.compute import Compute
from blendsearch.errors import ConfigError

SPACE = """
name: places
data: {name: digits, test: 300, calibration: 100, search: 200}
model: {name: conv4, arguments: {width: 8}}
training: {epochs: 0}
compute: {workers: 1}
"""


def train(tmp_path, *more):
    (tmp_path / "space.yaml").write_text(SPACE)
    found = CliRunner().invoke(app, ["train", str(tmp_path / "space.yaml"), *more])
    assert found.exit_code == 2, found.output
    (line,) = found.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize("place", ["file", "file/below", "x" * 300])
def test_a_run_folder_that_cannot_be_is_told(tmp_path, place):
    (tmp_path / "file").touch()
    line = train(tmp_path, "--run-dir", str(tmp_path / place))
    assert "the run folder cannot be made or read (" in line
    assert len(line) < 400
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "space.yaml"]


@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_device_that_is_not_there_is_told_before_anything_is_written(tmp_path, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = train(tmp_path, f"compute.device={device}", "--run-dir", str(tmp_path / "run"))
    assert line.startswith(f"compute.device: '{device}' given, but torch finds no such device")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("device", ["mps", "gpu", "cuda:one"])
def test_a_device_that_cannot_be_worked_on_is_told_wherever_it_is_given(tmp_path, device):
    line = train(tmp_path, f"compute.device={device}", "--run-dir", str(tmp_path / "run"))
    assert line.endswith(f"not allowed (given '{device}', allowed 'auto', 'cpu', 'cuda' or 'cuda:NUMBER')")
    with pytest.raises(ConfigError, match=f"compute.device: '{device}' given, allowed: 'auto', 'cpu', 'cuda' or"):
        Compute.here(device)


def test_a_device_number_beyond_those_that_are_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    line = train(tmp_path, "compute.device=cuda:2", "--run-dir", str(tmp_path / "run"))
    assert line == "compute.device: 'cuda:2' given, allowed here: cuda:0 to cuda:1"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_in_the_middle_ends_in_one_line(capsys, number):
    with pytest.raises(typer.Exit) as found, plain_errors():
        raise OSError(number, "No room", "runs/x/summary.json")
    assert found.value.exit_code == 2
    assert capsys.readouterr().err.startswith(
        "runs/x/summary.json: cannot be written (No room); what is there is whole"
    )


def test_other_errors_of_the_system_stay_our_bugs(monkeypatch):
    monkeypatch.setattr("blendsearch.cli.session.own_place", lambda error: None)  # as of code of ours alone
    with pytest.raises(FileNotFoundError), plain_errors():
        raise FileNotFoundError(errno.ENOENT, "No such file", "x")


def oom() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def no_memory() -> None:
    raise MemoryError


@pytest.mark.parametrize("work", [oom, no_memory])
def test_memory_that_runs_out_where_no_candidate_is_tried_ends_in_one_line(capsys, work):
    with pytest.raises(typer.Exit) as found, plain_errors():
        work()
    assert found.value.exit_code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("memory ran out (")
    assert "smaller batches" in line


def test_other_errors_of_running_stay_our_bugs():
    with pytest.raises(RuntimeError), plain_errors():
        raise RuntimeError("shapes do not match")
