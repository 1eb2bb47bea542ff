"""An algorithm that another package registers: checked, searched with, compared and listed like those of the house."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from tiny_campaign import tiny_space

from blendsearch.campaigns.compare import compare_runs
from blendsearch.campaigns.search.run import run_search
from blendsearch.errors import BlendsearchError, ConfigError
from blendsearch.evolution.algorithms import ALGORITHMS, SearchAlgorithm, register_algorithm
from blendsearch.validation.catalogue import catalogue

pytestmark = pytest.mark.usefixtures("without_report")


class Steps(SearchAlgorithm):
    """Steps at random from the best genome so far."""

    name = "steps"
    backend = "stranger"
    source = "this test"

    def __init__(self, *args, step: float = 0.1, **shared) -> None:
        super().__init__(*args, **shared)
        if step <= 0:
            raise BlendsearchError(f"search.algorithm.step: {step} given, more than 0 expected")
        self.step = step

    def propose(self, n):
        rng = np.random.default_rng([self.seed, self.asked])
        centre = self.space.random(rng) if self.best is None else self.best[0]
        return list(np.clip(centre + self.step * rng.normal(size=(n, self.space.size)), 0, 1))

    def learn(self, genomes, points):
        pass

    def state(self):
        return {}

    def restore(self, state):
        pass


@pytest.fixture(scope="module", autouse=True)
def registered():
    register_algorithm(Steps)
    yield
    ALGORITHMS.unregister("steps")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, registered):
    space = tiny_space({"algorithm": {"name": "steps", "step": 0.3}, "random_search": False, "generations": 2})
    return run_search(space, tmp_path_factory.mktemp("run") / "tiny")


def test_it_goes_through_a_search_with_its_options(finished):
    evolution = json.loads((finished.run_dir / "records/evolution.json").read_text())
    state = json.loads((finished.run_dir / "records/search.json").read_text())["backend"]
    assert len(evolution) == 3
    assert (state["backend"], state["state"]) == ("stranger", {"algorithm": "steps"})
    assert json.loads((finished.run_dir / "space.json").read_text())["search"]["algorithm"]["step"] == 0.3


def test_killed_and_resumed_it_ends_the_same(finished, tmp_path):
    class Kill(Exception):
        pass

    def killer(task, done, total, detail=""):
        if task == "search" and "generation 1," in detail:
            raise Kill

    space = tiny_space({"backend": "stranger", "random_search": False, "generations": 2})
    with pytest.raises(Kill):
        run_search(space, tmp_path / "run", progress=killer)
    whole = run_search(space, tmp_path / "whole")
    assert run_search(space, tmp_path / "run", resume=True).blend.weights == whole.blend.weights


def test_compare_shows_whose_it_is(finished, tmp_path):
    other = run_search(tiny_space({"backend": "optuna", "random_search": False, "generations": 0}), tmp_path / "other")
    rows = compare_runs([finished.run_dir, other.run_dir]).summary.rows
    assert [row.search for row in rows] == ["stranger, steps", "optuna, tpe"]


def test_compare_shows_an_algorithm_that_is_not_installed_any_more(finished, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(finished.run_dir, old)
    (old / "summary.json").write_text(json.dumps({**finished.summary.to_dict(), "algorithm": None}))
    ALGORITHMS.unregister("steps")
    try:
        rows = compare_runs([finished.run_dir, old]).summary.rows
    finally:
        register_algorithm(Steps)
    assert [row.search for row in rows] == ["stranger, steps", "steps"]


def test_it_is_listed_with_its_options():
    (row,) = [row for row in catalogue("algorithms") if row["name"] == "steps"]
    assert (row["backend"], row["options"], row["source"]) == ("stranger", "step=0.1", "this test")


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (
            {"algorithm": {"name": "steps", "stepp": 1.0}},
            r"search\.algorithm\.stepp: unknown option of algorithm 'steps'; ",
        ),
        ({"algorithm": {"name": "steps", "step": "far"}}, r"search\.algorithm\.step: 'far' given, a number expected"),
        ({"algorithm": {"name": "steps", "step": -0.5}}, r"search\.algorithm\.step: -0\.5 given, more than 0 expected"),
        (
            {"algorithm": "steps", "backend": "deap"},
            r"search\.algorithm: 'steps' is of backend stranger, and backend deap",
        ),
        ({"algorithm": "tpe", "backend": "stranger"}, r"search\.algorithm: 'tpe' .* or name one of stranger's: steps"),
        ({"backend": "stranger", "objectives": ["flops"], "lowest": 0.1}, r"backend 'stranger' has accuracy alone"),
    ],
)
def test_mistakes_are_one_line(search, message):
    with pytest.raises(ConfigError, match=message) as caught:
        tiny_space(search)
    assert "\n" not in str(caught.value)
