"""The scripts that check the papers' claims run, on the smallest terms, and write what they print."""

from __future__ import annotations

import json
import runpy
import sys

import pytest
from short_cuts import leave_out_reports

TINY = ["model.arguments.width=8", "training.epochs=1", "retraining.epochs=0.5", "compute.device=cpu"]


def run(monkeypatch, script, *arguments, last=()):
    monkeypatch.setattr(sys, "argv", [script, *arguments, *TINY, *last])
    runpy.run_path(f"scripts/{script}", run_name="__main__")


def test_schedules_are_compared(monkeypatch, tmp_path, capsys):
    space = "search_spaces/progressive_digits.yaml"
    arguments = ("--by", "l1", "--seeds", "2", "--schedules", "progressive,from_scratch", "--out", str(tmp_path))
    run(monkeypatch, "reproduce_schedules.py", space, *arguments)
    summary = json.loads((tmp_path / "schedules.json").read_text())["summary"]
    assert list(summary) == ["one_shot", "progressive", "from_scratch"]
    assert summary["one_shot"]["difference"] == 0
    assert len(summary["progressive"]["interval"]) == 2
    assert f"{100 * summary['progressive']['mean']:.2f}" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"was made with another space; differing: training.lr"):
        run(monkeypatch, "reproduce_schedules.py", space, *arguments, last=("training.lr=0.01",))


def test_compensation_is_measured_against_the_number_of_images(monkeypatch, tmp_path, capsys):
    run(monkeypatch, "reproduce_compensation.py", "--by", "l2", "--out", str(tmp_path), "compute.workers=1")
    rows = json.loads((tmp_path / "compensation.json").read_text())["rows"]
    done = [(row["what"], row["images"]) for row in rows]
    assert done[:5] == [
        ("sliced", 0), ("recalibrated", 200), ("compensated", 100), ("compensated", 300), ("compensated", 997),
    ]  # fmt: skip
    assert done[5][0] == "retrained"
    assert f"{100 * rows[-1]['test_accuracy']:.2f} %" in capsys.readouterr().out


def test_a_proof_pools_its_draws_trains_their_plans_and_goes_on_where_it_was(monkeypatch, tmp_path, capsys):
    leave_out_reports(monkeypatch)
    few = ["criteria=[l1, l2, taylor, bn_scale]", "clusters.count=2", "search.population=4", "search.generations=1"]
    few += [
        "search.random_search=false",
        "search.rivals=[mean_of_ranks, hesso]",
        "retraining.epochs=0",
        "data.test=200",
    ]
    arguments = ["search_spaces/digits.yaml", "--draws", "2", "--first", "7", "--steps", "3", "--out", str(tmp_path)]
    arguments += ["--training", "retraining.lr=0.02", "--beside", "mean of ranks", "--"]
    options = [*few, "compute.workers=1"]
    run(monkeypatch, "prove_blend.py", *arguments, last=options)
    found = json.loads((tmp_path / "results.json").read_text())
    assert (found["draws"], found["training"]) == ([7, 8], ["retraining.lr=0.02"])
    plain, trained = found["regimes"]["not retrained"], found["regimes"]["3 steps"]
    for regime, criteria in ((plain, 4), (trained, 3)):
        means = {name: sum(values) / len(values) for name, values in regime["test_accuracy"].items()}
        assert {len(values) for values in regime["test_accuracy"].values()} == {2}
        named = {name.partition(": ")[2]: mean for name, mean in means.items() if name.startswith("criterion")}
        assert len(named) == regime["comparison"]["among"] == criteria
        best = regime["comparison"]["best_criterion"]
        assert named[best] == max(named.values())
        assert regime["comparison"]["difference"] == pytest.approx(means["blend: blend"] - named[best], abs=1e-6)
    assert (
        {name for name in plain["test_accuracy"] if name.startswith("rival")}
        > {name for name in trained["test_accuracy"] if name.startswith("rival")}
        == {"rival: mean of ranks"}
    )
    assert trained["criteria"] == "the best 3 without training"
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("draw-*/**/*.json")}
    assert any("steps-3" in str(file) for file in before)
    every = arguments[: arguments.index("--")]
    run(monkeypatch, "prove_blend.py", *every, "--criteria", "all", "--", last=options)
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["regimes"]["not retrained"] == plain
    everyone = again["regimes"]["3 steps"]
    assert "criteria" not in everyone
    assert everyone["comparison"]["among"] == 4
    assert all(everyone["test_accuracy"][name] == values for name, values in trained["test_accuracy"].items())
    assert {file for file in before if file.stat().st_mtime_ns != before[file] and "retrained/" in str(file)} == set()
    assert "draws [7, 8]" in capsys.readouterr().out


def test_repr_is_paired_with_plain_training(monkeypatch, tmp_path, capsys):
    arguments = ["search_spaces/repr_digits.yaml", "--seeds", "2", "--out", str(tmp_path / "repr.json")]
    one_cycle = ["schedule={name: repr, cycles: 1, full: 1, sub: 1}", "training.epochs=2"]
    run(monkeypatch, "reproduce_repr.py", *arguments, last=one_cycle)
    result = json.loads((tmp_path / "repr.json").read_text())
    assert [row["seed"] for row in result["seeds"]] == [0, 1]
    assert result["difference"] == pytest.approx(result["repr"] - result["plain"])
    assert result["verdict"] in capsys.readouterr().out


def test_repr_is_not_plain_training_against_itself(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "reproduce_repr.py", "search_spaces/repr_digits.yaml", last=("schedule=one_shot",))
    assert "schedule: 'one_shot' given, allowed here: repr" in capsys.readouterr().err


def test_sensitiveness_early_and_late_is_compared(monkeypatch, tmp_path, capsys):
    arguments = ["search_spaces/sbpf_digits.yaml", "--seeds", "1", "--out", str(tmp_path / "early.json")]
    run(monkeypatch, "reproduce_sensitivity.py", *arguments)
    (row,) = json.loads((tmp_path / "early.json").read_text())["results"]
    assert list(row["early"]) == list(row["final"]) == ["conv1", "conv2", "conv3", "conv4"]
    assert "points lost" in capsys.readouterr().out


def test_search_algorithms_are_compared_at_equal_cost_and_nothing_is_done_twice(monkeypatch, tmp_path, capsys):
    arguments = ["search_spaces/digits.yaml", "--evaluations", "8", "--seeds", "2", "--out", str(tmp_path)]
    arguments += ["--only", "cma_es,random", "--windows", "2", "criteria=[l1, taylor, random]", "search.population=4"]
    run(monkeypatch, "compare_algorithms.py", *arguments, "compute.workers=1")
    result = json.loads((tmp_path / "result.json").read_text())
    assert set(result["summary"]) == {"deap-cma_es", "optuna-random", "optuna-random-window2"}
    for rows in result["records"].values():
        assert [len(row["best"]) for row in rows] == [8, 8]
        assert all(row["best"] == sorted(row["best"]) for row in rows)
    assert len({tuple(row["best"][:3]) for rows in result["records"].values() for row in rows}) == 1
    assert (tmp_path / "curves.png").stat().st_size > 0
    known = (tmp_path / "records" / "known.json").stat().st_mtime_ns
    text = capsys.readouterr().out
    run(monkeypatch, "compare_algorithms.py", *arguments, "compute.workers=1")
    assert capsys.readouterr().out == text
    assert (tmp_path / "records" / "known.json").stat().st_mtime_ns == known


def test_pruning_without_labels_is_measured_cell_by_cell(monkeypatch, tmp_path, capsys):
    arguments = ("--by", "l2", "--cells", "50:4,220:6", "--out", str(tmp_path), "compute.workers=1")
    run(monkeypatch, "reproduce_post_training.py", *arguments, last=["retraining.epochs=0"])
    written = json.loads((tmp_path / "post_training.json").read_text())
    assert [(row["what"], row["images"], row["steps"]) for row in written["rows"]] == [
        ("sliced", 0, 0), ("closed form", 200, 0), ("reconstruction", 50, 4), ("reconstruction", 220, 6),
    ]  # fmt: skip
    assert written["space"]["data"]["labels"] == "predicted"
    assert f"{100 * written['rows'][-1]['test_accuracy']:.2f} %" in capsys.readouterr().out


def test_a_difference_to_chance_without_an_interval_is_shown_alone(capsys):
    """As where both seeds differ by the same."""
    show = runpy.run_path("scripts/compare_algorithms.py")["show"]
    row = {"mean": {"4": 0.5}, "std": {"4": 0.0}, "rank": 1.0, "plans": 4.0}
    show({"deap-ga": {**row, "over_chance": {"mean": 0.01, "interval": None}}, "optuna-random": row}, [4])
    assert "+1.00\n" in capsys.readouterr().out
