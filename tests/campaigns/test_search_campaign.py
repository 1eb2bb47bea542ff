"""A whole campaign on digits, tiny; killed at every place it can be, and the same in the end."""

from __future__ import annotations

import json
from dataclasses import replace

import optuna
import pytest
import torch
from safetensors.torch import load_file

import blendsearch
from blendsearch.campaigns.search.run import run_search
from blendsearch.campaigns.single import run_prune
from blendsearch.config import space_from_dict
from blendsearch.errors import BudgetError, RunError
from blendsearch.models.loading import build
from blendsearch.structure import Plan, Structure

FIVE = {"proxy", "search_accuracy", "test_accuracy", "flops_ratio", "params_ratio"}


def tiny(**changes):
    data = {
        "name": "tiny",
        "seed": 3,
        "data": {"name": "digits", "test": 200, "calibration": 100, "search": 150, "limit": 500},
        "model": {"name": "conv4", "arguments": {"width": 8}},
        "training": {"epochs": 2, "batch_size": 64, "lr": 0.1},
        "criteria": ["l1", "l2", "taylor", "apoz", "random"],
        "budget": {"flops": 0.4},
        "clusters": {"count": 2},
        "blend": {"unit": "layer"},
        "proxy": {"name": "compensated", "images": 64, "positions": 1000},
        "search": {"population": 6, "generations": 2},
        "retraining": {"epochs": 1, "batch_size": 64, "lr": 0.05, "seeds": 2},
        "compute": {"device": "cpu", "workers": 1},
    }
    return space_from_dict({**data, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_search(tiny(), tmp_path_factory.mktemp("run") / "tiny")


def test_the_summary_has_the_promised_keys(finished):
    summary = json.loads((finished.run_dir / "summary.json").read_text())
    assert summary == finished.summary.to_dict()
    assert {"test_accuracy", "flops", "params"} <= set(summary["baseline"])
    assert set(summary["blend"]) >= FIVE
    assert set(summary["criteria"]) == {"l1", "l2", "taylor", "apoz", "random"}
    assert all(set(entry) >= FIVE for entry in summary["criteria"].values())
    assert {"train", "statistics", "search", "retrain"} <= set(summary["seconds"])
    assert summary["trials"] == 6 * 3
    assert summary["seed"] == 3
    assert {"blendsearch", "torch", "deap", "optuna"} <= set(summary["versions"])
    assert summary["comparison"]["interval"] is not None


def test_the_search_never_ends_below_a_base_criterion(finished):
    best = max(entry.proxy for entry in finished.summary.criteria.values())
    assert finished.summary.blend.proxy >= best


def test_all_files_are_there(finished):
    names = "space.yaml summary.json blend.json plan.json network.safetensors trials.db events.jsonl report.html"
    for name in names.split():
        assert (finished.run_dir / name).stat().st_size > 0, name
    assert list((finished.run_dir / "figures").glob("*.png"))


def test_the_ledger_is_an_optuna_storage(finished):
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{finished.run_dir / 'trials.db'}")
    assert len(study.trials) == 18
    assert study.best_value == pytest.approx(finished.summary.blend.proxy)
    assert study.trials[0].user_attrs["criterion"] == "l1"


def test_the_saved_network_is_the_plan_applied(finished):
    space = tiny()
    network = build(space.model, num_classes=10, shape=(1, 8, 8))
    structure = Structure.of(network, torch.randn(2, 1, 8, 8))
    plan = Plan.from_dict(json.loads((finished.run_dir / "plan.json").read_text()))
    assert structure.cost.ratio("flops", plan.counts) <= 0.4
    pruned = structure.slice(network, plan)
    pruned.load_state_dict(load_file(finished.run_dir / "network.safetensors"))


def test_the_blend_file_says_where_it_was_found(finished):
    blend = blendsearch.Blend.load(finished.run_dir / "blend.json")
    assert blend.found_on["data"] == "digits"
    assert blend.found_on["budget"] == {"flops": 0.4}
    assert blend.weights == finished.blend.weights


def same_result(run, reference):
    assert run.blend.weights == reference.blend.weights
    for part in ("blend", "criteria", "baseline", "comparison", "fidelity", "trials"):
        mine, theirs = (summary.to_dict()[part] for summary in (run.summary, reference.summary))
        for summary in (mine, theirs):
            if isinstance(summary, dict):
                for measured in ("latency_ms", "seconds"):
                    summary.pop(measured, None)
        assert mine == theirs, part


class Kill(Exception):
    """Stands for the process being killed."""


@pytest.mark.parametrize(
    ("task", "at"),
    [("training", 5), ("statistics", 1), ("search", 4), ("search", 13), ("retraining", 3), ("retraining", 9)],
)
@pytest.mark.usefixtures("unreported")
def test_killed_and_resumed_ends_the_same(finished, tmp_path, task, at):
    def killer(name, done, total, detail=""):
        if name == task and done >= at:
            raise Kill

    with pytest.raises(Kill):
        run_search(tiny(), tmp_path / "run", progress=killer)
    with pytest.raises(RunError, match="--resume"):
        run_search(tiny(), tmp_path / "run")
    same_result(run_search(tiny(), tmp_path / "run", resume=True), finished)


@pytest.mark.usefixtures("unreported")
def test_resuming_a_finished_campaign_changes_nothing(finished):
    before = (finished.run_dir / "records" / "retrained.json").read_bytes()
    again = run_search(tiny(), finished.run_dir, resume=True)
    same_result(again, finished)
    assert again.summary.seconds == finished.summary.seconds  # to read it once more is no work of the campaign's
    assert (finished.run_dir / "records" / "retrained.json").read_bytes() == before


def test_resuming_with_other_settings_is_refused(finished):
    with pytest.raises(RunError, match="seed"):
        run_search(tiny(seed=4), finished.run_dir, resume=True)


@pytest.mark.usefixtures("unreported")
def test_the_number_of_workers_does_not_matter(finished, tmp_path):
    same_result(run_search(tiny(compute={"device": "cpu", "workers": 2}), tmp_path / "run"), finished)


@pytest.mark.usefixtures("unreported")
@pytest.mark.parametrize("backend", ["optuna"])
def test_the_other_backend_runs_the_same_space(tmp_path, backend):
    space = tiny(search={"population": 6, "generations": 1, "backend": backend}, retraining={"epochs": 0.5})
    campaign = run_search(space, tmp_path / "run")
    assert campaign.summary.blend.proxy >= max(one.proxy for one in campaign.summary.criteria.values())


@pytest.mark.usefixtures("unreported")
@pytest.mark.parametrize("allocation", ["global_threshold", "sensitivity"])
@pytest.mark.parametrize("schedule", ["iterative"])
def test_other_allocations_and_schedules_run_in_a_campaign(tmp_path, allocation, schedule):
    space = tiny(
        allocation=allocation,
        schedule={"name": schedule, "steps": 2},
        criteria=["l1", "taylor"],
        search={"population": 4, "generations": 1},
        clusters={"count": "auto"},
        blend={"unit": "network"},
    )
    campaign = run_search(space, tmp_path / "run")
    assert campaign.summary.blend.flops_ratio <= 0.4
    assert campaign.summary.blend.proxy >= max(one.proxy for one in campaign.summary.criteria.values())


@pytest.fixture(scope="module")
def evolved(tmp_path_factory):
    space = tiny(name="shares", allocation={"name": "evolved", "start": ["uniform", "global_threshold"]})
    return space, run_search(space, tmp_path_factory.mktemp("run") / "shares")


def test_an_evolved_allocation_starts_from_others_and_never_ends_below_them(evolved):
    _, campaign = evolved
    summary = campaign.summary
    assert {entry.allocation for entry in summary.criteria.values()} <= {"uniform", "global_threshold"}
    assert summary.blend.flops_ratio <= 0.4
    study = optuna.load_study(study_name="shares", storage=f"sqlite:///{campaign.run_dir / 'trials.db'}")
    started = [trial.user_attrs["criterion"] for trial in study.trials if "criterion" in trial.user_attrs]
    assert started == [f"{name} ({start})" for start in ("uniform", "global_threshold") for name in summary.criteria]
    assert summary.blend.proxy >= max(trial.value for trial in study.trials[:10])


def test_a_blend_keeps_its_shares_in_its_file(evolved, tmp_path):
    space, campaign = evolved
    record = json.loads((campaign.run_dir / "records/retrained/blend-blend-seed0.json").read_text())
    plan = Plan.from_dict(record["plan"])  # plan.json is that of whatever is shipped
    assert set(campaign.blend.keep) == set(plan.counts)
    again = run_prune(space, str(campaign.run_dir / "blend.json"), tmp_path / "again")
    assert {group: kept for group, (kept, _) in again.summary.kept.items()} == plan.counts


def test_a_random_search_of_equal_cost_stands_beside_the_blend(finished, evolved):
    for campaign in (finished, evolved[1]):
        drawn = campaign.summary.random_search
        assert None not in [getattr(drawn, key) for key in FIVE]
        comparison = campaign.summary.comparison.random_search
        assert "random search" in comparison.sentence
        assert comparison.difference == pytest.approx(campaign.summary.blend.test_accuracy - drawn.test_accuracy)
        record = json.loads((campaign.run_dir / "records" / "control.json").read_text())
        assert record["evaluations"] == campaign.summary.trials
        assert "Against chance" in (campaign.run_dir / "report.html").read_text()


def test_the_random_search_can_be_left_out(tmp_path):
    campaign = run_search(tiny(search={"population": 6, "generations": 0, "random_search": False}), tmp_path / "run")
    assert campaign.summary.random_search is None
    assert campaign.summary.comparison.random_search is None
    assert "Against chance" not in campaign.report.read_text()


@pytest.mark.usefixtures("unreported")
def test_a_latency_table_is_measured_once_and_kept(tmp_path, monkeypatch):
    space = tiny(
        budget={"latency": 0.97},
        criteria=["l1", "taylor"],
        search={"population": 4, "generations": 1},
        clusters={"count": "auto"},
        blend={"unit": "network"},
        retraining={"epochs": 0.2},
    )

    def killer(name, done, total, detail=""):
        if name == "search" and done >= 2:
            raise Kill

    with pytest.raises(Kill):
        run_search(space, tmp_path / "run", progress=killer)
    table = (tmp_path / "run/records/latency.json").read_bytes()
    monkeypatch.setattr(Structure, "measure_latencies", None)  # a second measurement would differ
    campaign = run_search(space, tmp_path / "run", resume=True)
    assert (tmp_path / "run/records/latency.json").read_bytes() == table
    assert campaign.summary.latency.estimated_ratio <= 0.97


def test_an_impossible_latency_is_told_before_training(tmp_path):
    tasks = set()
    with pytest.raises(BudgetError, match=r"latency 0\.01 cannot be met; at least 0\.\d+ of the latency stays"):
        run_search(tiny(budget={"latency": 0.01}), tmp_path / "run", progress=lambda task, *rest: tasks.add(task))
    assert "training" not in tasks


def test_the_blend_and_its_shares_each_stand_alone(evolved, tmp_path):
    _, campaign = evolved
    (shares, first), (plain, second) = campaign.summary.ablation.items()
    criterion, start = shares.removesuffix(" with blend shares"), plain.split()[2]
    assert (first.allocation, second.allocation) == ("evolved", start)
    records = campaign.run_dir / "records" / "retrained"

    def plan_of(name):
        record = json.loads((records / f"{name.replace(' ', '_')}-seed0.json").read_text())
        return {group: list(kept) for group, kept in Plan.from_dict(record["plan"]).keep.items()}

    own, by_shares, by_blend = (plan_of(name) for name in ("blend-blend", f"ablation-{shares}", f"ablation-{plain}"))
    scores = load_file(campaign.run_dir / "scores.safetensors")
    for group, kept in by_shares.items():  # as many filters of each layer as the blend keeps, those of one criterion
        best = scores[f"{criterion}/{group}"].argsort(descending=True)[: len(own[group])]
        assert kept == sorted(best.tolist())
    replace(campaign.blend, keep={}).save(tmp_path / "plain.json")
    pruned = run_prune(tiny(allocation=start), str(tmp_path / "plain.json"), tmp_path / "plain")
    assert {group: kept for group, (kept, _) in pruned.summary.kept.items()} == {g: len(k) for g, k in by_blend.items()}


def test_the_parts_are_compared_with_the_whole(evolved):
    _, campaign = evolved
    page = (campaign.run_dir / "report.html").read_text()
    for name, part in campaign.summary.ablation.items():
        whole = campaign.summary.blend.test_accuracy
        assert part.difference == pytest.approx(whole - part.test_accuracy)
        assert part.sentence in page
        assert name.lower() in part.sentence.lower()


def test_without_shares_of_its_own_a_blend_has_no_parts(finished):
    assert finished.summary.ablation == {}
    assert "Shares or blend?" not in finished.report.read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("unreported")
def test_the_parts_can_be_left_out(tmp_path):
    search = {"population": 6, "generations": 0, "random_search": False, "ablation": False}
    assert run_search(tiny(allocation="evolved", search=search), tmp_path / "run").summary.ablation == {}


def test_a_finished_campaign_grows_by_seeds_parts_and_the_random_search(evolved, tmp_path):
    space, campaign = evolved
    search = {**space.to_dict()["search"], "random_search": False, "ablation": False}
    less = {**space.to_dict(), "search": search, "retraining": {**space.to_dict()["retraining"], "seeds": 1}}
    small = run_search(space_from_dict(less), tmp_path / "run")
    assert small.summary.ablation == {}
    assert small.summary.random_search is None
    before = {file.name: file.read_bytes() for file in (tmp_path / "run/records/retrained").iterdir()}
    grown = run_search(space, tmp_path / "run", resume=True)
    after = {file.name: file.read_bytes() for file in (tmp_path / "run/records/retrained").iterdir()}
    assert before.items() <= after.items()
    for part in ("ablation", "random_search", "criteria", "comparison"):
        assert getattr(grown.summary, part) == getattr(campaign.summary, part)
