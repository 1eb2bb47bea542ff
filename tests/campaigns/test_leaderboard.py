"""A whole leaderboard on digits, tiny: its tables agree, it resumes and grows cell by cell, and errors are plain."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from statistics import fmean
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from torch import nn
from typer.testing import CliRunner

import blendsearch
from blendsearch import compute
from blendsearch.blending import Blend
from blendsearch.campaigns.leaderboard import run as module
from blendsearch.campaigns.leaderboard.run import run_leaderboard
from blendsearch.campaigns.leaderboard.sharing import Alone, Shared
from blendsearch.campaigns.single import run_train
from blendsearch.cli import app
from blendsearch.config import space_from_dict
from blendsearch.criteria import CRITERIA
from blendsearch.errors import BlendsearchError, BudgetError, ConfigError, RunError, TrainingError
from blendsearch.reports.report import write_report
from blendsearch.results.ranking import friedman, mean_ranks
from blendsearch.results.run_folder import RunFolder
from blendsearch.validation.board import checked_board_from_dict

NETWORK = {
    "name": "small",
    "data": {"name": "digits", "test": 200, "calibration": 100, "search": 100, "limit": 300},
    "model": {"name": "conv4", "arguments": {"width": 8}},
    "training": {"epochs": 2, "batch_size": 64, "lr": 0.1},
}
TINY = {
    "name": "tiny",
    "networks": [NETWORK],
    "criteria": ["l1", "taylor"],
    "budgets": [{"flops": 0.5}, {"flops": 0.3}],
    "retraining": {"epochs": 0.5, "batch_size": 64, "lr": 0.05, "seeds": 2},
    "compute": {"device": "cpu", "workers": 1},
}


def tiny(**changes):
    return checked_board_from_dict({**TINY, **changes})


def files(folder):
    return {file.name: file.read_bytes() for file in (folder / "cells").iterdir()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_leaderboard(tiny(criteria=["l1", "taylor", "random"]), tmp_path_factory.mktemp("run") / "tiny")


@pytest.fixture
def rows(finished):
    with (finished.run_dir / "leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_combination_has_a_cell_whose_file_holds_its_numbers(finished, rows):
    assert finished.cells_run == len(rows) == 3 * 2 * 2
    assert {(row["criterion"], row["budget"], row["seed"]) for row in rows} == {
        (name, budget, seed) for name in ("l1", "taylor", "random") for budget in ("0.5", "0.3") for seed in "01"
    }
    for row in rows:
        cell = json.loads((finished.run_dir / row["file"]).read_text())
        assert (cell["criterion"], str(cell["seed"])) == (row["criterion"], row["seed"])
        assert cell["budget"]["flops"] == float(row["budget"])
        for key in ("test_accuracy", "search_accuracy", "flops_ratio", "params_ratio", "steps"):
            assert cell["result"][key] == float(row[key])
        assert cell["result"]["flops_ratio"] <= cell["budget"]["flops"]
    assert len({row["steps"] for row in rows}) == 1


def test_json_agrees_with_csv(finished, rows):
    summary = finished.summary
    assert json.loads((finished.run_dir / "leaderboard.json").read_text()) == summary.to_dict()
    for column in summary.columns:
        own = [row for row in rows if float(row["budget"]) == column.budget]
        for name, result in column.results.items():
            values = [float(row["test_accuracy"]) for row in own if row["criterion"] == name]
            assert values == result.values
            assert result.mean == pytest.approx(fmean(values))
    for one in summary.criteria:
        values = [float(row["test_accuracy"]) for row in rows if row["criterion"] == one.name]
        assert one.mean == pytest.approx(fmean(values))
        assert one.wins + one.ties + one.losses == 4 * 2
        if one.interval is None:  # the same mean with either seed: no spread is seen
            own = [row for row in rows if row["criterion"] == one.name]
            means = [fmean(float(row["test_accuracy"]) for row in own if row["seed"] == seed) for seed in "01"]
            assert means[0] == pytest.approx(means[1])
        else:
            assert one.interval[0] <= one.mean <= one.interval[1]
    table = np.array(
        [
            [
                float(row["test_accuracy"])
                for name in summary.ranked
                for row in rows
                if (row["criterion"], row["budget"], row["seed"]) == (name, budget, seed)
            ]
            for budget in ("0.5", "0.3")
            for seed in "01"
        ]
    )
    assert summary.ranks == pytest.approx(mean_ranks(table))
    assert summary.ranks == sorted(summary.ranks)
    test = friedman(table)
    assert (summary.test is None) == (test is None)
    if test is not None:
        assert summary.test.p == pytest.approx(test.p)


def test_markdown_and_page_show_the_same_numbers(finished):
    markdown = (finished.run_dir / "leaderboard.md").read_text()
    page = (finished.run_dir / "leaderboard.html").read_text()
    for one in finished.summary.criteria:
        assert f"| {one.name} | {one.rank:.2f} | {100 * one.mean:.2f} |" in markdown
        assert f'data-v="{one.mean}" class="main">{100 * one.mean:.2f} %' in page
    for column in finished.summary.columns:
        for result in column.results.values():
            assert all(f'<a href="{file}">' in page for file in result.files)
    assert finished.report == finished.run_dir / "leaderboard.html"
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)  # nothing is loaded from elsewhere
    assert "<script src" not in page
    assert "addEventListener" in page
    before = page
    write_report(finished.run_dir)
    assert (finished.run_dir / "leaderboard.html").read_text() == before


def test_resume_runs_only_what_is_missing(finished, unreported):
    before = files(finished.run_dir)
    removed = sorted(before)[:2]
    for name in removed:
        (finished.run_dir / "cells" / name).unlink()
    again = run_leaderboard(tiny(criteria=["l1", "taylor", "random"]), finished.run_dir, resume=True)
    assert again.cells_run == 2
    after = files(finished.run_dir)
    assert sorted(after) == sorted(before)
    assert all(after[name] == before[name] for name in before if name not in removed)
    for name in removed:
        old, new = (json.loads(content[name])["result"] for content in (before, after))
        assert {**old, "seconds": 0} == {**new, "seconds": 0}


def test_a_board_grows_by_a_criterion_a_seed_and_a_blend_at_the_cost_of_the_new_cells(tmp_path, unreported):
    run, small = tmp_path / "run", {"budgets": [{"flops": 0.5}]}
    assert run_leaderboard(tiny(**small), run).cells_run == 2 * 2
    before = files(run)
    grown = run_leaderboard(tiny(**small, criteria=["l1", "taylor", "l2"]), run, resume=True)
    assert grown.cells_run == 2
    assert {one.name for one in grown.summary.criteria} == {"l1", "taylor", "l2"}
    assert before.items() <= files(run).items()
    blend = Blend("network", {"network": {"l1": 1.0, "apoz": 0.5}})
    blend.save(tmp_path / "mix.json")
    blends = {"blends": [{"file": str(tmp_path / "mix.json")}], "criteria": ["l1", "taylor"]}
    longer = {**TINY["retraining"], "seeds": 3}
    last = run_leaderboard(tiny(**small, **blends, retraining=longer), run, resume=True)
    assert last.cells_run == 3 + 2  # the blend with three seeds, and the third seed of two criteria
    assert {one.name: one.kind for one in last.summary.criteria} == {
        "l1": "criterion", "taylor": "criterion", "mix": "blend",
    }  # fmt: skip
    Blend("network", {"network": {"l1": 0.5, "apoz": 1.0}}).save(tmp_path / "mix.json")
    assert run_leaderboard(tiny(**small, **blends, retraining=longer), run, resume=True).cells_run == 3
    assert run_leaderboard(tiny(**small, **blends, retraining=longer), run, resume=True).cells_run == 0


def test_a_killed_board_goes_on_to_the_same_result(tmp_path, monkeypatch, finished, unreported):
    board, real, count = tiny(criteria=["l1", "taylor", "random"]), module.retrain_cell, 0

    def killed(setups, cell):
        nonlocal count
        count += 1
        if count > 5:
            raise KeyboardInterrupt
        return real(setups, cell)

    monkeypatch.setattr(module, "retrain_cell", killed)
    with pytest.raises(KeyboardInterrupt):
        run_leaderboard(board, tmp_path / "run")
    assert len(files(tmp_path / "run")) == 5
    monkeypatch.setattr(module, "retrain_cell", real)
    result = run_leaderboard(board, tmp_path / "run", resume=True)
    assert result.cells_run == 12 - 5
    assert result.summary.ranks == finished.summary.ranks
    assert sorted(files(tmp_path / "run")) == sorted(files(finished.run_dir))


def test_two_networks_two_allocations_and_two_schedules_from_python(tmp_path):
    other = {**NETWORK, "name": "wide", "model": {"name": "conv4", "arguments": {"width": 12}}}
    board = {
        **TINY, "networks": [NETWORK, other], "budgets": [{"flops": 0.5}],
        "allocations": ["uniform", {"name": "global_threshold", "normalisation": "max"}],
        "schedules": ["one_shot", {"name": "iterative", "steps": 2}],
        "retraining": {**TINY["retraining"], "epochs": 0.8, "seeds": 1},
    }  # fmt: skip
    result = blendsearch.leaderboard(board, run_dir=tmp_path / "run")
    assert result.cells_run == 2 * 2 * 2 * 2
    assert [network.name for network in result.summary.networks] == ["small", "wide"]
    assert result.summary.blocks == 8
    assert set(result.summary.agreement) == {"small", "wide"}
    assert {one.interval for one in result.summary.criteria} == {None}
    page = result.report.read_text()
    assert all(f'data-by="{what}"' in page for what in ("network", "allocation", "schedule"))
    assert 'data-by="budget"' not in page
    assert "needs at least three criteria" in page  # no diagram of two


def test_a_criterion_that_does_not_apply_is_left_out_of_all_and_an_error_by_name(tmp_path, unreported, monkeypatch):
    monkeypatch.setitem(sys.modules, "no_norms", SimpleNamespace(plain=plain))
    board = {"networks": [{**NETWORK, "model": {"name": "no_norms:plain"}}], "budgets": [{"filters": 0.5}]}
    with pytest.raises(BlendsearchError, match="criteria: 'bn_scale': group '0' has no batch norm"):
        run_leaderboard(tiny(**board, criteria=["l1", "bn_scale"]), tmp_path / "named")
    blend = Blend("network", {"network": {"l1": 1.0, "bn_scale": 0.5}})
    blend.save(tmp_path / "mix.json")
    with pytest.raises(BlendsearchError, match="networks: 'small': mix: 'bn_scale': group '0' has no batch norm"):
        run_leaderboard(tiny(**board, blends=[str(tmp_path / "mix.json")]), tmp_path / "blend")
    monkeypatch.setattr(CRITERIA, "names", lambda: ["bn_scale", "l1", "l2"])
    both = {"networks": [NETWORK, {**board["networks"][0], "name": "plain"}], "budgets": [{"filters": 0.5}]}
    once = {"retraining": {**TINY["retraining"], "epochs": 0.1, "seeds": 1}}
    summary = run_leaderboard(tiny(**both, **once, criteria="all"), tmp_path / "all").summary
    assert list(summary.networks[1].left_out) == ["bn_scale"]
    assert {one.name: (one.rank is None, one.columns) for one in summary.criteria} == {
        "l1": (False, 2), "l2": (False, 2), "bn_scale": (True, 1),
    }  # fmt: skip


def plain(num_classes, in_channels, image_size):
    """Return a network without batch norm."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )  # fmt: skip


def test_a_killed_board_leaves_no_checkpoints_behind(tmp_path, finished, unreported):
    shutil.copytree(finished.run_dir, tmp_path / "run")
    (network,) = (tmp_path / "run/networks").iterdir()
    cells = [file.stem for file in (tmp_path / "run/cells").iterdir()]
    cells.append("of-a-cell-that-is-on-the-board-no-more")
    left = [network / "checkpoints/baseline.pt", *(tmp_path / f"run/checkpoints/{cell}/x.pt" for cell in cells)]
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    run_leaderboard(tiny(criteria=["l1", "taylor", "random"]), tmp_path / "run", resume=True)
    assert not any(file.exists() for file in left)


def test_a_board_killed_before_it_was_noted_is_begun(tmp_path, unreported):
    folder = tmp_path / "run"
    (folder / ".probe-999999-abc").mkdir(parents=True)
    (folder / ".job.json.999999.part").touch()
    result = run_leaderboard(tiny(budgets=[{"flops": 0.5}], criteria=["l1"]), folder, resume=True)
    assert result.cells_run == 2
    assert "swept" in (folder / "events.jsonl").read_text()


def test_a_resumed_board_keeps_the_precision_that_it_found_first(tmp_path, monkeypatch, unreported):
    board = tiny(budgets=[{"flops": 0.5}], criteria=["l1"], compute={**TINY["compute"], "precision": "auto"})
    monkeypatch.setattr(compute, "speed_of_bfloat16", lambda kind: 1.1)
    assert run_leaderboard(board, tmp_path / "run").cells_run == 2
    monkeypatch.setattr(compute, "speed_of_bfloat16", lambda kind: 1.3)
    assert run_leaderboard(board, tmp_path / "run", resume=True).cells_run == 0
    assert len(list((tmp_path / "run/networks").iterdir())) == 1


class Ledger:
    """Stands for claims: the first who says something is right."""

    def __init__(self):
        self.said = {}

    def agree(self, name, result):
        return self.said.setdefault(name, result)


def test_processes_that_share_a_board_run_it_in_one_precision(tmp_path):
    ledger, folders = Ledger(), [RunFolder(tmp_path / name) for name in "abc"]
    shares = [Shared(ledger, folder) for folder in folders]
    assert [one.precision("cpu", found) for one, found in zip(shares, ("float32", "bfloat16"), strict=False)] == [
        "float32"
    ] * 2
    assert Alone(folders[1]).precision("cpu", "bfloat16") == "float32", "also where it goes on by itself"
    assert Shared(Ledger(), folders[0]).precision("cpu", "bfloat16") == "float32", "and over another ledger"
    assert shares[0].precision("cuda", "bfloat16") == "bfloat16"
    folders[2].write_json("networks/small-1/network.json", {"compute": {"device": "cuda", "precision": "float16"}})
    folders[2].write_json("networks/small-2/network.json", {"compute": {"device": "cpu", "precision": "bfloat16"}})
    assert Alone(folders[2]).precision("cpu", "float32") == "bfloat16", "as an earlier version noted it"


def test_the_page_is_written_by_who_comes_after_one_that_died(tmp_path, monkeypatch):
    board = tiny(budgets=[{"flops": 0.5}], criteria=["l1"])
    monkeypatch.setattr(Alone, "last_here", False)
    page = run_leaderboard(board, tmp_path / "run").report
    written = page.stat().st_mtime_ns
    run_leaderboard(board, tmp_path / "run", resume=True)
    assert page.stat().st_mtime_ns == written, "another is there, and nothing is newer than the page"
    grown = run_leaderboard(tiny(budgets=[{"flops": 0.5}], criteria=["l1", "l2"]), tmp_path / "run", resume=True)
    assert grown.report.stat().st_mtime_ns > written
    assert "l2" in grown.report.read_text()
    assert "l2" not in run_leaderboard(board, tmp_path / "run", resume=True).report.read_text(), "it has shrunk again"


def test_a_cell_that_cannot_be_trained_is_named(tmp_path, unreported):
    board = tiny(retraining={**TINY["retraining"], "lr": 1e30, "epochs": 2})
    with pytest.raises(
        TrainingError, match=r"^small, l1, uniform, flops 0.5, one_shot, seed 0: retraining: the loss is"
    ):
        run_leaderboard(board, tmp_path / "run")


def test_how_to_repeat_a_shared_board_leaves_its_ledger_out(finished, tmp_path):
    shutil.copytree(finished.run_dir, tmp_path / "run")
    with (tmp_path / "run/board.yaml").open() as file:
        board = yaml.safe_load(file)
    board["compute"]["precision"] = "auto"
    for ledger, words in ((None, "--run-dir again  "), ("sqlite:///x.db", "--run-dir again ledger=null  ")):
        (tmp_path / "run/board.yaml").write_text(yaml.safe_dump({**board, "ledger": ledger}))
        assert words in write_report(tmp_path / "run").read_text()
    (tmp_path / "run/records/precision-cpu.json").write_text('"bfloat16"')
    assert "--run-dir again ledger=null compute.precision=bfloat16  " in write_report(tmp_path / "run").read_text()


def test_folders_of_other_jobs_and_boards_are_left_alone(finished, tmp_path):
    with pytest.raises(RunError, match="already holds files"):
        run_leaderboard(tiny(), finished.run_dir)
    with pytest.raises(RunError, match="holds the board 'tiny', not 'other'"):
        run_leaderboard(tiny(name="other"), finished.run_dir, resume=True)
    space = space_from_dict(
        {**{key: NETWORK[key] for key in ("data", "model", "training")}, "name": "tiny",
         "budget": {"flops": 0.5}, "retraining": TINY["retraining"]}
    )  # fmt: skip
    with pytest.raises(RunError, match="made by 'blendsearch leaderboard'"):
        run_train(space, finished.run_dir, resume=True)
    run_train(space, tmp_path / "train")
    with pytest.raises(RunError, match="made by 'blendsearch train'"):
        run_leaderboard(tiny(), tmp_path / "train", resume=True)


def test_an_impossible_budget_leaves_no_folder(tmp_path):
    with pytest.raises(BudgetError, match="'small'"):
        run_leaderboard(tiny(budgets=[{"flops": 0.5}, {"flops": 0.001}]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"criteria": ["l1", "tailor"]}, "criteria.1: unknown criterion 'tailor'; did you mean 'taylor'?"),
        ({"allocations": ["uniform", "globl_threshold"]}, "allocations.1: unknown allocation 'globl_threshold'"),
        ({"allocations": [{"name": "uniform", "x": 1}]}, "allocations.0.x: unknown option of allocation 'uniform'"),
        ({"allocations": ["evolved"]}, "allocations.0: 'evolved' takes shares that a search found"),
        ({"schedules": [{"name": "iterative", "steps": 0}]}, "schedules.0.steps: 0 given, at least 1"),
        ({"schedules": ["repr"]}, "schedules.0: 'repr' trains the whole network and prunes nothing"),
        ({"networks": [{**NETWORK, "model": {"name": "conv5"}}]}, "networks.0.model.name: unknown model 'conv5'"),
        ({"networks": [NETWORK, NETWORK]}, "networks: given more than once: small"),
        ({"blends": ["none/blend.json"]}, "blends.0: none/blend.json: cannot read the blend"),
        ({"blends": [{"file": "x.json", "name": "l1"}]}, "blends.0: 'l1' is the name of a criterion"),
        ({"criteria": ["subjective"]}, "criteria.0: 'subjective' reads a ratings file"),
        ({"budget": {"flops": 0.5}}, "budget: unknown key"),
    ],
)
def test_mistakes_name_their_place(changes, expected):
    with pytest.raises(ConfigError) as error:
        tiny(**changes)
    assert any(expected in line for line in str(error.value).splitlines()), str(error.value)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Type a command in a folder that holds board.yaml; return what it printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "board.yaml").write_text(yaml.safe_dump({**TINY, "budgets": [{"flops": 0.5}]}, sort_keys=False))

    def typed(*words, code=0):
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.output

    return typed


def test_the_command_line_from_start_to_a_grown_board(run, tmp_path):
    printed = run("leaderboard", "board.yaml", "retraining.seeds=1")
    assert "leaderboard: runs/tiny/leaderboard.html" in printed
    assert "all 2 cells run" in printed
    assert "l1" in printed
    printed = run("leaderboard", "board.yaml", "retraining.seeds=1", "criteria=[l1, l2, taylor]", "--resume")
    assert "1 of 3 cells run, the others were there" in printed
    (tmp_path / "runs/tiny/leaderboard.html").unlink()
    assert "leaderboard.html" in run("report", "runs/tiny")
    assert "retraining:" in run("validate", "board.yaml")
    printed = run("leaderboard", "board.yaml", "networks.0.data.nam=x", code=2)
    assert "networks.0.data.nam: unknown key" in printed
    assert "did you mean 'name'?" in printed
    assert "board.yaml: a board (it has 'networks') given, a space expected" in run("search", "board.yaml", code=2)
