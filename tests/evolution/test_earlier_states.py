"""Searches that an earlier version stopped go on.

earlier_states.json is of before algorithms were of one kind; the state of cma_es of since it draws as it does now.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from blendsearch.blending import Clusters
from blendsearch.evolution.algorithms import ALGORITHMS, Settings
from blendsearch.evolution.genome import GenomeSpace

STATES = json.loads(Path(__file__).with_name("earlier_states.json").read_text())
OF_ONE_MACHINE = "cmaes"
"""Optuna's CMA-ES draws along the axes that LAPACK finds, whose signs differ between processors."""
SPACE = GenomeSpace(Clusters("network", {"network": ("a",)}, {"network": (("l1", "l2"), ("taylor",))}))


def made(name):
    initial = [SPACE.base("l1"), SPACE.base("taylor")]
    return ALGORITHMS.get(name)(SPACE, seed=3, initial=initial, settings=Settings(population=4, elite=1))


def fitness(genome):
    return round(-float(np.abs(genome - 0.8).sum()), 6)


def asked_next(name):
    algorithm = made(name)
    algorithm.load_state_dict(STATES[name]["state"])
    return np.stack(algorithm.ask(4))


@pytest.mark.parametrize("name", [name for name in STATES if name != OF_ONE_MACHINE])
def test_a_state_of_an_earlier_version_goes_on(name):
    assert asked_next(name) == pytest.approx(np.array(STATES[name]["next"]))


def test_a_state_of_optunas_cma_es_goes_on_the_same_on_one_machine():
    found = asked_next(OF_ONE_MACHINE)
    assert np.array_equal(found, asked_next(OF_ONE_MACHINE))
    best = STATES[OF_ONE_MACHINE]["state"]["best"][0]
    assert np.abs(found - best).mean() < 0.3, "drawn around what was good, not anywhere in the cube"


@pytest.mark.parametrize("name", STATES)
def test_states_look_as_they_did(name):
    algorithm = made(name)
    for _ in range(3):
        genomes = algorithm.ask(4)
        algorithm.tell(genomes, [fitness(genome) for genome in genomes])
    earlier, today = STATES[name]["state"], json.loads(json.dumps(algorithm.state_dict()))
    assert today.keys() == earlier.keys()
    for key in ("schema", "backend", "names", "asked"):
        assert today[key] == earlier[key]
    assert today["best"][0] == pytest.approx(earlier["best"][0])
    key = {"deap": "algorithm", "optuna": "sampler"}[earlier["backend"]]
    assert today["state"][key] == earlier["state"][key] == name
