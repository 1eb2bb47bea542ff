"""`blendsearch compare`: campaigns on equal terms are paired, others are told apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean

import pytest
from safetensors.torch import load_file, save_file
from tiny_campaign import tiny_space
from typer.testing import CliRunner

from blendsearch.campaigns.compare import compare_runs
from blendsearch.campaigns.search.run import run_search
from blendsearch.cli.commands import app
from blendsearch.errors import RunError
from blendsearch.results.records.common import BudgetRecord


def tiny(**changes):
    twice = {"epochs": 0.5, "batch_size": 64, "lr": 0.05, "seeds": 2}
    return tiny_space({"random_search": False}, retraining=twice, **changes)


@pytest.fixture(scope="module")
def campaigns(tmp_path_factory, without_report):
    """The same campaign three times: as it is, with another blend unit, and at another budget."""
    root = tmp_path_factory.mktemp("runs")
    spaces = {
        "layers": tiny(),
        "network": tiny(blend={"unit": "network"}),
        "smaller": tiny(budget={"flops": 0.2}),
    }
    for name, space in spaces.items():
        run_search(space, root / name)
    return root


def blends(folder):
    records = json.loads((folder / "records/retrained.json").read_text())
    return [record["test_accuracy"] for record in sorted(records, key=lambda r: r["seed"]) if record["kind"] == "blend"]


def test_equal_terms_are_paired_by_seed(campaigns):
    found = compare_runs([campaigns / "layers", campaigns / "network"]).summary
    first, other = (blends(campaigns / name) for name in ("layers", "network"))
    (pair,) = found.pairs
    assert pair.seeds == 2
    assert pair.difference == pytest.approx(fmean(b - a for a, b in zip(first, other, strict=True)))
    assert found.unequal == {}
    assert [row.label for row in found.rows] == ["layers", "network"]  # of one name, so by folder
    assert found.settings == {"blend.unit": ["layer", "network"]}


def test_more_seeds_and_another_cache_are_no_other_terms(campaigns, tmp_path):
    folder = tmp_path / "network"
    shutil.copytree(campaigns / "network", folder)
    space = json.loads((folder / "space.json").read_text())
    space["retraining"]["seeds"], space["data"]["cache"] = 1, False
    (folder / "space.json").write_text(json.dumps(space))
    rows = json.loads((folder / "records/retrained.json").read_text())
    (folder / "records/retrained.json").write_text(json.dumps([row for row in rows if row["seed"] == 0]))
    found = compare_runs([campaigns / "layers", folder]).summary
    assert found.unequal == {}
    assert [pair.seeds for pair in found.pairs] == [1]
    assert found.pairs[0].difference == pytest.approx(blends(folder)[0] - blends(campaigns / "layers")[0])
    assert {"retraining.seeds", "data.cache"} <= found.settings.keys()


def test_other_terms_are_not_compared_but_named(campaigns):
    found = compare_runs([campaigns / "layers", campaigns / "smaller"]).summary
    assert found.pairs == []
    assert found.unequal == {"smaller": ["budget.flops"]}


def changed(folder, file, **keys):
    data = json.loads((folder / file).read_text())
    for key, value in keys.items():
        part, _, name = key.rpartition("__")
        (data[part] if part else data)[name] = value
    (folder / file).write_text(json.dumps(data))


def test_folders_of_one_name_are_each_held_against_the_first(campaigns, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [Path(name) / "run" for name in "abc"]
    for run in runs:
        shutil.copytree(campaigns / "layers", run)
    changed(runs[1], "space.json", retraining__epochs=7)
    found = compare_runs(runs).summary
    assert [row.label for row in found.rows] == ["a/run", "b/run", "c/run"]
    assert found.unequal == {"b/run": ["retraining.epochs"]}
    assert [pair.other for pair in found.pairs] == ["c/run"]


@pytest.mark.parametrize("known_by", ["untrained", "given", "code", "weights"])
def test_another_network_under_the_same_settings_is_not_on_equal_terms(campaigns, tmp_path, known_by):
    runs = [tmp_path / "one", tmp_path / "other"]
    for number, run in enumerate(runs):
        shutil.copytree(campaigns / "layers", run)
        if known_by == "untrained":
            changed(run, "space.json", training__epochs=0)
        elif known_by == "given":
            changed(run, "job.json", given={"model": f"{number}", "data": "the same"})
        else:
            changed(run, "job.json", **{known_by: f"{number}"})
    if known_by == "untrained":
        assert compare_runs(runs).summary.unequal == {}
        weights = load_file(runs[1] / "baseline.safetensors")
        save_file({name: tensor + 1 for name, tensor in weights.items()}, runs[1] / "baseline.safetensors")
    found = compare_runs(runs).summary
    assert found.unequal == {"other": ["model (another network under the same settings)"]}
    assert found.pairs == []


def test_what_is_trained_and_measured_by_must_be_the_same(campaigns, tmp_path):
    runs = [tmp_path / "one", tmp_path / "other"]
    for number, run in enumerate(runs):
        shutil.copytree(campaigns / "layers", run)
        changed(run, "job.json", functions={"train_fn": f"{number}", "loss": "the same"})
    changed(runs[1], "summary.json", metric="mine")
    assert compare_runs(runs).summary.unequal == {"other": ["metric", "train_fn (other code)"]}


def test_a_network_trained_anew_is_on_equal_terms(campaigns, tmp_path):
    shutil.copytree(campaigns / "layers", tmp_path / "other")
    weights = load_file(tmp_path / "other/baseline.safetensors")
    save_file({name: tensor * 1.0001 for name, tensor in weights.items()}, tmp_path / "other/baseline.safetensors")
    assert compare_runs([campaigns / "layers", tmp_path / "other"]).summary.unequal == {}


def test_rows_are_the_summaries(campaigns):
    summary = json.loads((campaigns / "smaller/summary.json").read_text())
    row = compare_runs([campaigns / "layers", campaigns / "smaller"]).summary.rows[1]
    best = summary["comparison"]["best_criterion"]
    assert row.blend == summary["blend"]["test_accuracy"]
    assert row.best == summary["criteria"][best]["test_accuracy"]
    assert row.verdict == summary["comparison"]["verdict"]
    assert row.budget == BudgetRecord(kind="flops", ratio=0.2)


def test_the_command_prints_and_writes_a_page_without_scripts(campaigns, tmp_path):
    page = tmp_path / "compared.html"
    runs = [str(campaigns / name) for name in ("layers", "network", "smaller")]
    result = CliRunner().invoke(app, ["compare", *runs, "--page", str(page)])
    assert result.exit_code == 0, result.output
    assert "2 paired seeds" in result.output
    assert "not on equal terms with layers" in result.output
    text = page.read_text()
    assert "<svg" not in text.split("<figure")[0]
    assert "data:image/svg+xml" in text
    assert "<script" not in text
    assert "budget.flops" in text


def test_the_same_space_twice_is_said_to_be_the_same(campaigns, tmp_path):
    shutil.copytree(campaigns / "layers", tmp_path / "again")
    page = tmp_path / "compared.HTML"
    result = CliRunner().invoke(
        app, ["compare", str(campaigns / "layers"), str(tmp_path / "again"), "--page", str(page)]
    )
    assert result.exit_code == 0, result.output
    assert "\ntheir spaces are the same, names aside\n" in result.output
    assert "where their spaces differ" not in result.output
    assert "Nowhere: the spaces are the same, names aside." in page.read_text()


def test_a_page_in_no_folder_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "runs").mkdir()
    for page, words in {
        "some/missing/page.html": "there is no folder some/missing for the page; make it first or name another file",
        "file/page.html": "there is no folder file for the page; make it first or name another file",
        "runs/summary.json": "is no name for a page; it must end in .html or .htm",
        "page": "is no name for a page; it must end in .html or .htm",
        "runs": "is a folder; name a file for the page, such as runs/compared.html",
    }.items():
        result = CliRunner().invoke(app, ["compare", "no run", "none either", "--page", page])
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == f"{page}: {words}\n"
    assert not (tmp_path / "some").exists()
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["layers"], "1 run folder given, at least two"),
        (["layers", "layers"], "given twice"),
        (["layers", "nowhere"], "no such run folder"),
        (["layers", "unfinished"], "has not finished"),
        (["layers", "empty"], "is this a run folder of blendsearch?"),
        (["layers", "broken"], "summary.json:1: not valid JSON"),
    ],
)
def test_what_is_no_campaign_is_one_line(campaigns, names, words):
    for name in ("unfinished", "broken"):
        shutil.copytree(campaigns / "layers", campaigns / name, dirs_exist_ok=True)
    (campaigns / "unfinished/summary.json").unlink()
    (campaigns / "empty").mkdir(exist_ok=True)
    (campaigns / "broken/summary.json").write_text("{")
    with pytest.raises(RunError) as caught:
        compare_runs([campaigns / name for name in names])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
