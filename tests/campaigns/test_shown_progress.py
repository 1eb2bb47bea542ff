"""Whole campaigns called from Python show how far they are, unless they are told not to."""

from __future__ import annotations

import inspect

import pytest

import blendsearch
from blendsearch.progress import shown

SPACE = {
    "name": "tiny",
    "data": {"name": "digits", "test": 60, "calibration": 40, "search": 60, "limit": 300},
    "model": {"name": "conv4", "arguments": {"width": 4}},
    "training": {"epochs": 1},
    "retraining": {"epochs": 0.2},
    "criteria": ["l1", "fpgm"],
    "search": {"population": 3, "generations": 1},
    "budget": {"flops": 0.5},
    "compute": {"device": "cpu", "workers": 1},
}
BOARD = {
    "name": "board",
    "networks": [{"name": "net", "data": SPACE["data"], "model": SPACE["model"], "training": SPACE["training"]}],
    "criteria": ["l1"],
    "budgets": [{"flops": 0.5}],
    "retraining": {"epochs": 0.2},
    "compute": SPACE["compute"],
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch, tmp_path):
    monkeypatch.setattr(shown, "PATIENCE", 0.0)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["score", "prune", "steps", "search", "leaderboard", "transfer"])
def test_everything_shows_progress_by_default(name):
    assert inspect.signature(getattr(blendsearch, name)).parameters["progress"].default == "auto"


def test_structure_does_too():
    assert inspect.signature(blendsearch.Structure.of).parameters["progress"].default == "auto"


@pytest.mark.slow
def test_campaigns_show_progress_on_standard_error(capsys, tmp_path):
    found = blendsearch.search(SPACE, run_dir="run")
    out, err = capsys.readouterr()
    assert out == ""
    assert all(task in err for task in ("training", "scores", "search", "retraining", "report"))
    blendsearch.search(SPACE, run_dir="silent", progress=None)
    assert capsys.readouterr() == ("", "")
    blendsearch.leaderboard(BOARD, run_dir="board")
    assert "leaderboard net 1/1" in capsys.readouterr().err
    blendsearch.transfer(found.run_dir / "blend.json", [SPACE], run_dir="transfer", searches=False)
    assert "scores" in capsys.readouterr().err
