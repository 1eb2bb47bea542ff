"""Campaigns whose candidates race: stopped ones are cheap and never win, and nothing depends on workers or kills."""

from __future__ import annotations

import json

import pytest
from tiny_campaign import tiny_space

from blendsearch.campaigns.search.run import run_search
from blendsearch.errors import ConfigError
from blendsearch.evolution.ledger import Ledger
from blendsearch.results.verdicts import stopped_candidates

pytestmark = pytest.mark.usefixtures("without_report")


class Kill(Exception):
    """Stands for the process being killed."""


SEARCH = {"population": 6, "generations": 4, "elite": 1, "random_search": False}


def space(racing=None, swaps=None, **changes):
    search = {**SEARCH, "racing": racing, "swaps": swaps}
    return tiny_space(search, retraining={"epochs": 0.5, "batch_size": 64, "lr": 0.05}, **changes)


def trials(campaign):
    ledger = Ledger(f"sqlite:///{campaign.run_dir}/trials.db", "tiny")
    found = ledger.trials()
    ledger.close()
    return found


def told(campaign):
    """What must be the same for any workers: all but seconds."""
    generations = (campaign.run_dir / "records" / "evolution.json").read_text()
    values = [(trial.value, trial.attrs) for trial in trials(campaign)]
    return campaign.blend.weights, values, [line for line in generations.splitlines() if '"seconds"' not in line]


def test_stopped_ones_never_win_and_cost_less_and_workers_and_kills_change_nothing(tmp_path):
    racing = {"first": 40, "error": 0.2}
    one = run_search(space(racing), tmp_path / "one")
    found = trials(one)
    stopped = [trial for trial in found if trial.attrs.get("stopped")]
    whole = [trial for trial in found if not trial.attrs.get("stopped") and not trial.attrs["repeated"]]
    assert stopped
    assert one.summary.blend.proxy == max(trial.value for trial in whole) > max(trial.value for trial in stopped)
    assert {trial.attrs["passes"] for trial in whole} == {64 + 150}
    assert {trial.attrs["passes"] for trial in stopped if not trial.attrs["repeated"]} <= {64 + 40, 64 + 80}

    assert one.summary.search.stopped == len([trial for trial in stopped if not trial.attrs["repeated"]])
    (said,) = stopped_candidates(one.summary)
    assert said.startswith(
        f"{one.summary.search.stopped} of {one.summary.search.evaluations} candidates, clearly worse"
    )

    def killer(task, done, total, detail=""):
        if task == "search" and done >= 20:
            raise Kill

    workers = {"device": "cpu", "workers": 2}
    with pytest.raises(Kill):
        run_search(space(racing, compute=workers), tmp_path / "two", progress=killer)
    assert told(run_search(space(racing, compute=workers), tmp_path / "two", resume=True)) == told(one)


def test_what_is_judged_beside_the_blend_is_read_in_full(tmp_path):
    """Criteria that a search stopped are judged on all images: as in a campaign that does not race."""
    raced, plain = run_search(space({"first": 30, "error": 0.4}), tmp_path / "a"), run_search(space(), tmp_path / "b")
    proxies = [{name: one.proxy for name, one in campaign.summary.criteria.items()} for campaign in (raced, plain)]
    assert proxies[0] == pytest.approx(proxies[1], abs=1e-9)


def test_swaps_race_against_the_plan_they_are_made_of_and_a_stopped_run_goes_on(tmp_path):
    """An error of almost a half stops many; with none of the journal's part a resumed run would read them again."""
    racing = {"first": 30, "error": 0.3}
    whole = run_search(space(racing, swaps=18), tmp_path / "whole")
    record = json.loads((whole.run_dir / "records" / "swaps-blend.json").read_text())
    judged = read_judged(whole)
    compared = [line for line in judged if len(line) == 8]
    assert record["evaluations"] == 18
    kept = [line for line in compared if not line[-1]]  # of a search those alone that were stopped
    assert 0 < len(kept) < 18 <= len(compared)

    def killer(task, done, total, detail=""):
        if task == "swaps" and done >= 12:
            raise Kill

    with pytest.raises(Kill):
        run_search(space(racing, swaps=18), tmp_path / "run", progress=killer)
    before = read_judged(tmp_path / "run")
    resumed = run_search(space(racing, swaps=18), tmp_path / "run", resume=True)
    assert read_judged(tmp_path / "run")[: len(before)] == before
    assert [without_seconds(line) for line in read_judged(resumed)] == [without_seconds(line) for line in judged]
    assert json.loads((resumed.run_dir / "records" / "swaps-blend.json").read_text()) == record
    assert resumed.plan == whole.plan


def read_judged(campaign):
    folder = getattr(campaign, "run_dir", campaign)
    return [json.loads(line) for line in (folder / "records" / "judged.jsonl").read_text().splitlines()]


def without_seconds(line):
    return [*line[:3], *line[4:]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"proxy": "average"}, "search.racing: proxy 'average' reads no image by itself; set racing: null, or proxy"),
        ({"search": {"racing": {}, "window": 3}}, "racing goes by the best of whole generations; set racing: null"),
        (
            {"search": {"racing": {}, "objectives": ["flops"], "lowest": 0.1}},
            "racing goes by accuracy alone; set racing: null or objectives: []",
        ),
        (
            {"search": {"racing": {"first": 3}}},
            "search.racing.first: out of range (given 3, allowed a whole number of at least 30)",
        ),
    ],
)
def test_what_cannot_race_is_told_in_one_line(changes, said):
    with pytest.raises(ConfigError) as caught:
        tiny_space(**{"search": {"racing": {}}, **changes})
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
