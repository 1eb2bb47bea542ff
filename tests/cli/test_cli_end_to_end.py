"""Every command typed as a user would, with nothing replaced: a tiny space on digits."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from blendsearch.campaigns.scores import Scores
from blendsearch.cli.commands import app
from blendsearch.cli.completion import KINDS

SPACE = """
name: tiny
data: {name: digits, test: 200, calibration: 100, search: 100}
model: {name: conv4, arguments: {width: 8}}
training: {epochs: 1, batch_size: 64, lr: 0.1}
criteria: [l1, taylor, random]
budget: {flops: 0.5}
blend: {unit: network}
clusters: {count: 2}
proxy: {name: bn_recalibrated, images: 50}
search: {population: 4, generations: 1}
retraining: {epochs: 0.5, batch_size: 64, lr: 0.05}
compute: {device: cpu, workers: 1}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Type a command in a folder that holds tiny.yaml; return what it printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SPACE)

    def typed(*words, code=0):
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.output

    return typed


def test_search_report_and_reuse(run, tmp_path):
    printed = run("search", "tiny.yaml", "seed=5")
    assert "report: runs/tiny/report.html" in printed
    summary = json.loads((tmp_path / "runs/tiny/summary.json").read_text())
    assert summary["comparison"]["sentence"] in " ".join(printed.split())
    assert summary["seed"] == 5
    (tmp_path / "runs/tiny/report.html").unlink()
    assert "report.html" in run("report", "runs/tiny")
    assert (tmp_path / "runs/tiny/report.html").exists()
    printed = run("prune", "tiny.yaml", "--by", "runs/tiny/blend.json", "budget.flops=0.3")
    assert "pruned" in printed
    assert "report:" in run("search", "tiny.yaml", "seed=5", "--resume")
    assert "seed" in run("search", "tiny.yaml", "seed=6", "--resume", code=2)


def test_train_then_score(run, tmp_path):
    assert "run folder: runs/tiny-train" in run("train", "tiny.yaml")
    assert (tmp_path / "runs/tiny-train/baseline.safetensors").exists()
    printed = run("score", "tiny.yaml")
    assert all(name in printed for name in ("l1", "taylor", "random", "agreement", "runs/tiny-score/scores.csv"))
    scores = Scores.load(tmp_path / "runs/tiny-score/scores.csv")
    assert scores == Scores.load(tmp_path / "runs/tiny-score/scores.safetensors")
    assert scores.scale("l1", "conv2") == "l1 of its one convolution"
    lowest = " ".join(map(str, scores["l1"]["conv2"].argsort(stable=True)[:3].tolist()))
    row = next(line for line in printed.splitlines() if line.split()[:2] == ["l1", "conv2"])
    assert row.rstrip().endswith(lowest)


def test_train_by_repr_then_prune_the_result(run, tmp_path):
    shorter = "schedule={name: repr, cycles: 1, full: 1, sub: 1}"
    printed = run("train", "tiny.yaml", shorter, "training.epochs=2")
    assert "steps" in printed
    summary = json.loads((tmp_path / "runs/tiny-train/summary.json").read_text())
    assert summary["schedule"] == "repr"
    assert summary["steps"] > 0
    weights = "model.weights=runs/tiny-train/baseline.safetensors"
    run("prune", "tiny.yaml", "--by", "l1", weights, "training.epochs=0", "schedule=one_shot", "-q")
    baseline = json.loads((tmp_path / "runs/tiny-prune/summary.json").read_text())["baseline"]
    assert baseline["test_accuracy"] == summary["test_accuracy"]
    assert baseline["steps"] == 0
    for command in (("search", "tiny.yaml"), ("prune", "tiny.yaml", "--by", "l1")):
        printed = run(*command, shorter, "training.epochs=2", code=2)
        assert "'repr' trains the whole network and prunes nothing; run `blendsearch train" in printed
        assert len(printed.strip().splitlines()) == 1
    assert sorted(folder.name for folder in (tmp_path / "runs").iterdir()) == ["tiny-prune", "tiny-train"]
    assert "needs 90 epochs" in run("train", "tiny.yaml", "schedule=repr", code=2)


@pytest.mark.parametrize("schedule", ["one_shot", "iterative"])
@pytest.mark.parametrize("allocation", ["uniform", "global_threshold", "layer_adaptive", "sensitivity"])
def test_prune_by_a_criterion(run, tmp_path, schedule, allocation):
    run("prune", "tiny.yaml", "--by", "taylor", f"schedule={schedule}", f"allocation={allocation}", "-q")
    summary = json.loads((tmp_path / "runs/tiny-prune/summary.json").read_text())
    assert summary["pruned"]["flops_ratio"] <= 0.5


def test_sensitivity(run, tmp_path):
    printed = run("sensitivity", "tiny.yaml", "allocation.name=sensitivity", "allocation.draws=1")
    assert all(word in printed for word in ("conv1", "conv4", "0.25 sd", "undamaged", "runs/tiny-sensitivity"))
    record = json.loads((tmp_path / "runs/tiny-sensitivity/sensitivity.json").read_text())
    assert sorted(row["rank"] for row in record["groups"])[0] == 1
    assert all(row["ranks"][0] <= row["rank"] <= row["ranks"][1] for row in record["groups"])
    assert "pairs of layers apart" in record["note"]
    assert record["note"] in printed
    assert (tmp_path / "runs/tiny-sensitivity/figures/sensitivity.png").stat().st_size > 1000


def test_a_latency_budget(run, tmp_path):
    printed = run("prune", "tiny.yaml", "--by", "l1", "budget.flops=null", "budget.latency=0.95")
    folder = tmp_path / "runs/tiny-prune"
    latency = json.loads((folder / "summary.json").read_text())["latency"]
    assert latency["estimated_ratio"] <= 0.95
    assert latency["measured_ratio"] > 0
    assert "by the table" in printed
    assert json.loads((folder / "records/latency.json").read_text())["images"] == 1


def test_validate_and_list(run):
    assert "population: 4" in run("validate", "tiny.yaml")
    for kind in KINDS:
        assert len(run("list", kind).splitlines()) > 3
    assert "lrp_gamma" in run("list")


@pytest.mark.parametrize(
    "words",
    [
        ("search", "tiny.yaml", "search.populaton=3"),
        ("search", "tiny.yml"),
        ("prune", "tiny.yaml", "--by", "tailor"),
        ("prune", "tiny.yaml", "--by", "missing.json"),
        ("score", "tiny.yaml", "criteria=[l1,tailor]"),
        ("search", "tiny.yaml", "budget.flops=0.001"),
        ("search", "tiny.yaml", "clusters.count=4"),
        ("search", "tiny.yaml", "model.weights=missing.pt"),
        ("report", "runs/nothing"),
        ("list", "critera"),
    ],
)
def test_wrong_input_is_one_line_and_code_two(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SPACE)
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 2
    assert len(result.output.strip().splitlines()) == 1, result.output
