"""Finals of short retrainings in a tiny campaign: killed, resumed, on two workers; and limits of the search."""

from __future__ import annotations

import json

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from tiny_campaign import tiny_space

from blendsearch.allocation import Budget
from blendsearch.campaigns.search import finals as module
from blendsearch.campaigns.search.finals import (
    Candidate,
    Climber,
    HalvingSetup,
    HalvingTrial,
    best_distinct,
    one_each,
    shorten,
)
from blendsearch.campaigns.search.run import run_search
from blendsearch.compute import Compute
from blendsearch.config import EarlyStopConfig, RetrainingConfig
from blendsearch.errors import ConfigError
from blendsearch.evolution.halving import paired
from blendsearch.structure import Plan, Structure
from blendsearch.training.evaluation import correct_mask, recalibrate

FINALS = {"candidates": 5, "rungs": [0.4, 1.0]}


pytestmark = pytest.mark.usefixtures("without_report")


def tiny(search=None, **changes):
    return tiny_space({"finals": FINALS, **(search or {})}, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_search(tiny(), tmp_path_factory.mktemp("run") / "tiny")


def record_of(campaign, name="finals"):
    return json.loads((campaign.run_dir / "records" / f"{name}.json").read_text())


def timeless(record):
    if isinstance(record, dict):
        return {key: timeless(value) for key, value in record.items() if key not in ("seconds", "latency_ms")}
    return [timeless(value) for value in record] if isinstance(record, list) else record


def same_result(run, reference):
    assert run.blend.weights == reference.blend.weights
    for name in ("finals", "finals-control"):
        assert timeless(record_of(run, name)) == timeless(record_of(reference, name))
    for part in ("blend", "control", "criteria", "comparison", "finals"):
        mine, theirs = (timeless(summary.to_dict()[part]) for summary in (run.summary, reference.summary))
        assert mine == theirs, part


def test_the_best_plans_of_all_trials_are_the_finalists(finished):
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{finished.run_dir / 'trials.db'}")
    plans = {trial.user_attrs["plan"]: trial.value for trial in study.trials}
    candidates = record_of(finished)["candidates"]
    assert [one["proxy"] for one in candidates] == sorted(plans.values(), reverse=True)[:5]
    assert len({one["digest"] for one in candidates}) == 5
    for one in candidates:
        assert study.trials[one["trial"]].params == one["genome"]
        assert Plan.from_dict(one["plan"]).digest == one["digest"]


@pytest.mark.parametrize("name", ["finals", "finals-control"])
def test_the_winner_is_the_best_of_the_last_rung(finished, name):
    candidates = record_of(finished, name)["candidates"]
    (winner,) = [one for one in candidates if one["stopped"] == "won"]
    last = [one for one in candidates if len(one["accuracies"]) == 2]
    assert len(last) >= 3  # the better half of five
    best = max(one["accuracies"][1] for one in last)
    assert winner["accuracies"][1] == best
    assert winner["proxy"] == max(one["proxy"] for one in last if one["accuracies"][1] == best)
    outcome = finished.summary.blend if name == "finals" else finished.summary.random_search
    assert outcome.proxy == winner["proxy"]
    if name == "finals":
        assert json.loads((finished.run_dir / "blend-plan.json").read_text()) == winner["plan"]


def test_who_left_early_was_clearly_worse(finished):
    def rights_of(rung, digest):
        record = json.loads((finished.run_dir / f"records/finals/rung{rung}-{digest}.json").read_text())
        found = np.array([[digit == "1" for digit in one] for one in record["right"]])
        assert record["accuracy"] == found.mean()
        assert found.shape == (1, 150)
        return found

    candidates = record_of(finished)["candidates"]
    order = sorted(candidates, key=lambda one: (-one["accuracies"][0], -one["proxy"]))
    for place, one in enumerate(order):
        own, cut = rights_of(1, one["digest"]), rights_of(1, order[2]["digest"])
        left = place > 2 and paired(own, cut).clearly_worse
        assert (len(one["accuracies"]) == 1) == left
        if left:
            assert "clearly worse than its last at rung 1" in one["stopped"]
        assert one["stopped"]


def test_the_finals_are_a_study_of_the_same_storage(finished):
    for part in ("finals", "finals-control"):
        study = optuna.load_study(study_name=f"tiny-{part}", storage=f"sqlite:///{finished.run_dir / 'trials.db'}")
        candidates = record_of(finished, part)["candidates"]
        for trial, one in zip(study.trials, candidates, strict=True):
            assert list(trial.intermediate_values) == list(range(1, len(one["accuracies"]) + 1))
            assert list(trial.intermediate_values.values()) == one["accuracies"]
            assert trial.state == (TrialState.COMPLETE if len(one["accuracies"]) == 2 else TrialState.PRUNED)
            assert trial.user_attrs["stopped"] == one["stopped"]
            assert trial.user_attrs["trial"] == one["trial"]


def test_the_summary_says_what_search_and_finals_cost(finished):
    search, held = finished.summary.search, finished.summary.finals
    evolution = record_of(finished, "evolution")
    assert search.stopped_by == "generations"
    assert search.evaluations == evolution[-1]["distinct"]
    assert search.seconds == pytest.approx(sum(one["seconds"] for one in evolution), abs=1e-3)
    assert held.candidates == 5
    assert held.trainings == sum(len(one["accuracies"]) for one in record_of(finished)["candidates"])


class Kill(Exception):
    """Stands for the process being killed."""


@pytest.mark.parametrize(("task", "rung", "at"), [("finals", 1, 3), ("finals of the control", 2, 1)])
def test_killed_in_the_finals_and_resumed_ends_the_same(finished, tmp_path, monkeypatch, task, rung, at):
    def killer(name, done, total, detail=""):
        if name == task and f"rung {rung}" in detail and done >= at:
            raise Kill

    with pytest.raises(Kill):
        run_search(tiny(), tmp_path / "run", progress=killer)
    before = {path.name for path in (tmp_path / "run/records/finals").iterdir()}
    again = []
    train = module.train_for_rung

    def noted(setup, trial):
        again.append(f"{trial.key}.json")
        return train(setup, trial)

    monkeypatch.setattr(module, "train_for_rung", noted)
    same_result(run_search(tiny(), tmp_path / "run", resume=True), finished)
    assert before
    assert not before & set(again)


@pytest.mark.slow
def test_the_number_of_workers_does_not_matter(finished, tmp_path):
    same_result(run_search(tiny(compute={"device": "cpu", "workers": 2}), tmp_path / "run"), finished)


def test_finals_are_off_by_default_and_without_limit(tmp_path):
    assert tiny({"finals": None}).search == tiny({}).search.model_copy(update={"finals": None, "limit": None})
    campaign = run_search(tiny({"finals": None, "random_search": False}), tmp_path / "run")
    assert campaign.summary.finals is None
    assert not (campaign.run_dir / "records/finals.json").exists()
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{campaign.run_dir / 'trials.db'}")
    assert campaign.summary.blend.proxy == study.best_value


@pytest.mark.parametrize("limit", [{"evaluations": 7}, {"seconds": 1e-6}])
def test_a_limit_ends_the_search_after_its_generation(tmp_path, limit):
    space = tiny({"finals": None, "generations": 30, "limit": limit})
    campaign = run_search(space, tmp_path / "run")
    evolution = record_of(campaign, "evolution")
    (kind,) = limit
    assert campaign.summary.search.stopped_by == kind
    reached = [one["distinct"] if kind == "evaluations" else one["seconds"] for one in evolution]
    assert reached[-1] >= limit[kind]
    assert all(one < limit[kind] for one in reached[:-1])
    assert len(evolution) < 31
    assert record_of(campaign, "control")["evaluations"] == evolution[-1]["evaluations"]


def test_a_limit_of_passes_counts_those_of_every_trial(tmp_path):
    limit = 2000
    campaign = run_search(
        tiny({"finals": None, "generations": 30, "limit": {"forward_passes": limit}}), tmp_path / "run"
    )
    evolution, search = record_of(campaign, "evolution"), campaign.summary.search
    spent = [one["passes"] for one in evolution]
    assert search.stopped_by == "forward_passes"
    assert sum(spent[:-1]) < limit <= sum(spent) == search.passes
    by_trial = [0] * len(evolution)
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{campaign.run_dir / 'trials.db'}")
    for trial in study.trials:
        by_trial[trial.user_attrs["generation"]] += trial.user_attrs["passes"]
        assert trial.user_attrs["repeated"] == (trial.user_attrs["passes"] == 0)
    assert by_trial == spent


def candidate(number=0):
    return Candidate(number, {}, Plan({}, {}), 0.5)


def test_a_candidate_is_out_as_soon_as_it_is_clearly_worse():
    right = [20, 19, 6, 18]
    climbers = [Climber(candidate(n), [np.arange(20)[None] < count]) for n, count in enumerate(right)]
    module._decide(climbers, 1, last=False)
    assert [climber.stopped is None for climber in climbers] == [True, True, False, True]
    assert climbers[2].stopped == "not in the better half, clearly worse than its last at rung 1 (p 0.00024)"
    module._decide([climbers[0], climbers[1], climbers[3]], 2, last=True)
    assert [climbers[n].stopped for n in (0, 1, 3)] == [
        "won",
        "place 2 at the last rung, not clearly worse than the first (p 1)",
        "place 3 at the last rung, not clearly worse than the first (p 0.5)",
    ]


def test_a_rung_is_a_whole_training_of_its_length():
    training = RetrainingConfig(epochs=10, warmup_epochs=2, lr=0.3, early_stop=EarlyStopConfig())
    short = shorten(training, 0.3)
    assert (short.epochs, short.warmup_epochs, short.lr) == (pytest.approx(3), pytest.approx(0.6), 0.3)
    assert short.early_stop is None


def test_the_test_split_is_out_of_reach():
    assert not {"splits", "test"} & set(HalvingSetup.__dataclass_fields__)


def test_batch_norm_is_recalibrated_before_a_rung_is_read(trained, digits, tmp_path):
    structure = Structure.of(trained, next(digits.calibration.batches(2))[0])
    plan = Plan({name: tuple(range(width // 2)) for name, width in structure.widths.items()}, dict(structure.widths))
    setup = HalvingSetup(
        network=trained,
        structure=structure,
        budget=Budget("flops", 1.0),
        training=RetrainingConfig(epochs=1, batch_size=64, lr=1e-9),
        train=digits.train,
        calibration=digits.calibration,
        search=digits.search,
        compute=Compute(),
        seed=0,
        checkpoints=tmp_path,
    )
    outcome = module.train_for_rung(setup, HalvingTrial(plan, 1, 0.05, 2))
    pruned = structure.slice(trained, plan)
    recalibrate(pruned, digits.calibration.batches(100))  # the steps were too small to change a weight
    expected = "".join("01"[one] for one in correct_mask(pruned, digits.search.batches(500)).int().tolist())
    assert outcome.correct == [expected, expected]
    assert outcome.steps > 0


def test_each_plan_is_a_candidate_once():
    values = [("a", 0.5), ("b", 0.7), ("a", 0.5), ("c", 0.7), ("d", 0.1)]
    assert best_distinct(values, 3) == [1, 3, 0]
    assert best_distinct(values, 9) == [1, 3, 0, 4]


def test_of_equal_plans_the_first_goes_on():
    """Swaps that changed nothing leave the best plan, which is among the others as well."""
    plans = [Plan({"conv": (number,)}, {"conv": 3}) for number in (0, 1, 0)]
    several = [Candidate(number, {}, plan, 0.5) for number, plan in enumerate(plans)]
    assert [one.number for one in one_each(several)] == [0, 1]


def test_accuracies_are_means_over_seeds_and_images():
    climber = Climber(candidate(), [np.array([[True, False], [True, True]])])
    assert climber.accuracies == [0.75]


@pytest.mark.parametrize(
    ("search", "retraining", "expected"),
    [
        ({"limit": {}}, 1, "search.limit: a limit has exactly one kind (given none, allowed one of evaluations, "),
        ({"limit": {"evaluations": 3, "seconds": 3.0}}, 1, "(given evaluations and seconds, allowed"),
        ({"limit": {"forward_passes": 0}}, 1, "search.limit.forward_passes: out of range (given 0"),
        ({"finals": {"rungs": [0.3, 0.1]}}, 1, "search.finals.rungs: expected in ascending order"),
        ({"finals": {"rungs": [0.3, 1.5]}}, 1, "search.finals.rungs.1: out of range (given 1.5"),
        ({"finals": {"candidates": 1}}, 1, "search.finals.candidates: out of range (given 1, allowed"),
        ({"finals": {}}, 0, "search.finals: a rung is a share of retraining.epochs, which is 0"),
    ],
)
def test_mistakes_are_one_line(search, retraining, expected):
    with pytest.raises(ConfigError) as error:
        tiny({"finals": None, **search}, retraining={"epochs": retraining})
    (line,) = str(error.value).splitlines()
    assert expected in line
