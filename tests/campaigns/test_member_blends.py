"""Found blends among the criteria of a campaign, and what comes of it used elsewhere."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_campaign import TINIER

from blendsearch.allocation import Budget
from blendsearch.allocation.uniform import Uniform
from blendsearch.blending import Blend
from blendsearch.campaigns.leaderboard.run import run_leaderboard
from blendsearch.campaigns.scores import Scores
from blendsearch.campaigns.search.run import run_search
from blendsearch.campaigns.single import run_prune, run_score
from blendsearch.campaigns.transfer.run import run_transfer
from blendsearch.config import space_from_dict
from blendsearch.errors import BlendsearchError, ConfigError
from blendsearch.experiment.contenders import Contender, with_members
from blendsearch.experiment.members import read_members
from blendsearch.results.run_folder import RunFolder
from blendsearch.validation.board import checked_board_from_dict
from blendsearch.validation.space import checked_from_dict

TINY = {**TINIER, "schedule": {"name": "iterative", "steps": 2}}
MIX = Blend("network", {"network": {"l1": 1.0, "apoz": 0.6}})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A campaign with the blend `mix` among its criteria; it starts from a blend with that as a member."""
    folder = tmp_path_factory.mktemp("members")
    MIX.save(folder / "mix.json")
    Blend("network", {"network": {"mix": 1.0, "taylor": 0.5}}).save(folder / "start.json")
    search = {**TINY["search"], "start_from": str(folder / "start.json")}
    space = checked_from_dict(
        {**TINY, "blends": [str(folder / "mix.json")], "search": search, "clusters": {"count": 3}}
    )
    return run_search(space, folder / "run")


@pytest.fixture(scope="module")
def outer(finished, tmp_path_factory):
    """The file that the campaign writes when `mix` is among the terms of its winner."""
    path = tmp_path_factory.mktemp("outer") / "outer.json"
    won = Blend("network", {"network": {"mix": 1.0, "taylor": 0.5}}, found_on=finished.blend.found_on)
    contender = Contender(won, Uniform(), 0.9, "blend", Budget("flops", 0.4))
    members = read_members(RunFolder(finished.run_dir))
    with_members({"blend": contender}, members)["blend"].blend.save(path)
    assert Blend.load(path).members == {"mix": MIX}
    return path


def test_a_blend_is_scored_clustered_retrained_and_compared_like_a_criterion(finished):
    assert set(finished.summary.criteria) == {"l1", "taylor", "mix"}
    clusters = json.loads((finished.run_dir / "records/clusters.json").read_text())
    assert sorted(name for part in clusters["members"]["network"] for name in part) == ["l1", "mix", "taylor"]
    assert "mix" in finished.summary.comparison.differences
    scores = load_file(finished.run_dir / "scores.safetensors")
    assert not any(name.startswith("apoz/") for name in scores)  # scored for mix, no criterion of the campaign
    record = json.loads((finished.run_dir / "records/blends.json").read_text())
    assert Blend.from_dict(record["mix"]["blend"]) == MIX
    assert record["mix"]["rule"].startswith("one blend for the whole network")
    assert (finished.run_dir / "report.html").stat().st_size > 0


def test_the_found_blend_holds_the_blends_among_its_terms(finished):
    found = Blend.load(finished.run_dir / "blend.json")
    assert set(found.members) == {name for name in found.terms if name == "mix"}
    assert set(found.criteria) <= {"l1", "taylor", "apoz"}


def test_the_blend_alone_is_retrained_as_prune_by_its_file_does(finished, tmp_path):
    MIX.save(tmp_path / "mix.json")
    result = run_prune(space_from_dict(TINY), str(tmp_path / "mix.json"), tmp_path / "run")
    entry = finished.summary.criteria["mix"]
    assert result.summary.pruned.test_accuracy == entry.test_accuracy


def test_a_blend_with_a_member_prunes_and_stands_on_boards_and_in_transfers(outer, tmp_path):
    space = space_from_dict(TINY)
    pruned = run_prune(space, str(outer), tmp_path / "prune").summary.pruned
    row = run_transfer(outer, [space], tmp_path / "transfer", searches=False).summary.spaces[0]
    assert row.transferred.test_accuracy == pruned.test_accuracy
    network = {"name": "small", **{key: TINY[key] for key in ("data", "model", "training")}}
    board = checked_board_from_dict(
        {"name": "tiny", "seed": 3, "networks": [network], "criteria": ["l1"], "blends": [str(outer)],
         "budgets": [{"flops": 0.4}], "schedules": [TINY["schedule"]], "retraining": TINY["retraining"],
         "compute": TINY["compute"]}
    )  # fmt: skip
    result = run_leaderboard(board, tmp_path / "board")
    values = {one.name: one.mean for one in result.summary.criteria}
    assert values["outer"] == pruned.test_accuracy


def test_a_score_job_lists_blends_as_such(finished, tmp_path):
    MIX.save(tmp_path / "mix.json")
    space = space_from_dict({**TINY, "blends": [{"file": str(tmp_path / "mix.json"), "name": "other"}]})
    rows = run_score(space, tmp_path / "run").summary.criteria
    assert {row.name: row.family for row in rows}["other"] == "blend"
    table = Scores.load(tmp_path / "run" / "scores.csv")
    assert set(table.scales["other"].values()) == {"score of a blend"}


@pytest.mark.parametrize(
    ("blend", "expected"),
    [
        ("none.json", "blends.0: none.json: cannot read the blend"),
        ({"file": "mix.json", "name": "l1"}, "blends.0: 'l1' is the name of a criterion; give another"),
        ({"file": "mix.json", "name": "uniform"}, "blends.0: 'uniform' is the name of an allocation; give another"),
        ({"file": "mix.json", "name": "random_search"}, "blends.0: 'random_search' is the name of what the campaign"),
        ({"file": "mix.json", "name": "blend"}, "blends.0: 'blend' is the name of what the campaign finds"),
        ({"file": "mix.json", "name": "a/b"}, "blends.0: the name 'a/b' cannot be used"),
        ({"file": "odd.json"}, "blends.0: odd.json blends criteria that are not registered: tailor"),
        ({"name": "x"}, "blends.0: missing key (allowed a file, or a mapping with file)"),
    ],
)
def test_mistakes_name_their_place(blend, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    MIX.save("mix.json")
    Blend.single("tailor").save("odd.json")
    with pytest.raises(ConfigError) as error:
        checked_from_dict({**TINY, "blends": [blend]})
    assert any(expected in line for line in str(error.value).splitlines()), str(error.value)


def test_a_blend_with_a_member_that_a_campaign_lacks_cannot_start_it(outer):
    search = {**TINY["search"], "start_from": str(outer)}
    with pytest.raises(ConfigError, match="has mix as a member, not among the campaign's blends"):
        checked_from_dict({**TINY, "search": search})


def test_a_blend_whose_criteria_do_not_apply_is_refused_before_training(tmp_path):
    Blend("network", {"network": {"l1": 1.0, "subjective": 0.6}}).save(tmp_path / "mix.json")
    space = space_from_dict({**TINY, "blends": [str(tmp_path / "mix.json")]})
    with pytest.raises(BlendsearchError, match="blends: 'mix': 'subjective': "):
        run_search(space, tmp_path / "run")
    assert not (tmp_path / "run/records/baseline.json").exists()


def test_scores_of_the_blend_are_those_of_its_criteria(finished):
    scores = load_file(finished.run_dir / "scores.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for name, tensor in scores.items() if name.startswith("mix/"))
