"""The algorithm of a search and its settings are checked before any work is done."""

from __future__ import annotations

import pytest

from blendsearch.evolution.algorithms import ALGORITHMS
from blendsearch.validation.catalogue import catalogue
from blendsearch.validation.space import mistakes_in_names


def mistakes(**search):
    return list(mistakes_in_names({"search": search}))


@pytest.mark.parametrize("name", ALGORITHMS.names())
def test_every_algorithm_may_be_named_with_its_backend_or_without(name):
    assert not mistakes(algorithm=name)
    assert not mistakes(algorithm={"name": name}, backend=ALGORITHMS.get(name).backend)


def test_unknown_algorithms_and_backends_are_one_line_each():
    (path, backend), (_, algorithm) = mistakes(backend="optunna", algorithm="cma_ess")
    assert path == ("search", "backend")
    assert backend == "unknown backend 'optunna'; did you mean 'optuna'? (allowed: deap, optuna)"
    assert algorithm.startswith("unknown algorithm 'cma_ess'; did you mean 'cma_es'? (allowed: cma_es, cmaes, ")


@pytest.mark.parametrize("removed", ["differential_evolution", "gp"])
def test_what_was_removed_is_unknown(removed):
    ((path, what),) = mistakes(algorithm=removed)
    assert path == ("search", "algorithm")
    assert what.startswith(f"unknown algorithm '{removed}'")


@pytest.mark.parametrize("objectives", [{}, {"objectives": ["flops"], "lowest": 0.1}])
def test_an_algorithm_of_another_backend_is_one_line(objectives):
    ((path, what),) = mistakes(backend="optuna", algorithm="nsga2", **objectives)
    assert path == ("search", "algorithm")
    assert what == (
        "'nsga2' is of backend deap, and backend optuna is given; leave one of them out, or name one of optuna's: "
        "cmaes, nsgaii, random, tpe"
    )


def test_an_unknown_option_is_told():
    ((path, what),) = mistakes(algorithm={"name": "tpe", "multivariate": True})
    assert path == ("search", "algorithm", "multivariate")
    assert what == "unknown option of algorithm 'tpe' (allowed: none)"
    ((path, _),) = mistakes(algorithm={"name": "tpe", "seed": 3})  # what all share is no option
    assert path == ("search", "algorithm", "seed")


def test_what_an_algorithm_cannot_work_with_is_told_where_it_is_chosen():
    ((path, what),) = mistakes(algorithm="mu_plus_lambda", crossover=0.8)
    assert path == ("search",)
    assert what.startswith("crossover 0.8 and mutation 0.3 given, at most 1 together")
    assert not mistakes(crossover=0.8)
    assert not mistakes(algorithm="tpe", crossover=0.8)
    ((_, what),) = mistakes(algorithm="cmaes", population=3)
    assert what == "population 3 given, algorithm 'cmaes' needs 4 or more"
    assert not mistakes(algorithm="cmaes", population=4)
    ((_, what),) = mistakes(algorithm="tpe", objectives=["flops"], lowest=0.1)
    assert what == "objectives flops given, algorithm 'tpe' has accuracy alone; allowed: algorithm nsga2, nsgaii"


def test_what_the_section_itself_refuses_is_not_told_twice():
    assert not mistakes(algorithm="mu_plus_lambda", crossover="often")
    assert not list(mistakes_in_names({"search": None}))
    assert not list(mistakes_in_names({"search": [1]}))


def test_the_list_of_algorithms_shows_whose_they_are_and_their_options():
    rows = {row["name"]: row for row in catalogue("algorithms")}
    assert {name: row["backend"] for name, row in rows.items()} == {
        "generational": "deap",
        "mu_plus_lambda": "deap",
        "cma_es": "deap",
        "nsga2": "deap",
        "tpe": "optuna",
        "nsgaii": "optuna",
        "cmaes": "optuna",
        "random": "optuna",
    }
    options = {name: row["options"] for name, row in rows.items() if row["options"] != "none"}
    assert options == {"cma_es": "sigma=0.3"}
    assert all(row["source"] for row in rows.values())
