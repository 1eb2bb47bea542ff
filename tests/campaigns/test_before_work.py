"""What is wrong is told before a folder is made, and what a run has read is not needed again."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from blendsearch.blending import Blend
from blendsearch.campaigns.audit.run import run_audit
from blendsearch.campaigns.leaderboard.run import run_leaderboard
from blendsearch.campaigns.search.run import run_search
from blendsearch.campaigns.single import run_prune
from blendsearch.campaigns.transfer.run import run_transfer
from blendsearch.cli import app
from blendsearch.errors import BlendsearchError, ConfigError, RunError
from blendsearch.validation.board import checked_board_from_dict, load_checked_board
from blendsearch.validation.space import checked_from_dict, load_checked

TINY = {
    "name": "tiny",
    "data": {"name": "digits", "test": 200, "calibration": 100, "search": 100, "limit": 300},
    "model": {"name": "conv4", "arguments": {"width": 6}},
    "training": {"epochs": 1, "batch_size": 64, "lr": 0.1},
    "criteria": ["l1", "taylor", "subjective"],
    "budget": {"flops": 0.4},
    "blend": {"unit": "network"},
    "clusters": {"count": 2},
    "proxy": {"name": "bn_recalibrated", "images": 50},
    "search": {"population": 4, "generations": 0, "random_search": False},
    "retraining": {"epochs": 0.3, "batch_size": 64, "lr": 0.05},
    "compute": {"device": "cpu", "workers": 1},
}
RATINGS = {"schema": 1, "groups": {"conv1": {"0": "keep"}}}


WITHOUT_BATCH_NORM = {"model": {"name": "plain_network_of_a_test:make"}}
PLAIN_CODE = """
from torch import nn


def make(num_classes):
    middle = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*middle, nn.Flatten(), nn.Linear(4, num_classes))
"""


@pytest.fixture
def plain_network(tmp_path, monkeypatch):
    """Make the network of WITHOUT_BATCH_NORM known."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "plain_network_of_a_test.py").write_text(PLAIN_CODE)


def tiny(**changes):
    return checked_from_dict({**TINY, **changes}, resumed=True)  # files are for the jobs to look at


def test_the_interface_tells_spaces_from_boards(tmp_path):
    (tmp_path / "space.yaml").write_text(tiny(criteria=["l1"], clusters={"count": 1}).to_yaml())
    (tmp_path / "board.yaml").write_text("networks: []\n")
    with pytest.raises(ConfigError, match=r"^\S+board\.yaml: a board .* 'blendsearch leaderboard' takes boards$"):
        load_checked(tmp_path / "board.yaml")
    with pytest.raises(ConfigError, match=r"^\S+space\.yaml: a space .* 'blendsearch search' and other commands "):
        load_checked_board(tmp_path / "space.yaml")


@pytest.mark.parametrize("job", [run_search, run_audit, lambda space, folder: run_prune(space, "l1", folder)])
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ratings": {"file": "nowhere.json"}}, "nowhere.json"),
        ({"criteria": ["l1", "bn_scale"], **WITHOUT_BATCH_NORM}, "criteria: 'bn_scale': "),
    ],
)
def test_a_job_that_cannot_begin_leaves_no_folder(job, changes, told, tmp_path, plain_network):
    space = tiny(**{"criteria": ["l1", "taylor"], **changes})
    with pytest.raises(BlendsearchError, match=told):
        job(space, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("by", "changes"), [("l1", {"allocation": "evolved"}), ("subjective", {}), ("thinet.json", {})]
)
def test_a_pruning_that_its_criterion_cannot_begin_leaves_no_folder(by, changes, tmp_path):
    with pytest.raises(BlendsearchError) as caught:
        run_prune(tiny(criteria=["l1", "taylor"], **changes), by, tmp_path / "run")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("unreported")
def test_a_search_goes_on_without_the_files_it_started_from(tmp_path):
    file = tmp_path / "given.json"
    Blend("network", {"network": {"l1": 1.0, "taylor": 0.5}}).save(file)
    space = tiny(criteria=["l1", "taylor"], search={**TINY["search"], "start_from": [str(file)]})
    first = run_search(space, tmp_path / "run")
    file.unlink()
    with pytest.raises(ConfigError, match=r"search\.start_from"):
        run_search(space, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert run_search(space, tmp_path / "run", resume=True).blend == first.blend
    (tmp_path / "space.yaml").write_text(space.to_yaml())
    load_checked(tmp_path / "space.yaml", resumed=True)
    with pytest.raises(ConfigError, match=r"search\.start_from"):
        load_checked(tmp_path / "space.yaml")


def test_a_pruning_does_not_go_on_by_a_blend_or_marks_that_have_changed(tmp_path):
    file, marks = tmp_path / "given.json", tmp_path / "ratings.json"
    Blend("network", {"network": {"l1": 1.0, "subjective": 0.5}}).save(file)
    marks.write_text(json.dumps(RATINGS))
    space = tiny(ratings=str(marks))
    run_prune(space, str(file), tmp_path / "run")
    run_prune(space, str(file), tmp_path / "run", resume=True)
    marks.write_text(json.dumps({"schema": 1, "groups": {"conv1": {"0": "drop"}}}))
    with pytest.raises(RunError, match="the file of ratings has changed"):
        run_prune(space, str(file), tmp_path / "run", resume=True)
    marks.write_text(json.dumps(RATINGS))
    Blend("network", {"network": {"taylor": 1.0}}).save(file)
    with pytest.raises(RunError, match="the file of --by has changed"):
        run_prune(space, str(file), tmp_path / "run", resume=True)


def test_validate_reads_the_ratings_and_prints_nothing_when_quiet(tmp_path):
    (tmp_path / "space.yaml").write_text(tiny(criteria=["l1"], clusters={"count": 1}).to_yaml())
    marks = tmp_path / "[" / "odd] ratings.json"  # with what looks like a closing tag of markup
    marks.parent.mkdir()
    marks.write_text(json.dumps(RATINGS))
    typed = ["validate", str(tmp_path / "space.yaml"), "--quiet"]
    fine = CliRunner().invoke(app, [*typed, f"ratings='{marks}'"])
    assert (fine.exit_code, fine.output) == (0, "")
    marks.write_text("[]")
    wrong = CliRunner().invoke(app, [*typed, f"ratings='{marks}'"])
    assert wrong.exit_code == 2
    assert "ratings" in wrong.output


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"compensation": {"images": 10_000}}, r"^networks: 'small': compensation\.images: 10000 given, at most "),
        ({"reconstruction": {"images": 10_000}}, r"^networks: 'small': reconstruction\.images: 10000 given, at most "),
        ({"criteria": ["l1", "bn_scale"], **WITHOUT_BATCH_NORM}, r"^networks: 'small': criteria: 'bn_scale': "),
        ({"blends": ["rank.json"], **WITHOUT_BATCH_NORM}, r"^networks: 'small': rank: 'bn_scale': "),
    ],
)
def test_a_board_that_cannot_retrain_or_score_trains_nothing(changes, told, tmp_path, monkeypatch, plain_network):
    monkeypatch.chdir(tmp_path)
    Blend.mean_of_ranks(["l1", "bn_scale"]).save(tmp_path / "rank.json")
    network = {"name": "small", **{key: changes.get(key, TINY[key]) for key in ("data", "model", "training")}}
    rest = {key: value for key, value in changes.items() if key not in network}
    given = {"name": "board", "networks": [network], "criteria": ["l1"], "budgets": [TINY["budget"]]}
    board = checked_board_from_dict({**given, "retraining": TINY["retraining"], "compute": TINY["compute"], **rest})
    with pytest.raises(BlendsearchError, match=told):
        run_leaderboard(board, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", ["compensation", "reconstruction"])
def test_a_transfer_that_cannot_retrain_in_its_last_space_does_nothing_in_the_first(key, tmp_path):
    two = {"criteria": ["l1", "taylor"]}
    spaces = [tiny(**two), tiny(name="other", **two, **{key: {"images": 10_000}})]
    with pytest.raises(BlendsearchError, match=rf"^other: {key}\.images: 10000 given, at most "):
        run_transfer(Blend.mean_of_ranks(["l1", "l2"]), spaces, tmp_path / "run", searches=False)
    assert not (tmp_path / "run").exists()
