"""Campaigns some of whose candidates fail: they go on, say so, never choose one, and are the same when resumed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import optuna
import pytest
import torch
from optuna.trial import TrialState
from tiny_campaign import tiny_space

from blendsearch.campaigns.search.run import run_search
from blendsearch.errors import TrialError
from blendsearch.proxies import PROXIES, register_proxy
from blendsearch.proxies.compensated import Compensated
from blendsearch.results.verdicts import failed_trials

OOM = "ran out of memory"


class Fragile(Compensated):
    """Comes to no value for a share of all plans, or for one; tried: a folder in which each try leaves a mark."""

    def __init__(self, tried: str = "", share: int = 4, one: str = "") -> None:
        super().__init__(images=64, positions=1000)
        self.tried, self.share, self.one = tried, share, one

    def estimate(self, network, plan):
        if self.tried:
            (Path(self.tried) / f"{plan.digest}-{time.monotonic_ns()}").touch()
        if plan.digest == self.one or (not self.one and fails(plan.digest, self.share)):
            self.fail()
        return super().estimate(network, plan)


def fails(digest, share=4):
    return int(digest[-1], 16) < share


class Greedy(Fragile):
    name = "greedy"
    source = "this test"

    def fail(self) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class Deadly(Fragile):
    name = "deadly"
    source = "this test"

    def fail(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Endless(Fragile):
    name = "endless"
    source = "this test"

    def fail(self) -> None:
        time.sleep(1000)


@pytest.fixture(scope="module", autouse=True)
def registered():
    for proxy in (Greedy, Deadly, Endless):
        register_proxy(proxy)
    yield
    for proxy in (Greedy, Deadly, Endless):
        PROXIES.unregister(proxy.name)


def fragile(name="greedy", *, workers=1, search=None, seconds=None, **options):
    return tiny_space(
        {"population": 8, "generations": 2, **(search or {})},
        proxy={"name": name, **options},
        compute={"device": "cpu", "workers": workers, "trial_seconds": seconds},
        retraining={"epochs": 0.2, "batch_size": 64, "lr": 0.05},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fragile")
    (folder / "tried").mkdir()
    return run_search(fragile(tried=str(folder / "tried")), folder / "run")


def read_known(campaign):
    return json.loads((campaign.run_dir / "records" / "search.json").read_text())["known"]


def outcome(campaign):
    summary = campaign.summary.to_dict()
    known = read_known(campaign)
    values = {digest: found[0] if isinstance(found, list) else "failed" for digest, found in known.items()}
    counts = [sum(summary["search"][key].values()) for key in ("failed", "failed_draws")]
    return campaign.blend.weights, summary["blend"]["proxy"], sorted(summary["criteria"]), counts, values


def test_a_campaign_goes_on_past_trials_that_fail_and_says_so(finished):
    summary = finished.summary
    assert list(summary.search.failed) == [OOM]
    failed = summary.search.failed[OOM]
    assert 0 < failed <= 12
    told = failed_trials(summary)
    assert told[0] == f"{failed} of 24 trials failed: a worker process ran out of memory."
    assert "fewer workers or smaller batches" in " ".join(told)
    assert told[0] in (finished.run_dir / "report.html").read_text()


def test_a_failed_trial_never_wins(finished):
    tried = {mark.name.split("-")[0] for mark in (finished.run_dir.parent / "tried").iterdir()}
    assert any(fails(digest) for digest in tried)
    assert not any(fails(digest) for digest, found in read_known(finished).items() if isinstance(found, list))
    assert not fails(finished.plan.digest)


def test_the_ledger_holds_failed_trials_as_optuna_has_them(finished):
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{finished.run_dir / 'trials.db'}")
    failed = [trial for trial in study.trials if trial.state is TrialState.FAIL]
    assert len(study.trials) == 24
    assert len(failed) == finished.summary.search.failed[OOM]
    why = "ran out of memory 2 times (CUDA out of memory. Tried to allocate 2.00 GiB)"
    assert failed[0].user_attrs["failed"] == why
    assert failed[0].params
    assert study.best_value == pytest.approx(finished.summary.blend.proxy)


def test_generations_count_what_failed_apart(finished):
    generations = json.loads((finished.run_dir / "records" / "evolution.json").read_text())
    assert sum(one["failed"].get(OOM, 0) for one in generations) == finished.summary.search.failed[OOM]
    assert all(one["worst"] > 0 for one in generations)


@pytest.mark.usefixtures("without_report")
def test_a_criterion_whose_trial_fails_is_left_out_by_name(tmp_path, finished):
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{finished.run_dir / 'trials.db'}")
    told = [trial.user_attrs for trial in study.trials if "criterion" in trial.user_attrs]
    plan = next(attrs["plan"] for attrs in told if attrs["criterion"] == "taylor")
    search = {"generations": 0, "random_search": False}
    summary = run_search(fragile(search=search, one=plan), tmp_path / "run").summary
    assert set(summary.criteria) == {"l1", "random"}
    why = summary.left_out["taylor"]
    assert why.startswith("'taylor': its trial failed, a worker process ran out of memory 2 times")
    assert f"Left out: taylor: {why}." in failed_trials(summary)


class Kill(Exception):
    """Stands for the process being killed."""


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize(
    ("algorithm", "share"),  # which plans come up hangs on the algorithm: so many fail that some do before the kill
    [("generational", 6), ("cma_es", 5), ("tpe", 3), ("cmaes", 5)],
)
def test_stopped_and_resumed_it_is_the_same_and_repeats_no_failure(tmp_path, algorithm, share):
    (tmp_path / "tried").mkdir()
    search = {"algorithm": {"name": algorithm}, "random_search": False, "rivals": False}
    space = fragile(tried=str(tmp_path / "tried"), share=share, search=search)
    whole = run_search(space, tmp_path / "whole")

    def killer(name, done, total, detail=""):
        if name == "search" and done >= 17:
            raise Kill

    with pytest.raises(Kill):
        run_search(space, tmp_path / "run", progress=killer)
    for mark in (tmp_path / "tried").iterdir():
        mark.unlink()
    known = json.loads((tmp_path / "run" / "records" / "search.json").read_text())["known"]
    failed = {digest for digest, found in known.items() if isinstance(found, dict)}
    assert failed
    assert outcome(run_search(space, tmp_path / "run", resume=True)) == outcome(whole)
    tried = {mark.name.split("-")[0] for mark in (tmp_path / "tried").iterdir()}
    assert not tried & failed


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
def test_several_objectives_have_no_failed_trial_on_their_front(tmp_path):
    search = {"objectives": ["flops"], "lowest": 0.15, "front": 2}
    campaign = run_search(fragile(search=search, share=3), tmp_path / "run")
    assert campaign.summary.search.failed
    front = json.loads((tmp_path / "run" / "records" / "front.json").read_text())
    assert len(front["trials"]) == campaign.summary.trials - sum(campaign.summary.search.failed.values())
    assert min(front["trials"][number][0] for number in front["front"]) > 0


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize(
    "search",
    [{"choice": {"candidates": 4}}, {"finals": {"candidates": 3, "rungs": [0.5]}}, {"swaps": 12}],
    ids=["choice", "finals", "swaps"],
)
def test_what_follows_a_search_bears_failures(tmp_path, search):
    assert run_search(fragile(search=search), tmp_path / "run").summary.search.failed


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize(("name", "reason"), [("greedy", OOM), ("deadly", "was ended from outside")])
def test_workers_fail_the_same_trials(tmp_path, finished, name, reason):
    campaign = run_search(fragile(name, workers=2), tmp_path / "run")
    assert list(campaign.summary.search.failed) == [reason]
    assert outcome(campaign) == outcome(finished)


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
def test_a_limit_ends_what_hangs(tmp_path):
    search = {"random_search": False, "rivals": False, "generations": 1}
    campaign = run_search(fragile("endless", seconds=2, search=search), tmp_path / "run")
    assert any(fails(digest) for digest in read_known(campaign))  # else none hung
    assert list(campaign.summary.search.failed) == ["took longer than 2 s"]
    assert "compute.trial_seconds" in " ".join(failed_trials(campaign.summary))


@pytest.mark.slow
def test_a_search_of_which_most_fails_ends_in_one_line_and_tries_again_when_resumed(tmp_path):
    for resume in (False, True):
        with pytest.raises(TrialError, match=r"search: 5 of 8 trials at once failed, .* ran out of memory 2") as told:
            run_search(fragile(share=16), tmp_path / "run", resume=resume)
        assert "\n" not in str(told.value)
        assert "--resume" in str(told.value)
    assert not (tmp_path / "run" / "records" / "search.json").exists()
