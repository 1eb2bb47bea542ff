"""A campaign with several objectives, tiny: its front, killed at every place it can be, and the same in the end."""

from __future__ import annotations

import json

import numpy as np
import optuna
import pytest

import blendsearch
from blendsearch.campaigns.search.run import run_search
from blendsearch.errors import BudgetError, ConfigError
from blendsearch.validation.space import checked_from_dict

SEARCH = {"objectives": ["flops"], "lowest": 0.2, "front": 3, "algorithm": "nsga2", "population": 6, "generations": 1}


def tiny(search=None, **changes):
    data = {
        "name": "front",
        "seed": 3,
        "data": {"name": "digits", "test": 200, "calibration": 100, "search": 150, "limit": 500},
        "model": {"name": "conv4", "arguments": {"width": 8}},
        "training": {"epochs": 1, "batch_size": 64, "lr": 0.1},
        "criteria": ["l1", "taylor", "apoz"],
        "budget": {"flops": 0.5},
        "clusters": {"count": 2},
        "proxy": {"name": "compensated", "images": 64, "positions": 1000},
        "search": {**SEARCH, **(search or {})},
        "retraining": {"epochs": 0.3, "batch_size": 64, "lr": 0.05, "seeds": 2},
        "compute": {"device": "cpu", "workers": 1},
    }
    return checked_from_dict({**data, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_search(tiny(), tmp_path_factory.mktemp("run") / "front")


def read(campaign, name):
    return json.loads((campaign.run_dir / name).read_text())


def test_the_points_fall_in_cost_and_keep_their_budgets(finished):
    front = finished.summary.front
    assert [point.place for point in front] == [1, 2, 3]
    budgets = [point.budget for point in front]
    assert budgets[0] == 0.5
    assert budgets == sorted(budgets, reverse=True)
    assert all(0.2 <= budget <= 0.5 for budget in budgets)
    for point in front:
        for side in (point, point.criterion):
            assert side.shares["flops"] == side.flops_ratio <= point.budget
            assert None not in (side.proxy, side.test_accuracy, side.test_accuracy_std, side.params_ratio)
        assert point.difference == pytest.approx(point.test_accuracy - point.criterion.test_accuracy)
        assert (point.interval is None) == (point.same_filters or point.difference == 0)


def test_the_first_point_is_the_campaigns_blend_and_criteria(finished):
    first, summary = finished.summary.front[0], finished.summary
    assert first.proxy == summary.blend.proxy
    assert first.test_accuracy == summary.blend.test_accuracy
    criteria = summary.criteria
    assert first.criterion.proxy == max(entry.proxy for entry in criteria.values()) <= first.proxy
    assert first.criterion.test_accuracy == criteria[first.criterion.name].test_accuracy
    assert len(read(finished, "records/retrained.json")) == 2 * (2 + len(criteria) + len(summary.rivals))


def test_the_study_has_two_directions_and_optunas_front_is_ours(finished):
    study = optuna.load_study(study_name="front", storage=f"sqlite:///{finished.run_dir / 'trials.db'}")
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["proxy", "flops kept"]
    record = read(finished, "records/front.json")
    assert len(study.trials) == len(record["trials"]) == finished.summary.trials
    ours = {tuple(record["trials"][number]) for number in record["front"]}
    assert ours == {tuple(trial.values) for trial in study.best_trials}
    for point in finished.summary.front[1:]:
        assert (point.proxy, point.flops_ratio) in ours
    for trial in study.trials:
        assert trial.values[1] <= 0.2 * (1 - trial.params["budget"]) + 0.5 * trial.params["budget"] + 1e-12


def test_the_blends_of_the_points_are_files_that_lead_to_their_plans(finished):
    for point in finished.summary.front:
        blend = blendsearch.Blend.load(finished.run_dir / point.file)
        assert blend.found_on["budget"] == {"flops": point.budget}
        assert blend.found_on["proxy"]["value"] == point.proxy
    assert blend.criteria
    assert (finished.run_dir / "networks/front-point_2-seed0.safetensors").is_file()


def test_chance_had_as_many_evaluations(finished):
    assert read(finished, "records/control.json")["evaluations"] == finished.summary.trials
    assert finished.summary.search.stopped_by == "generations"


def test_the_report_shows_the_front(finished):
    page = finished.report.read_text()
    assert "Accuracy against cost" in page
    assert (finished.run_dir / "figures" / "front.png").stat().st_size > 0


class Kill(Exception):
    """Stands for the process being killed."""


@pytest.mark.parametrize(
    ("task", "at"), [("search", 7), ("full budget", 1), ("front", 1), ("random search", 2), ("retraining", 13)]
)
@pytest.mark.usefixtures("unreported")
def test_killed_and_resumed_ends_the_same(finished, tmp_path, task, at):
    def killer(name, done, total, detail=""):
        if name == task and done >= at:
            raise Kill

    with pytest.raises(Kill):
        run_search(tiny(), tmp_path / "run", progress=killer)
    run = run_search(tiny(), tmp_path / "run", resume=True)
    assert read(run, "summary.json")["front"] == finished.summary.to_dict()["front"]
    assert run.summary.comparison == finished.summary.comparison
    assert read(run, "records/front.json") == read(finished, "records/front.json")
    assert read(run, "records/search.json")["backend"] == read(finished, "records/search.json")["backend"]


@pytest.mark.slow
@pytest.mark.usefixtures("unreported")
def test_optuna_evolved_shares_three_objectives_and_a_limit_work_together(tmp_path):
    space = tiny(
        {
            "algorithm": "nsgaii", "objectives": ["params", "latency"], "limit": {"evaluations": 6},
            "front": 2, "generations": 50, "random_search": False,
        },
        name="three", allocation="evolved", criteria=["l1", "taylor"], retraining={"epochs": 0.2},
    )  # fmt: skip
    summary = run_search(space, tmp_path / "run").summary
    assert summary.search.stopped_by == "evaluations"
    assert set(summary.front[0].shares) == {"flops", "params", "latency"}
    trials = np.array(json.loads((tmp_path / "run/records/front.json").read_text())["trials"])
    assert trials.shape[1] == 3


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"lowest": 0.5}, r"search\.lowest: 0\.5 given, less than the budget's 0\.5 expected"),
        ({"lowest": None}, r"search: objectives need lowest"),
        ({"finals": {}}, r"search: finals choose one blend and objectives ask for a front"),
        ({"objectives": ["filters"]}, r"search\.objectives"),
        ({"objectives": ["flops", "flops"]}, r"search\.objectives: named more than once: flops"),
        ({"algorithm": "cma_es"}, r"search: objectives flops given, algorithm 'cma_es' has accuracy alone; allowed: "),
        ({"algorithm": "tpe"}, r"search: objectives flops given, algorithm 'tpe' has accuracy alone; allowed: "),
        ({"backend": "optuna"}, r"search\.algorithm: 'nsga2' is of backend deap, and backend optuna is given"),
    ],
)
def test_what_does_not_go_together_is_one_line(search, message):
    with pytest.raises(ConfigError, match=message) as caught:
        tiny(search)
    assert str(caught.value).count("search") <= 2


def test_an_impossible_lowest_budget_is_told_before_training(tmp_path):
    tasks = set()
    with pytest.raises(BudgetError, match=r"search\.lowest: budget: flops 0\.001 cannot be met; at least 0\.\d+"):
        run_search(tiny({"lowest": 0.001}), tmp_path / "run", progress=lambda task, *rest: tasks.add(task))
    assert "training" not in tasks


def test_one_objective_with_nsga2_is_the_usual_campaign():
    assert tiny({"objectives": [], "lowest": None}).search.objectives == []
