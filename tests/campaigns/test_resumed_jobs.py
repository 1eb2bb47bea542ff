"""`train`, `score`, `prune` and `sensitivity`, stopped and resumed: the same result, and only in their own folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from blendsearch.campaigns.sensitivity import run_sensitivity
from blendsearch.campaigns.single import run_prune, run_score, run_train
from blendsearch.cli import app
from blendsearch.config import space_from_dict
from blendsearch.errors import RunError
from blendsearch.reports.report import write_report


def tiny(**changes):
    data = {
        "name": "tiny",
        "data": {"name": "digits", "test": 100, "calibration": 60, "search": 100, "limit": 300},
        "model": {"name": "conv4", "arguments": {"width": 8}},
        "training": {"epochs": 3, "batch_size": 64, "lr": 0.1},
        "criteria": ["l1", "taylor"],
        "budget": {"flops": 0.5},
        "retraining": {"epochs": 3, "batch_size": 64, "lr": 0.02},
        "compute": {"device": "cpu", "workers": 1},
    }
    return space_from_dict({**data, **changes})


class Kill(Exception):
    """Stands for a kill."""


def stopped(task, step):
    """Return a progress callback that kills at a task's step, counted over all its stages."""
    steps = []

    def killer(name, at, total, detail=""):
        steps.append(name.startswith(task))
        if sum(steps) >= step:
            raise Kill

    return killer


REPR = {"schedule": {"name": "repr", "cycles": 1, "full": 1, "sub": 1}}


@pytest.mark.parametrize("changes", [{}, REPR], ids=["plain", "repr"])
def test_training_goes_on(tmp_path, changes):
    space = tiny(**changes)
    run_train(space, tmp_path / "whole")
    with pytest.raises(Kill):
        run_train(space, tmp_path / "run", progress=stopped("training", 9))
    run_train(space, tmp_path / "run", resume=True)
    one, other = (load_file(tmp_path / name / "baseline.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("schedule", ["one_shot", "progressive", "iterative", "from_scratch"])
def test_pruning_goes_on(tmp_path, schedule):
    space = tiny(schedule=schedule)
    whole = run_prune(space, "taylor", tmp_path / "whole")
    with pytest.raises(Kill):
        run_prune(space, "taylor", tmp_path / "run", progress=stopped("retraining", 9))
    resumed = run_prune(space, "taylor", tmp_path / "run", resume=True)
    assert resumed.summary.pruned == whole.summary.pruned
    one, other = (load_file(tmp_path / name / "network.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not list((tmp_path / "run").glob("checkpoints/*.pt"))


def test_a_finished_pruning_is_read_and_not_done_again(tmp_path, monkeypatch):
    whole = run_prune(tiny(), "taylor", tmp_path / "run")
    weights = (tmp_path / "run/network.safetensors").stat().st_mtime_ns
    monkeypatch.setattr("blendsearch.campaigns.single.retrain", None)
    again = run_prune(tiny(), "taylor", tmp_path / "run", resume=True)
    assert (again.summary.pruned, again.summary.kept) == (whole.summary.pruned, whole.summary.kept)
    assert (tmp_path / "run/network.safetensors").stat().st_mtime_ns == weights


def test_scoring_and_sensitivity_go_on(tmp_path):
    for job in (run_score, run_sensitivity):
        whole = job(tiny(), tmp_path / job.__name__)
        with pytest.raises(Kill):
            job(tiny(), tmp_path / "run" / job.__name__, progress=stopped("training", 9))
        resumed = job(tiny(), tmp_path / "run" / job.__name__, resume=True)
        assert resumed.summary == whole.summary


def test_a_folder_is_gone_on_with_by_its_own_job_space_and_criterion(tmp_path):
    run_prune(tiny(), "l1", tmp_path / "run")
    wrong = [
        (lambda: run_train(tiny(), tmp_path / "run", resume=True), "was made by 'blendsearch prune'"),
        (lambda: run_prune(tiny(seed=4), "l1", tmp_path / "run", resume=True), "another space; differing: seed"),
        (lambda: run_prune(tiny(), "taylor", tmp_path / "run", resume=True), "was made with --by l1"),
        (lambda: run_prune(tiny(), "l1", tmp_path / "run"), "already holds files"),
        (lambda: write_report(tmp_path / "run"), "made by 'blendsearch prune', which writes no report"),
    ]
    for action, words in wrong:
        with pytest.raises(RunError, match=words) as error:
            action()
        assert len(str(error.value).splitlines()) == 1


def test_the_command_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(tiny().to_yaml())

    def interrupted(*given, **named):
        Path("runs/tiny-prune").mkdir(parents=True)
        Path("runs/tiny-prune/.lock").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("blendsearch.campaigns.single.run_prune", interrupted)
    result = CliRunner().invoke(app, ["prune", "space.yaml", "--by", "l1", "seed=3"])
    assert result.exit_code == 130
    assert "continue with: blendsearch prune space.yaml --by l1 seed=3 --resume" in result.output
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["prune", "space.yaml", "--by", "l1", "seed=3", "--resume"])
    assert result.exit_code == 0, result.output
    noted = {"job": "prune", "by": "l1", "started_in": str(tmp_path)}
    assert json.loads(Path("runs/tiny-prune/job.json").read_text()) == noted
