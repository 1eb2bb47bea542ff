"""Campaigns whose searches do not wait for the end of a generation: on two workers, killed, resumed, coarse to fine."""

from __future__ import annotations

import pytest
from tiny_campaign import TINIER, tiny_space

from blendsearch.campaigns.search.run import run_search
from blendsearch.validation.space import mistakes_in_names

pytestmark = pytest.mark.usefixtures("without_report")


class Kill(Exception):
    """Stands for the process being killed."""


def space(**changes):
    search = {"population": 4, "generations": 4, "elite": 1, "window": 3, "random_search": False, "rivals": False}
    sections = {key: section for key, section in TINIER.items() if key != "search"}
    return tiny_space(search, **{**sections, "blend": {"unit": ["network", "layer"]}, **changes})


def result(campaign):
    """Blend, proxies and generations of a campaign, but for the seconds."""
    generations = (campaign.run_dir / "records" / "evolution.json").read_text()
    return campaign.blend.weights, campaign.summary.blend.proxy, without_seconds(generations)


def without_seconds(text):
    return [line for line in text.splitlines() if '"seconds"' not in line]


@pytest.mark.slow
def test_two_workers_a_kill_and_a_resume_end_the_same(tmp_path):
    one = run_search(space(), tmp_path / "one")
    assert one.summary.search.stopped_by == "generations"
    assert [phase.generations for phase in one.summary.search.phases] == [3, 2]

    def killer(task, done, total, detail=""):
        if task == "search" and done >= 14:
            raise Kill

    workers = {"device": "cpu", "workers": 2}
    with pytest.raises(Kill):
        run_search(space(compute=workers), tmp_path / "two", progress=killer)
    two = run_search(space(compute=workers), tmp_path / "two", resume=True)
    assert result(two) == result(one)


def test_a_window_for_what_learns_from_whole_generations_is_one_line():
    ((path, what),) = mistakes_in_names({"search": {"algorithm": "cma_es", "window": 4}})
    assert path == ("search", "window")
    assert what == (
        "4 given, algorithm 'cma_es' learns from whole generations; set window: null, or name one of generational, "
        "mu_plus_lambda, nsga2, nsgaii, random, tpe"
    )
