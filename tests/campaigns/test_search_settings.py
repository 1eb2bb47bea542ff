"""The settings of the search are checked against the backends before any work is done."""

from __future__ import annotations

import pytest

from blendsearch.validation.catalogue import catalogue
from blendsearch.validation.space import mistakes_in_names


def mistakes(**search):
    return list(mistakes_in_names({"search": search}))


@pytest.mark.parametrize("algorithm", ["generational", "mu_plus_lambda", "cma_es", "differential_evolution", "nsga2"])
def test_every_algorithm_may_be_named(algorithm):
    assert not mistakes(backend="deap", algorithm=algorithm)
    assert not mistakes(backend="optuna", sampler="gp", algorithm=algorithm)


@pytest.mark.parametrize("backend", ["deap", "optuna"])
def test_unknown_algorithms_and_samplers_are_one_line_each(backend):
    (path, algorithm), (_, sampler) = mistakes(backend=backend, algorithm="cma", sampler="tpee")
    assert path == ("search", "algorithm")
    assert algorithm.startswith("unknown algorithm 'cma'; did you mean 'cma_es'? (allowed: generational, ")
    assert sampler.startswith("unknown sampler 'tpee'; did you mean 'tpe'?")


def test_what_an_algorithm_cannot_work_with_is_told_where_it_is_chosen():
    ((path, what),) = mistakes(algorithm="mu_plus_lambda", crossover=0.8)
    assert path == ("search",)
    assert what.startswith("crossover 0.8 and mutation 0.3 given, at most 1 together")
    assert not mistakes(crossover=0.8)
    assert not mistakes(backend="optuna", sampler="gp", algorithm="mu_plus_lambda", crossover=0.8)
    ((_, what),) = mistakes(backend="optuna", sampler="cmaes", population=3)
    assert what == "population 3 given, sampler 'cmaes' needs 4 or more"
    assert not mistakes(backend="optuna", sampler="cmaes", population=4)


def test_what_the_section_itself_refuses_is_not_told_twice():
    assert not mistakes(algorithm="mu_plus_lambda", crossover="often")
    assert not list(mistakes_in_names({"search": None}))
    assert not list(mistakes_in_names({"search": [1]}))


def test_the_list_of_backends_shows_what_each_chooses_between():
    rows = {row["name"]: row["choices"] for row in catalogue("backends")}
    assert rows["deap"] == "algorithm: generational, mu_plus_lambda, cma_es, differential_evolution, nsga2"
    assert rows["optuna"] == "sampler: tpe, nsgaii, gp, random, cmaes"
