"""A tiny campaign with rungs and a limit in forward passes: killed and resumed, beside its random search."""

from __future__ import annotations

import json
from itertools import pairwise

import optuna
import pytest
from optuna.trial import TrialState
from tiny_campaign import TINY, tiny_space

from blendsearch.campaigns.search.evolve import judged
from blendsearch.campaigns.search.run import run_search
from blendsearch.errors import ConfigError
from blendsearch.evolution.ledger import Trial

RUNGS = [
    {"proxy": {"name": "bn_recalibrated", "images": 20, "search_images": 60}, "keep": 0.5},
    {"proxy": {"name": "compensated", "images": 20, "positions": 200, "search_images": 40}, "keep": 0.5},
]
LIMIT = 3900


pytestmark = pytest.mark.usefixtures("without_report")


def tiny(**search):
    rungs = {"generations": 30, "rungs": RUNGS, "pruner": "median", "limit": {"forward_passes": LIMIT}}
    return tiny_space(
        {**rungs, **search},
        data={**TINY["data"], "calibration": 64, "search": 100},
        model={"name": "conv4", "arguments": {"width": 12}},
        training={**TINY["training"], "epochs": 3},
        budget={"flops": 0.4},
        retraining={**TINY["retraining"], "epochs": 0.2},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_search(tiny(), tmp_path_factory.mktemp("run") / "tiny")


def record_of(campaign, name):
    return json.loads((campaign.run_dir / "records" / f"{name}.json").read_text())


def trials_of(campaign):
    return optuna.load_study(study_name="tiny", storage=f"sqlite:///{campaign.run_dir / 'trials.db'}").trials


def timeless(record):
    if isinstance(record, dict):
        return {key: timeless(value) for key, value in record.items() if key not in ("seconds", "latency_ms")}
    return [timeless(value) for value in record] if isinstance(record, list) else record


def test_the_limit_ends_the_search_and_all_passes_are_accounted_for(finished):
    evolution, search = record_of(finished, "evolution"), finished.summary["search"]
    spent = [one["passes"] for one in evolution]
    assert search["stopped_by"] == "forward_passes"
    assert sum(spent[:-1]) < LIMIT <= sum(spent) == search["passes"]
    by_trial = [0] * len(evolution)
    for trial in trials_of(finished):
        by_trial[trial.user_attrs["generation"]] += trial.user_attrs["passes"]
    assert by_trial == spent


def test_every_trial_tells_what_it_cost_and_why_it_stopped(finished):
    costs = {1: 80, 2: 80 + 60, 3: 80 + 60 + 164}
    known = {}
    for trial in trials_of(finished):
        plan, stopped = trial.user_attrs["plan"], trial.user_attrs["stopped"]
        steps = trial.intermediate_values
        if plan in known:
            assert stopped == "known plan"
            assert (trial.user_attrs["passes"], trial.user_attrs["seconds"]) == (0, 0.0)
            assert (trial.value, steps, trial.state) == known[plan]
            continue
        known[plan] = trial.value, steps, trial.state
        assert list(steps) == list(range(1, len(steps) + 1))
        assert trial.user_attrs["passes"] == costs[len(steps)]
        assert trial.user_attrs["seconds"] > 0
        if len(steps) == 3:
            assert (stopped, trial.state, trial.value) == ("proxy", TrialState.COMPLETE, steps[3])
        else:
            assert stopped == f"rung {len(steps)} of 3: pruned by median"
            assert trial.state == TrialState.PRUNED
    assert {len(steps) for _, steps, _ in known.values()} >= {1, 3}


def test_the_blend_and_its_rivals_have_the_deciding_proxys_values(finished):
    trials = trials_of(finished)
    values = {trial.user_attrs["plan"]: trial.value for trial in trials if trial.state == TrialState.COMPLETE}
    proxies = record_of(finished, "proxies")
    assert proxies["blend"] == max(values.values())
    for name in ("l1", "taylor", "random"):
        (first,) = [trial for trial in trials if trial.user_attrs.get("criterion") == name]
        assert proxies[name] == values.get(first.user_attrs["plan"], proxies[name])
        assert 0 <= proxies[name] <= 1


def test_chance_is_given_at_least_as_many_passes_on_the_same_rungs(finished):
    control = record_of(finished, "control")
    assert control["passes"] >= finished.summary["search"]["passes"]
    assert control["evaluations"] >= finished.summary["trials"]
    assert control["proxy"] == record_of(finished, "proxies")["random search"]


def test_what_a_rung_dropped_is_in_no_finals():
    def trial(number, plan, stopped, value=0.5):
        return Trial(number, 0, {}, value, 0.0, {"plan": plan, "stopped": stopped})

    trials = [
        trial(0, "a", "proxy"), trial(1, "b", "rung 1 of 3: pruned by median", 0.9), trial(2, "b", "known plan", 0.9),
        trial(3, "a", "known plan"), trial(4, "c", "proxy"),
    ]  # fmt: skip
    assert [one.number for one in judged(trials)] == [0, 3, 4]


def test_finalists_of_a_search_with_rungs_have_values_of_the_deciding_proxy(tmp_path):
    finals = {"candidates": 50, "rungs": [0.5]}
    campaign = run_search(tiny(generations=1, limit=None, finals=finals), tmp_path / "run")
    candidates = record_of(campaign, "finals")["candidates"]
    complete = {one.user_attrs["plan"] for one in trials_of(campaign) if one.state == TrialState.COMPLETE}
    assert {one["digest"] for one in candidates} == complete
    for one in candidates:
        trial = trials_of(campaign)[one["trial"]]
        assert (one["digest"], one["proxy"], one["genome"]) == (trial.user_attrs["plan"], trial.value, trial.params)
    lucky, control = record_of(campaign, "finals-control")["candidates"], record_of(campaign, "control")
    assert 0 < len(lucky) < control["evaluations"]
    assert [[one["trial"], one["proxy"]] for one in lucky] == control["finalists"]
    assert all(one["proxy"] > 0 for one in lucky)


class Kill(Exception):
    """Stands for the process being killed."""


@pytest.mark.parametrize("generation", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_and_resumed_ends_the_same(finished, tmp_path, generation):
    def killer(task, done, total, detail=""):
        if task == "search" and f"generation {generation}," in detail:
            raise Kill

    with pytest.raises(Kill):
        run_search(tiny(), tmp_path / "run", progress=killer)
    resumed = run_search(tiny(), tmp_path / "run", resume=True)
    for name in ("evolution", "control", "proxies", "search"):
        assert timeless(record_of(resumed, name)) == timeless(record_of(finished, name)), name
    assert resumed.blend.weights == finished.blend.weights
    for mine, theirs in pairwise([trials_of(resumed), trials_of(finished)]):
        assert [one.intermediate_values for one in mine] == [one.intermediate_values for one in theirs]


@pytest.mark.slow
def test_the_number_of_workers_does_not_matter(finished, tmp_path):
    space = tiny(generations=1, limit=None, control=False)
    compute = space.compute.model_copy(update={"workers": 2})
    campaign = run_search(space.model_copy(update={"compute": compute}), tmp_path / "run")
    assert timeless(record_of(campaign, "evolution")) == timeless(record_of(finished, "evolution")[:2])


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({"rungs": [{"keep": 0.5}]}, "search.rungs.0.proxy: missing key"),
        ({"rungs": [{"proxy": "compensate"}]}, "search.rungs.0.proxy: unknown proxy 'compensate'"),
        ({"rungs": [{"proxy": {"name": "compensated", "image": 3}}]}, "search.rungs.0.proxy.image: unknown option"),
        ({"rungs": [{"proxy": {"name": "zero_shot", "search_images": 0}}]}, "search.rungs.0.proxy.search_images: 0"),
        ({"rungs": [{"proxy": "zero_shot", "keep": 1.0}]}, "search.rungs.0.keep: out of range (given 1.0"),
        (
            {"rungs": [{"proxy": "zero_shot", "keep": 0.3}]},
            "median keeps the better half (rung 1 keeps 0.3)",
        ),
        (
            {"rungs": [{"proxy": "zero_shot", "keep": 0.7}], "pruner": "successive_halving"},
            "the pruner successive_halving keeps one of a whole number, such as 0.5 or 0.25 (rung 1 keeps 0.7)",
        ),
        ({"pruner": "hyperband"}, "search.pruner: unknown value (given 'hyperband'"),
        (
            {"limit": {"seconds": 1.0, "forward_passes": 3}},
            "(given seconds and forward_passes, allowed one of ",
        ),
        ({"limit": {"forward_passes": 0}}, "search.limit.forward_passes: out of range (given 0"),
    ],
)
def test_mistakes_are_one_line(search, expected):
    with pytest.raises(ConfigError) as error:
        tiny(**search)
    (line,) = str(error.value).splitlines()
    assert expected in line
