"""The audit of proxies: what it draws, measures and judges; stopped and resumed to the same result."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from safetensors.torch import load_file
from scipy import stats
from typer.testing import CliRunner

from blendsearch.campaigns.audit.run import run_audit
from blendsearch.campaigns.audit.summary import COMBINED, count_passes, judge_proxies
from blendsearch.cli import app
from blendsearch.cli.comparisons import proxies_table
from blendsearch.compute import child_seed
from blendsearch.config import space_from_dict
from blendsearch.errors import RunError
from blendsearch.experiment import Experiment
from blendsearch.reports.pages.audit import sentence
from blendsearch.reports.report import write_report
from blendsearch.results.records.audit import DrawnPlan, PlanEstimate, ProxyRecord
from blendsearch.results.records.retraining import RetrainingOutcome
from blendsearch.structure import Plan
from blendsearch.training.evaluation import evaluate


def tiny(**changes):
    data = {
        "name": "tiny",
        "seed": 3,
        "data": {"name": "digits", "test": 200, "calibration": 100, "search": 150, "limit": 500},
        "model": {"name": "conv4", "arguments": {"width": 8}},
        "training": {"epochs": 3, "batch_size": 64, "lr": 0.1},
        "criteria": ["l1", "taylor", "apoz"],
        "budget": {"flops": 0.4},
        "clusters": {"count": 2},
        "proxy": {"name": "zero_shot"},
        "search": {"population": 4, "generations": 1},
        "retraining": {"epochs": 0.5, "batch_size": 64, "lr": 0.05},
        "audit": {"plans": 8, "proxies": ["zero_shot", {"name": "compensated", "images": 50}]},
        "compute": {"device": "cpu", "workers": 1},
    }
    return space_from_dict({**data, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_audit(tiny(), tmp_path_factory.mktemp("run") / "audit")


def test_plans_are_different_and_of_every_kind(finished):
    plans = json.loads((finished.run_dir / "records/plans.json").read_text())
    digests = {Plan.from_dict(plan["plan"]).digest for plan in plans}
    assert len(digests) == len(plans) == 8
    assert {plan["kind"] for plan in plans} == {"criterion", "random", "evolved"}
    assert len({plan["name"] for plan in plans}) == 8


def test_every_plan_is_estimated_by_every_proxy_and_retrained_with_every_seed(finished):
    summary = finished.summary
    assert set(summary.proxies) == {"zero_shot", "compensated images=50", COMBINED}
    for plan in summary.plans:
        assert set(plan.estimates) == set(summary.proxies)
        assert len(plan.seeds) == 2
        assert plan.test_accuracy == pytest.approx(sum(plan.seeds) / 2)


def test_taus_are_those_of_scipy(finished):
    plans = finished.summary.plans
    truth = [plan.test_accuracy for plan in plans]
    for name, proxy in finished.summary.proxies.items():
        expected = stats.kendalltau([plan.estimates[name] for plan in plans], truth).statistic
        assert proxy.tau == pytest.approx(expected)
        assert proxy.interval[0] <= proxy.tau <= proxy.interval[1]
    seeds = list(zip(*(plan.seeds for plan in plans), strict=True))
    assert finished.summary.ceiling.tau == pytest.approx(stats.kendalltau(*seeds).statistic)


def retrained(name, seed, test_accuracy):
    return RetrainingOutcome(
        name=name,
        kind="random",
        seed=seed,
        search_accuracy=test_accuracy,
        test_accuracy=test_accuracy,
        flops_ratio=0.5,
        params_ratio=0.5,
        seconds=50.0,
        steps=20,
    )


def test_cost_and_regret_worked_by_hand():
    plans = [DrawnPlan(name=name, kind="random", plan=Plan({}, {}).to_dict()) for name in "abcd"]
    tests = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}
    outcomes = [retrained(name, seed, test) for seed in (0, 1) for name, test in tests.items()]
    good = {"a": (0.5, 1.0, 60), "b": (0.4, 2.0, 60), "c": (0.3, 3.0, 90), "d": (0.2, 4.0, 90)}
    bad = {"a": (0.1, 1.0), "b": (0.4, 1.0), "c": (0.9, 1.0), "d": (0.2, 1.0)}  # of a version that counted no passes
    estimates = {
        proxy: {name: PlanEstimate(*given) for name, given in own.items()}
        for proxy, own in (("good", good), ("bad", bad))
    }
    found = judge_proxies(plans, estimates, outcomes, lambda steps: 150 * steps)
    assert found.ceiling.tau == 1.0
    assert found.proxies["good"].tau == found.proxies["good"].of_ceiling == 1.0
    assert found.proxies["good"].cost == pytest.approx(2.5 / 50)
    assert found.proxies["good"].passes_cost == pytest.approx(75 / (20 * 50 * 3))
    assert found.proxies["bad"].passes_cost is found.proxies[COMBINED].passes_cost is None
    assert found.proxies["good"].regret == 0.0
    assert found.proxies["bad"].regret == pytest.approx(0.2)
    assert found.proxies["bad"].tau == pytest.approx(-1 / 3)
    assert found.proxies[COMBINED].seconds == pytest.approx(2.5 + 1.0)
    ranks = {plan.name: plan.estimates[COMBINED] for plan in found.plans}
    assert ranks == pytest.approx({"a": 0.5, "b": 2 / 3, "c": 2 / 3, "d": 1 / 6})
    assert [name for name, _ in found.ranked] == ["good", COMBINED, "bad"]


def test_the_regret_of_a_proxy_that_tells_plans_not_apart_is_of_any_of_them():
    plans = [DrawnPlan(name=name, kind="random", plan=Plan({}, {}).to_dict()) for name in "abcd"]
    tests = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}
    estimates = {
        "blind": dict.fromkeys(tests, PlanEstimate(0.5, 1.0, 60)),
        "two": {name: PlanEstimate(value, 1.0, 60) for name, value in zip(tests, (0.1, 0.9, 0.9, 0.2), strict=True)},
    }
    found = judge_proxies(plans, estimates, [retrained(name, 0, test) for name, test in tests.items()], lambda s: s)
    assert found.proxies["blind"].regret == pytest.approx(0.9 - 0.75)
    assert found.proxies["two"].regret == pytest.approx(0.9 - 0.75)


def test_checkpoints_that_a_killed_audit_left_are_removed(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished.run_dir, folder)
    (folder / "checkpoints").mkdir(exist_ok=True)
    left = [folder / f"checkpoints/{file.stem}.pt" for file in (folder / "records/retrained").iterdir()]
    for file in left:
        file.touch()
    run_audit(tiny(), folder, resume=True)
    assert len(left) == 16
    assert not any(file.exists() for file in left)


def words_of(proxies):
    found = SimpleNamespace(
        proxies={name: ProxyRecord(tau=tau) for name, tau in proxies.items()},
        ranked=[(name, ProxyRecord(tau=tau)) for name, tau in proxies.items()],
        ceiling=None,
    )
    return sentence(found)


def test_the_mean_of_ranks_is_not_counted_as_a_proxy():
    assert words_of({"a": 0.5}) == "a orders the plans by Kendall's tau 0.50."
    assert words_of({"a": 0.5, "b": 0.3, COMBINED: 0.4}) == (
        "Of 2 proxies and the mean of their ranks a orders the plans best: Kendall's tau 0.50."
    )


def test_without_retraining_no_cost_is_told(finished):
    lines = {}
    for retrained in (True, False):
        console = Console(file=io.StringIO(), width=200)
        console.print(proxies_table(finished.summary, retrained=retrained))
        lines[retrained] = console.file.getvalue()
    for words in ("noise ceiling", "of a retraining's cost", "of its passes"):
        assert words in lines[True]
        assert words not in lines[False]
    assert "regret" in lines[False]


class Kill(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize(("task", "count"), [("compensated images=50", 3), ("retraining", 5)])
def test_a_stopped_audit_goes_on_to_the_same_result(finished, tmp_path, task, count):
    def killer(name, done, total, detail=""):
        if name == task and done >= count:
            raise Kill

    with pytest.raises(Kill):
        run_audit(tiny(), tmp_path / "run", progress=killer)
    again = run_audit(tiny(), tmp_path / "run", resume=True)
    timed = ("seconds", "retraining_seconds", "baseline")
    one, other = again.summary.to_dict(), finished.summary.to_dict()
    for part in (part for part in other if part not in timed):
        assert without_times(one[part]) == without_times(other[part]), part


def without_times(part):
    if not isinstance(part, dict):
        return part
    return {key: without_times(value) for key, value in part.items() if key not in ("seconds", "cost")}


def test_passes_of_an_estimate_are_counted(finished):
    record = json.loads(next((finished.run_dir / "records/retrained").glob("*.json")).read_text())
    # 500 images to train on, half an epoch: four whole batches of 64, each image counting three
    retraining = 4 * 64 * 3
    assert record["steps"] == 4
    proxies = finished.summary.proxies
    assert proxies["zero_shot"].passes_cost == pytest.approx(150 / retraining)  # the search split
    assert proxies["compensated images=50"].passes_cost > 150 / retraining


def test_the_page_names_every_proxy_and_can_be_written_again(finished):
    text = finished.report.read_text()
    assert all(name in text for name in finished.summary.proxies)
    assert "noise ceiling" in text.lower()
    assert (finished.run_dir / "figures/taus.png").stat().st_size > 0
    (finished.run_dir / "report.html").unlink()
    assert write_report(finished.run_dir).read_text() == text


def test_another_job_does_not_go_on_in_its_folder(finished, tmp_path):
    from blendsearch.campaigns.search.run import run_search

    copy = tmp_path / "copy"
    shutil.copytree(finished.run_dir, copy)
    with pytest.raises(RunError, match="was made by 'blendsearch audit'"):
        run_search(tiny(), copy, resume=True)


def test_the_command_prints_a_table_and_the_reports_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(tiny(retraining={"epochs": 0.2, "batch_size": 64}).to_yaml())
    result = CliRunner().invoke(app, ["audit", "space.yaml", "audit.plans=6"])
    assert result.exit_code == 0, result.output
    assert "noise ceiling" in result.output
    assert "report: runs/tiny-audit/report.html" in result.output


def test_the_last_batch_of_an_epoch_may_be_smaller():
    def passes(steps):
        return count_passes(steps, images=300, batch_size=128)

    assert passes(1) == 3 * 128
    assert passes(3) == 3 * 300  # 128 + 128 + 44
    assert passes(7) == 3 * (300 + 300 + 128)


@pytest.mark.parametrize("epochs", [0, 0.5])
def test_the_truth_is_compensated_where_the_space_says_so(tmp_path, epochs):
    terms = {
        "retraining": {"epochs": epochs, "batch_size": 64, "lr": 0.05},
        "audit": {"plans": 6, "proxies": ["zero_shot"]},
    }
    cut, compensated = tiny(**terms), tiny(**terms, compensation={"images": 80})
    runs = [run_audit(cut, tmp_path / "cut"), run_audit(compensated, tmp_path / "compensated")]
    truths = [{plan.name: plan.seeds for plan in run.summary.plans} for run in runs]
    assert truths[0].keys() == truths[1].keys()
    assert truths[0] != truths[1]
    if epochs == 0:
        assert truths[1] == refit_by_hand(runs[1].run_dir, compensated)


def refit_by_hand(run_dir, space):
    """Cut by each plan and refit what is left, without the audit's own retraining; return name -> one a seed."""
    experiment = Experiment(space)
    experiment.network.load_state_dict(load_file(run_dir / "baseline.safetensors"))
    found = {}
    for entry in json.loads((run_dir / "records/plans.json").read_text()):
        plan, found[entry["name"]] = Plan.from_dict(entry["plan"]), []
        for repetition in (0, 1):
            network = experiment.structure.slice(experiment.network, plan)
            seed = child_seed(space.seed, "retraining", repetition)
            experiment.compensation(
                experiment.network, experiment.structure, network, plan, experiment.compute,
                child_seed(seed, "compensation"),
            )  # fmt: skip
            test = evaluate(network, experiment.splits.test.batches(500), experiment.compute)
            found[entry["name"]].append(test.accuracy)
    return found


@pytest.mark.parametrize("limit", [{"evaluations": 1}, {"forward_passes": 1}, {"seconds": 1e-9}])
def test_the_limit_of_the_search_holds_for_its_plans(tmp_path, limit):
    """The search behind an audit ends with the generation that reaches it."""
    seen = []
    search = {"population": 6, "generations": 7, "limit": limit}
    space = tiny(search=search, audit={"plans": 8, "proxies": ["zero_shot"], "seeds": 2}, retraining={"epochs": 0})
    run_audit(space, tmp_path / "run", progress=lambda task, done, total, detail="": seen.append((task, done)))
    assert max(done for task, done in seen if task == "search") == 1
