"""The rival that has evolved shares of its own: what a search for the shares of one criterion alone finds."""

from __future__ import annotations

import json

import pytest
from tiny_campaign import tiny_space

from blendsearch.allocation import weights_of
from blendsearch.campaigns.foresight.forecast import Counts
from blendsearch.campaigns.search.run import run_search
from blendsearch.errors import ConfigError
from blendsearch.experiment import Experiment
from blendsearch.experiment.problem import JUDGED
from blendsearch.results.verdicts import against_rivals
from blendsearch.structure import Plan

pytestmark = pytest.mark.usefixtures("without_report")
NAME = "one criterion with own shares"
SEARCH = {"population": 6, "generations": 3, "elite": 1, "random_search": False, "ablation": False}


class Kill(Exception):
    """Stands for the process being killed."""


def space(rivals=("own_shares",), search=None, **changes):
    given = {"allocation": "evolved", "blend": {"unit": "network"}, **changes}
    return tiny_space({**SEARCH, "rivals": list(rivals), **(search or {})}, **given)


def retrained(campaign, name):
    """The record of a contender, without the seconds."""
    found = json.loads((campaign.run_dir / "records/retrained.json").read_text())
    (file,) = [one for one in (campaign.run_dir / "records/retrained").glob("*.json") if _named(one, name)]
    assert name in {one["name"] for one in found}
    return {key: value for key, value in json.loads(file.read_text()).items() if key not in ("seconds", "name", "kind")}


def _named(file, name):
    return json.loads(file.read_text())["name"] == name


def judged_by(folder, judge):
    lines = [json.loads(line) for line in (folder / JUDGED).read_text().splitlines()]
    return [line[1:] for line in lines if line[0] == judge]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    return run_search(space(), tmp_path_factory.mktemp("run") / "tiny")


def test_it_is_what_a_campaign_of_that_criterion_alone_finds(campaign, tmp_path):
    summary = campaign.summary
    chosen = max(summary.criteria, key=lambda name: summary.criteria[name].proxy)
    assert f"{NAME} is {chosen}." in against_rivals(summary)
    alone = run_search(space(criteria=[chosen], clusters={"count": 1}, search={"rivals": False}), tmp_path / "alone")
    assert summary.rivals[NAME].proxy == alone.summary.blend.proxy
    assert summary.rivals[NAME].evaluations == alone.summary.search.evaluations
    assert retrained(campaign, NAME) == retrained(alone, "blend")


def test_it_is_no_worse_by_the_proxy_than_the_criterion_and_costs_no_more_flops(campaign):
    summary = campaign.summary
    rival = summary.rivals[NAME]
    assert rival.proxy >= max(one.proxy for one in summary.criteria.values())
    assert rival.flops_ratio <= 0.3
    assert rival.allocation == "evolved"
    plan = Plan.from_dict(retrained(campaign, NAME)["plan"])
    shares = weights_of(plan.counts, plan.widths)
    assert len(set(shares.values())) > 1
    assert summary.comparison.rivals[NAME].difference == pytest.approx(
        summary.blend.test_accuracy - rival.test_accuracy
    )


@pytest.mark.parametrize(
    "search",
    [
        {},
        pytest.param({"window": 3}, marks=pytest.mark.slow),
        pytest.param({"algorithm": "cma_es"}, marks=pytest.mark.slow),
    ],
    ids=["plain", "window", "cma_es"],
)
def test_stopped_in_the_middle_it_goes_on_to_the_same(search, tmp_path):
    whole = run_search(space(search=search), tmp_path / "whole")

    def amid_a_generation():
        """With a window a generation may begin with plans that are known."""
        state = json.loads((tmp_path / "killed/records/own-shares.json").read_text())
        return len(judged_by(tmp_path / "killed", "all, own-shares")) > state["generations"][-1]["distinct"]

    def killer(task, done, total, detail=""):
        if task == "shares for one criterion" and done >= 14 and amid_a_generation():
            raise Kill

    with pytest.raises(Kill):
        run_search(space(search=search), tmp_path / "killed", progress=killer)
    state = json.loads((tmp_path / "killed/records/own-shares.json").read_text())
    assert 0 < len(state["generations"]) < 4
    written = judged_by(tmp_path / "killed", "all, own-shares")
    assert len(written) > state["generations"][-1]["distinct"]  # the generation that was killed is not judged anew
    again = run_search(space(search=search), tmp_path / "killed", resume=True)
    assert retrained(again, NAME) == retrained(whole, NAME)
    assert again.summary.rivals[NAME].evaluations == whole.summary.rivals[NAME].evaluations
    after = judged_by(tmp_path / "killed", "all, own-shares")
    assert after[: len(written)] == written
    assert len({plan for plan, *_ in after}) == len(after)


@pytest.mark.slow
def test_swaps_finals_and_a_choice_follow_as_they_do_after_the_blends_search(tmp_path):
    swapped = run_search(space(search={"swaps": 6}), tmp_path / "swapped")
    record = json.loads((tmp_path / "swapped/records/swaps-own-shares.json").read_text())
    assert record["evaluations"] == 6
    assert swapped.summary.rivals[NAME].proxy == record["proxy"]
    run_search(space(search={"choice": {"candidates": 2}}), tmp_path / "choice")
    record = json.loads((tmp_path / "choice/records/choice-own-shares.json").read_text())
    assert len(record["candidates"]) == 2
    run_search(space(search={"finals": {"candidates": 2, "rungs": [0.5]}}), tmp_path / "finals")
    record = json.loads((tmp_path / "finals/records/finals-own-shares.json").read_text())
    assert [one["stopped"] == "won" for one in record["candidates"]].count(True) == 1


def test_it_is_there_only_where_it_is_named_and_counted_beforehand(tmp_path):
    assert "own_shares" not in tiny_space({"rivals": True}, allocation="evolved").search.rivals_wanted
    with_it, without = Counts(Experiment(space())), Counts(Experiment(space(["hesso"])))
    assert with_it.other_evaluations == without.other_evaluations + with_it.evaluations
    assert with_it.contenders == 1 + 3 + 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"allocation": "uniform"}, "search.rivals.0: 'own_shares' given, but there is none without allocation: evol"),
        (
            {"search": {"objectives": ["flops"], "lowest": 0.1}},
            "search: own_shares evolves shares for one budget; leave it out of rivals, or set objectives: []",
        ),
    ],
)
def test_where_it_means_nothing_that_is_one_line(changes, said):
    with pytest.raises(ConfigError) as caught:
        space(**changes)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
