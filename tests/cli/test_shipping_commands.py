"""The commands export and tensorboard: what they pass on, what they print, and how mistakes end."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from blendsearch.cli import app
from blendsearch.cli.shipping_commands import FORMATS as NAMES
from blendsearch.results.records.shipping import ExportRecord

DONE = ExportRecord(
    path="runs/a/exported/network.onnx",
    format="onnx",
    difference=1.234e-7,
    largest_output=12.3456,
    tolerance=1e-3,
    batches=(2, 1, 3),
    dynamic_batch=True,
    checked="onnxruntime 1",
    bytes=2_345_678,
    seconds=3.21,
    opset=20,
    note="take care",
)


@pytest.fixture
def calls(monkeypatch):
    found = []

    def export(*given, **named):
        found.append((given, named))
        return DONE

    monkeypatch.setattr("blendsearch.campaigns.export.run.export", export)
    return found


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_knows_the_formats_that_there_are():
    from blendsearch.campaigns.export.run import FORMATS

    assert tuple(FORMATS) == NAMES


def test_arguments_arrive_and_the_difference_is_told(calls, tmp_path):
    done = run("export", tmp_path, "--to", "onnx", "--contender", "l1", "--batch", "fixed", "--out", "net.onnx")
    assert done.exit_code == 0, done.output
    ((source, out), named), *_ = calls
    assert (str(source), str(out)) == (str(tmp_path), "net.onnx")
    assert callable(named.pop("progress"))
    assert named == {"to": "onnx", "contender": "l1", "dynamic_batch": False, "trust_code": False}
    assert "onnx: runs/a/exported/network.onnx (2.35 MB, opset 20, 3.21 s)" in done.output
    assert "largest difference 1.2e-07, largest output 12.3 (allowed: 0.1 % of that); batches of 1, 2, 3" in done.output
    assert "take care" in done.output
    assert run("export", tmp_path, "--to", "onnx", "-q").output == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--to", "onxn"], "--to: unknown format 'onxn'; did you mean 'onnx'?"),
        (["--to", "onnx", "--batch", "any"], "--batch: unknown batch 'any'"),
        (["--to", "onnx"], "no run folder of blendsearch"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(tmp_path, words, told):
    done = subprocess.run(
        [sys.executable, "-m", "blendsearch", "export", str(tmp_path), *words], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_scalars_are_written_and_the_folder_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("blendsearch.reports.tensorboard.write_tensorboard", lambda run_dir, out: out)
    done = run("tensorboard", tmp_path, "--out", tmp_path / "logs")
    assert f"tensorboard --logdir {tmp_path / 'logs'}" in done.output
