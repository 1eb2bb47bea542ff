"""Run folders with own code: those made here run it, somebody else's only with --trust-code."""

from __future__ import annotations

import json
import shutil
import stat
import sys
from pathlib import Path

import pytest
from short_cuts import leave_out_reports
from typer.testing import CliRunner

import blendsearch
from blendsearch.cli import app
from blendsearch.errors import RunError
from blendsearch.results.trust import key_file
from blendsearch.review.sessions import open_decision

NETWORK = """
from pathlib import Path

from torch import nn


def build(num_classes, in_channels, width=8):
    Path("it ran").touch()
    convs = nn.Conv2d(in_channels, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU()
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
"""
SPACE = """
name: strange
data: {name: digits, test: 200, calibration: 100, search: 100, limit: 400}
model: {name: "netzwerk:build", arguments: {width: 6}}
training: {epochs: 1, batch_size: 64, lr: 0.1}
criteria: [l1, taylor]
budget: {flops: 0.5}
blend: {unit: network}
proxy: {name: bn_recalibrated, images: 50}
search: {population: 4, generations: 1, rivals: false, random_search: false}
retraining: {epochs: 0.2, batch_size: 64, lr: 0.05}
compute: {device: cpu, workers: 1}
"""
BOARD = """
networks:
- name: strange
  data: {name: digits, test: 200, calibration: 100, search: 100, limit: 400}
  model: {name: "netzwerk:build"}
  training: {epochs: 1}
criteria: [l1]
retraining: {epochs: 0.2, seeds: 1}
compute: {device: cpu, workers: 1}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a network, a space, a search in runs/mine and a leaderboard in runs/board, all made here."""
    place = tmp_path_factory.mktemp("made")
    (place / "netzwerk.py").write_text(NETWORK)
    (place / "space.yaml").write_text(SPACE)
    (place / "board.yaml").write_text(BOARD)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(sys, "path", list(sys.path))
        leave_out_reports(patch)
        for words in (
            ["search", "space.yaml", "--run-dir", "runs/mine"],
            ["leaderboard", "board.yaml", "--run-dir", "runs/board"],
        ):
            found = CliRunner().invoke(app, [*words, "-q"])
            assert found.exit_code == 0, found.output
        yield place
    sys.modules.pop("netzwerk", None)


@pytest.fixture
def here(made, monkeypatch, tmp_path) -> Path:
    """A copy of it; that the network was built shows in a file."""
    place = shutil.copytree(made, tmp_path / "here")
    (place / "it ran").unlink(missing_ok=True)
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return place


@pytest.fixture
def elsewhere(here, monkeypatch, tmp_path) -> Path:
    """The same, seen by another user."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    return here


WORDS = [
    ["export", "runs/mine", "--to", "state_dict"],
    ["benchmark", "runs/mine", "--runtime", "torch", "--batch", "1"],
    ["validate", "runs/mine/space.yaml"],
    ["train", "runs/mine/space.yaml", "--run-dir", "new"],
    ["search", "runs/mine/space.yaml", "--run-dir", "runs/mine", "--resume"],
    ["review", "runs/mine/space.yaml", "--run-dir", "runs/mine", "--resume"],
    ["leaderboard", "runs/board/board.yaml", "--run-dir", "runs/board", "--resume"],
    ["explain", "runs/mine"],
]


def run(words, code):
    found = CliRunner().invoke(app, [*words, "-q"])
    assert found.exit_code == code, (found.output, found.exception)
    return found.stderr.strip()


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Open pages without serving them, read networks without writing them, leave out the reports of searches."""
    from blendsearch.campaigns.export.run import FORMATS, Format
    from blendsearch.campaigns.export.written import Written

    def write(subject, path):
        return Written(files=(Path(__file__),), difference=0.0, largest_output=1.0, checked="nobody")

    monkeypatch.setattr("blendsearch.review.serving.serve", lambda review, port, tell: None)
    monkeypatch.setitem(FORMATS, "state_dict", Format(write, ""))
    leave_out_reports(monkeypatch)


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words[0])
def test_somebodys_code_is_run_when_asked_to_and_not_before(elsewhere, words):
    line = run(words, 2)
    assert line.startswith("runs/")
    assert "its network is netzwerk:build, code that this command would run" in line
    assert "--trust-code" in line
    assert not (elsewhere / "it ran").exists()
    run([*words, "--trust-code"], 0)
    assert (elsewhere / "it ran").exists()


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words[0])
def test_code_of_a_folder_that_was_made_here_is_run(here, words):
    run(words, 0)
    assert (here / "it ran").exists()


def test_what_does_not_run_code_asks_for_nothing(elsewhere):
    run(["report", "runs/mine"], 0)
    run(["report", "runs/board"], 0)
    shutil.copytree("runs/mine", "runs/other")
    run(["compare", "runs/mine", "runs/other"], 0)
    run(["validate", "--quick", "runs/mine/space.yaml"], 0)
    run(["train", "runs/mine/space.yaml", "model.name=conv4", "model.arguments={}", "--run-dir", "plain"], 0)
    assert not (elsewhere / "it ran").exists()


def test_a_space_that_the_user_wrote_asks_for_nothing(elsewhere):
    run(["search", "space.yaml", "--run-dir", "runs/mine", "--resume"], 0)
    run(["export", "runs/mine", "--to", "state_dict"], 0)  # it is this user's from now on


def test_own_changes_of_a_folder_that_was_made_here_ask_for_nothing(here):
    run(["train", "runs/mine/space.yaml", "model.arguments.width=7", "--run-dir", "wider"], 0)


@pytest.mark.parametrize("file", ["space.json", "model.json", "space.yaml", "job.json"])
def test_a_mark_is_of_the_code_that_it_was_made_for(here, file):
    path = here / "runs/mine" / file
    text = path.read_text()
    if file == "job.json":
        path.write_text(json.dumps({**json.loads(text), "mark": "0" * 64}))
    else:
        path.write_text(text.replace('"width": 6', '"width": 5').replace("width: 6", "width: 5"))
    assert path.read_text() != text
    words = {"space.json": ["explain"], "model.json": ["export", "--to", "state_dict"], "job.json": ["explain"]}.get(
        file
    )
    line = run([*words, "runs/mine"] if words else ["validate", "runs/mine/space.yaml"], 2)
    assert "--trust-code" in line
    assert not (here / "it ran").exists()


def test_in_python_it_is_an_argument(elsewhere):
    for call in (
        lambda **more: blendsearch.load("runs/mine", **more),
        lambda **more: open_decision(Path("runs/mine"), **more),
    ):
        with pytest.raises(RunError, match=r"trust_code=True"):
            call()
        assert not (elsewhere / "it ran").exists()
        call(trust_code=True)
        (elsewhere / "it ran").unlink()
    sys.path.append(str(elsewhere))
    from netzwerk import build

    model = build(10, 1, 6)
    assert not blendsearch.load("runs/mine", model=model).training


def test_the_key_is_the_users_alone_and_made_for_own_code_only(here, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "fresh"))
    run(["train", "space.yaml", "model.name=conv4", "--run-dir", "plain"], 0)
    assert not key_file().exists()
    run(["train", "space.yaml", "--run-dir", "own"], 0)
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert len(key_file().read_bytes()) == 32
    assert [file.name for file in key_file().parent.iterdir()] == ["key"]


def test_without_a_home_folders_are_not_marked_and_the_run_goes_on(here, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    run(["train", "space.yaml", "--run-dir", "own"], 0)
    assert "mark" not in json.loads((here / "own/job.json").read_text())
    assert "--trust-code" in run(["export", "own", "--to", "state_dict"], 2)
