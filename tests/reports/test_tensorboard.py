"""TensorBoard scalars of a campaign, read back by TensorBoard's own reader."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
from fake_run import make_run

from blendsearch.errors import ExportError, RunError
from blendsearch.reports.tensorboard import write_tensorboard


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run", seeds=2)


def scalars(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder))
    reader.Reload()
    return {tag: [(one.step, one.value) for one in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_what_the_records_say_is_what_tensorboard_reads(run, tmp_path):
    pytest.importorskip("tensorboard")
    out = write_tensorboard(run, tmp_path / "logs")
    assert out == tmp_path / "logs"
    evolution = json.loads((run / "records/evolution.json").read_text())
    search = scalars(out / "search")
    for name in ("best", "mean"):
        expected = [(one["generation"], pytest.approx(one[name], abs=1e-6)) for one in evolution]
        assert search[f"proxy/{name}"] == expected
    retrained = json.loads((run / "records/retrained.json").read_text())
    own = [one for one in retrained if one["name"] == "taylor"]
    expected = [(one["seed"], pytest.approx(one["test_accuracy"], abs=1e-6)) for one in own]
    assert scalars(out / "criterion-taylor")["retrained/test_accuracy"] == expected


def test_losses_are_there_by_epochs_and_what_is_not_known_is_left_out(run, tmp_path):
    pytest.importorskip("tensorboard")
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    file = folder / "records/retrained.json"
    entries = json.loads(file.read_text())
    entries[0] |= {"loss": [2.0, 1.5, None], "pruned_test_accuracy": None}
    file.write_text(json.dumps(entries))
    out = write_tensorboard(folder)
    assert out == folder / "tensorboard"
    contender = out / f"{entries[0]['kind']}-{entries[0]['name']}"
    assert scalars(contender / f"seed{entries[0]['seed']}")["retraining/loss"] == [(1, 2.0), (2, 1.5)]


def test_writing_again_replaces_what_was_there(run, tmp_path):
    pytest.importorskip("tensorboard")
    first = scalars(write_tensorboard(run, tmp_path) / "search")
    assert scalars(write_tensorboard(run, tmp_path) / "search") == first
    assert len(list((tmp_path / "search").iterdir())) == 1


def test_without_the_extra_it_says_which(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ExportError, match=r"needs tensorboard; install blendsearch\[tensorboard\]"):
        write_tensorboard(run, tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def test_other_folders_are_told(tmp_path):
    with pytest.raises(RunError, match="there is no such run folder"):
        write_tensorboard(tmp_path / "gone")
    (tmp_path / "job.json").write_text('{"job": "audit"}')
    with pytest.raises(RunError, match="was made by 'blendsearch audit'"):
        write_tensorboard(tmp_path)
