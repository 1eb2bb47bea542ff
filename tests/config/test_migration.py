"""Spaces that earlier versions left in run folders are read as today's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from config_files import GOOD

from blendsearch.config import migrate_space, space_from_dict, space_of_run
from blendsearch.errors import ConfigError

REFERENCES = sorted(Path("runs/reference").glob("*/space.yaml"))
WRITTEN = {
    "backend": "deap",
    "population": 6,
    "generations": 2,
    "crossover": 0.7,
    "mutation": 0.3,
    "elite": 2,
    "tournament": 3,
    "algorithm": "generational",
    "sampler": "tpe",
    "control": True,
    "ablation": True,
    "limit": None,
    "rungs": [],
    "pruner": "paired",
    "finals": {"candidates": 4, "rungs": [0.5, 1.0], "seeds": 1},
    "start_from": None,
    "objectives": [],
    "lowest": None,
    "front": 4,
}
"""The search of a space.json as the last version with these keys wrote it: every key, whether given or not."""


def older(**search):
    return {**yaml.safe_load(GOOD.replace("1e-3", "0.001")), "search": {**WRITTEN, **search}}


@pytest.mark.parametrize(
    ("written", "algorithm"),
    [
        ({}, "generational"),
        ({"algorithm": "cma_es"}, "cma_es"),
        ({"backend": "optuna"}, "tpe"),
        ({"backend": "optuna", "algorithm": "nsga2", "sampler": "nsgaii"}, "nsgaii"),
        ({"backend": "theirs"}, None),
    ],
)
def test_the_one_that_counted_is_the_algorithm(written, algorithm):
    migrated = migrate_space(older(**written))["search"]
    assert migrated["algorithm"] == algorithm
    assert "sampler" not in migrated


@pytest.mark.parametrize("wanted", [True, False])
def test_every_key_is_one_of_today(wanted):
    search = space_from_dict(migrate_space(older(control=wanted))).search
    assert search.random_search == wanted
    assert (search.population, search.finals.rungs) == (6, [0.5, 1.0])


@pytest.mark.parametrize(
    ("written", "today"),
    [
        ({}, {}),
        ({}, {"algorithm": "generational"}),
        ({"backend": "optuna"}, {"backend": "optuna"}),
        ({"backend": "optuna", "sampler": "cmaes"}, {"algorithm": {"name": "cmaes"}}),
        ({"algorithm": "nsga2", "objectives": ["flops"], "lowest": 0.2}, {"objectives": ["flops"], "lowest": 0.2}),
    ],
)
def test_a_run_goes_on_under_the_same_space_as_it_is_written_today(written, today):
    search = {"population": 6, "generations": 2, **today}
    found = space_of_run(older(**{**written, "finals": None}))
    assert found == space_of_run({**older(), "search": search})
    assert space_of_run(found.to_dict()) == found


def test_rungs_that_said_something_are_refused():
    rungs = [{"proxy": {"name": "zero_shot"}, "keep": 0.5}]
    migrated = migrate_space(older(rungs=rungs, pruner="median"))
    assert (migrated["search"]["rungs"], migrated["search"]["pruner"]) == (rungs, "median")
    with pytest.raises(ConfigError, match=r"search\.rungs: unknown key"):
        space_from_dict(migrated)


def test_a_space_of_today_stays_as_it_is():
    space = space_from_dict(yaml.safe_load(GOOD.replace("1e-3", "0.001"))).to_dict()
    assert migrate_space(space) == space


def test_what_is_no_space_is_left_to_those_who_read_it():
    assert migrate_space({"search": 3}) == {"search": 3}


@pytest.mark.parametrize("file", REFERENCES, ids=lambda file: file.parent.name)
def test_spaces_of_kept_runs_are_read(file):
    space = space_from_dict(migrate_space(yaml.safe_load(file.read_text())))
    assert migrate_space(space.to_dict()) == space.to_dict()
