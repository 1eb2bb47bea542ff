"""Columns of a board: budgets that differ in an option are told apart, and seeds that repeat each other count once."""

from __future__ import annotations

import csv
import json

import pytest

from blendsearch.blending import Blend
from blendsearch.campaigns.leaderboard.run import run_leaderboard
from blendsearch.campaigns.leaderboard.summary import make_columns, make_standings, rank_criteria
from blendsearch.experiment import losses
from blendsearch.reports.pages.leaderboard import choices
from blendsearch.results.records.leaderboard import CellRow
from blendsearch.validation.board import checked_board_from_dict

NETWORK = {
    "name": "small",
    "data": {"name": "digits", "test": 100, "calibration": 50, "search": 50, "limit": 200},
    "model": {"name": "conv4", "arguments": {"width": 8}},
    "training": {"epochs": 1, "batch_size": 64, "lr": 0.1},
}
UNTRAINED = {
    "name": "tiny",
    "networks": [NETWORK],
    "criteria": ["l1", "taylor", "fpgm"],
    "budgets": [{"flops": 0.5}],
    "retraining": {"epochs": 0, "seeds": 1},
    "compute": {"device": "cpu", "workers": 1},
}


def untrained(**changes):
    return checked_board_from_dict({**UNTRAINED, **changes})


def test_columns_of_budgets_with_options_are_told_apart_in_all_that_is_written(tmp_path):
    options = {
        "": {},
        "round_to: 4": {"round_to": 4},
        "also: {params: 0.5}": {"also": {"params": 0.5}},
        "keep: {conv1: 0.75, conv2: [0.3, 0.9]}": {"keep": {"conv1": 0.75, "conv2": [0.3, 0.9]}},
        "min_keep: 0.2, round_to: 4": {"min_keep": 0.2, "round_to": 4},
        "latency_images: 2": {"latency_images": 2},
    }
    budgets = [{"flops": 0.5, **own} for own in options.values()]
    seeds = {"epochs": 0, "seeds": 2}
    result = run_leaderboard(untrained(criteria=["l1", "fpgm"], budgets=budgets, retraining=seeds), tmp_path / "run")
    columns = result.summary.columns
    assert [column.budget_options for column in columns] == list(options)
    assert {len(one.values) for column in columns for one in column.results.values()} == {2}
    names = ["50 % FLOPs", *(f"50 % FLOPs ({text})" for text in list(options)[1:])]
    assert choices(columns)["budget"] == names
    page, markdown = result.report.read_text(), (result.run_dir / "leaderboard.md").read_text()
    assert all(f"<option>{name}</option>" in page for name in names)
    assert "## small, uniform, 50 % of flops, one_shot\n" in markdown
    assert "## small, uniform, 50 % of flops (also: {params: 0.5}), one_shot\n" in markdown
    with (result.run_dir / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["budget_options"] for row in rows} == set(options)
    for row in rows:
        kept = json.loads((result.run_dir / row["file"]).read_text())["budget"]
        assert {key: kept[key] for key in options[row["budget_options"]]} == options[row["budget_options"]]


def row(criterion, seed, test, search, **changes):
    return CellRow(
        **{
            "network": "small", "model": "conv4", "data": "digits", "criterion": criterion, "kind": "criterion",
            "allocation": "uniform", "budget_kind": "flops", "budget": 0.5, "min_keep": 0.1, "schedule": "one_shot",
            "seed": seed, "test_accuracy": test, "search_accuracy": search, "unpruned_test_accuracy": 0.9,
            "flops_ratio": 0.5, "params_ratio": 0.5, "steps": 0, "retraining_seconds": 0.0, "scoring_seconds": 0.0,
            "file": "f", **changes,
        }
    )  # fmt: skip


def test_rows_of_earlier_versions_have_no_options():
    assert make_columns([row("l1", 0, 0.8, 0.8)])[0].budget_options == ""


def test_a_column_of_repeated_seeds_is_one_block_beside_one_of_different_seeds():
    same = [row(name, seed, 0.8 + 0.01 * at, 0.7) for at, name in enumerate("abc") for seed in range(4)]
    told = [row(name, seed, 0.8 + 0.01 * at, 0.7 + 0.01 * seed) for at, name in enumerate("abc") for seed in range(4)]
    trained = [one.model_copy(update={"budget": 0.3}) for one in told]
    rows = same + trained
    columns = make_columns(rows)
    assert [column.seeds_alike for column in columns] == [True, False]
    ranking = rank_criteria(rows, columns)
    assert ranking.blocks == 1 + 4
    assert ranking.wins[0] == [0, 5, 5]
    assert {one.wins for one in make_standings(rows, columns, ranking) if one.name == "c"} == {10}


@pytest.mark.parametrize(
    ("tests", "sentence"),
    [
        ({"a": [0.8, 0.7]}, "a stands alone, so there is nothing to rank."),
        ({"a": [0.8], "b": [0.8]}, "The 2 came to the same accuracy in the one block."),
        ({"a": [0.8, 0.7], "b": [0.8, 0.7], "c": [0.8, 0.7]}, "The 3 came to the same accuracy in every block."),
        ({"a": [0.8], "b": [0.7]}, "a has the best mean rank (1.0 of 2); too few results for a test."),
        (
            {"a": [0.7], "b": [0.8], "c": [0.8]},
            "b and c have the best mean rank (1.5 of 3); too few results for a test.",
        ),
        (
            {"a": [0.8, 0.7], "b": [0.7, 0.8], "c": [0.6, 0.6]},
            "No difference between the 3 is shown over 2 blocks (Friedman test, p = 0.22); a and b have the best mean "
            "rank, 1.5.",
        ),
        (
            {"a": [0.8, 0.7] * 5, "b": [0.7, 0.8] * 5, "c": [0.6, 0.6] * 5},
            "a and b rank first of 3 over 10 blocks alike, with a mean rank of 1.5.",
        ),
        (
            {"a": [0.8, 0.8] * 5, "b": [0.7, 0.7] * 5, "c": [0.6, 0.6] * 5},
            "a ranks first of 3 over 10 blocks, with a mean rank of 1.0; one other is within the critical difference "
            "of 1.0.",
        ),
    ],
)
def test_the_sentence_names_all_that_stand_first(tests, sentence):
    rows = [row(name, seed, test, 0.1 * seed) for name, own in tests.items() for seed, test in enumerate(own)]
    assert rank_criteria(rows, make_columns(rows)).sentence == sentence


def test_seeds_that_change_nothing_add_nothing_to_the_verdict(tmp_path, unreported):
    found = {}
    for seeds in (1, 5, 20):
        board = untrained(retraining={"epochs": 0, "seeds": seeds}, budgets=[{"flops": 0.5}, {"flops": 0.3}])
        result = run_leaderboard(board, tmp_path / "run", resume=seeds > 1)
        found[seeds] = result.summary
        notes = result.summary.notes
        markdown = (result.run_dir / "leaderboard.md").read_text()
        assert bool(notes) == (seeds > 1)
        assert all("every column all seeds gave the same" in note and note in markdown for note in notes)
    for key in ("sentence", "ranked", "ranks", "wins", "blocks", "test"):
        assert getattr(found[1], key) == getattr(found[5], key) == getattr(found[20], key), key
    assert found[20].blocks == 2
    for one, other in zip(found[1].criteria, found[20].criteria, strict=True):
        assert (one.name, one.wins, one.ties, one.losses) == (other.name, other.wins, other.ties, other.losses)
        assert one.interval is None
        assert other.interval is None
        assert other.mean == pytest.approx(one.mean)


def test_a_set_aware_blend_is_charged_for_its_drop_losses_also_after_a_resumption(tmp_path, unreported, monkeypatch):
    Blend("network", {"network": {"l1": 1.0}}).save(tmp_path / "plain.json")
    Blend("network", {"network": {"l1": 1.0}}, alpha={"network": 0.5}).save(tmp_path / "aware.json")
    board = untrained(criteria=["l1"], blends=[str(tmp_path / name) for name in ("plain.json", "aware.json")])

    def seconds():
        result = run_leaderboard(board, tmp_path / "run", resume=(tmp_path / "run").exists())
        return {one.name: one.scoring_seconds for one in result.summary.criteria}

    first = seconds()
    file = next((tmp_path / "run").glob("networks/*/losses.json"))
    taken = json.loads(file.read_text())["seconds"]
    assert taken > 0
    assert first["plain"] == first["l1"]
    assert first["aware"] == pytest.approx(first["l1"] + taken, abs=0.0011)
    kept = (file.parent / losses.LOSSES).read_bytes()
    file.unlink()  # as in a folder of an earlier version
    assert seconds()["aware"] > first["l1"]
    assert (file.parent / losses.LOSSES).read_bytes() == kept
    monkeypatch.setattr("blendsearch.campaigns.leaderboard.network.gather_losses", None)
    file.write_text(json.dumps({"seconds": 7.0}))
    assert seconds()["aware"] == pytest.approx(first["l1"] + 7)
