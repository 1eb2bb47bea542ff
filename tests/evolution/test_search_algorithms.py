"""What is particular to breeding and to sampling; what all share is in contracts/test_search_algorithm_contract.py."""

from __future__ import annotations

import json
import random
from dataclasses import fields

import numpy as np
import pytest

from blendsearch.blending import Clusters
from blendsearch.config import SearchConfig
from blendsearch.errors import BlendsearchError
from blendsearch.evolution.algorithms import ALGORITHMS, Settings, algorithm_class, algorithms_of, make_algorithm
from blendsearch.evolution.algorithms.variation import cross, mutate
from blendsearch.evolution.genome import GenomeSpace

SPACE = GenomeSpace(
    Clusters(
        "stage",
        {"one": ("a",), "two": ("b",)},
        {"one": (("l1", "l2", "fpgm"), ("taylor",)), "two": (("l1", "l2"), ("fpgm", "taylor"))},
    )
)


def fitness(genome):
    return -float(np.abs(genome - 0.8).sum())


OPTUNAS = [algorithm.name for algorithm in algorithms_of("optuna")]


def made(name="generational", space=SPACE, seed=0, initial=(), **settings):
    return ALGORITHMS.get(name)(space, seed=seed, initial=initial, settings=Settings(**settings))


def run(search, generations, size):
    for _ in range(generations):
        genomes = search.ask(size)
        search.tell(genomes, [fitness(genome) for genome in genomes])


@pytest.fixture
def dice():
    state = random.getstate()
    random.seed(0)
    yield
    random.setstate(state)


@pytest.mark.usefixtures("dice")
def test_crossover_moves_member_and_factor_together():
    for _ in range(200):
        # The members differ everywhere, so no factors are mixed.
        first, second = [0.0, 0.1] * 4, [1.0, 0.9] * 4
        first[2:4] = second[2:4] = [0.5, 0.3]
        cross(first, second, space=SPACE)
        for number in (0, 2, 3):
            pairs = {tuple(genome[2 * number : 2 * number + 2]) for genome in (first, second)}
            assert pairs == {(0.0, 0.1), (1.0, 0.9)}


@pytest.mark.usefixtures("dice")
def test_crossover_mixes_factors_of_equal_members_within_bounds():
    mixed = 0
    for _ in range(200):
        first, second = [0.5, 0.0] * 4, [0.5, 1.0] * 4
        cross(first, second, space=SPACE)
        assert all(0 <= gene <= 1 for gene in first + second)
        mixed += sum(gene not in (0.0, 1.0) for gene in first[1::2])
    assert mixed > 100


@pytest.mark.usefixtures("dice")
def test_mutation_always_changes_something_and_reaches_both_ends():
    seen = set()
    for _ in range(500):
        genome = [0.5, 0.5] * 4
        mutate(genome, space=SPACE)
        assert genome != [0.5, 0.5] * 4
        assert all(0 <= gene <= 1 for gene in genome)
        seen |= set(genome[1::2])
    assert {0.0, 1.0} <= seen


def test_evolution_leaves_pythons_random_alone():
    search = made(population=6)
    run(search, 1, 6)
    random.seed(7)
    expected = random.Random(7).random()
    search.ask(6)
    assert random.random() == expected


def test_evolution_does_not_depend_on_pythons_random():
    def offspring(users_seed):
        search = made(population=6)
        run(search, 1, 6)
        random.seed(users_seed)
        return np.stack(search.ask(6))

    assert np.array_equal(offspring(1), offspring(2))


def test_evolution_proposes_no_blend_twice_within_a_generation():
    search = made(population=12, mutation=0.0, crossover=0.0)
    initial = [SPACE.base(criterion) for criterion in ("l1", "l2", "fpgm", "taylor")]
    search.tell(initial, [0.4, 0.3, 0.2, 0.1])
    known = {SPACE.signature(genome) for genome in initial}
    offspring = {SPACE.signature(genome) for genome in search.ask(30)}
    assert len(offspring) == 30
    assert not offspring & known


def test_evolution_keeps_the_elite_through_bad_generations():
    search = made(population=6, elite=2)
    first = search.ask(6)
    search.tell(first, [0.1, 0.9, 0.3, 0.8, 0.2, 0.0])
    for _ in range(3):
        genomes = search.ask(6)
        search.tell(genomes, [-1.0] * 6)
    kept = [(tuple(one), one.fitness.values[0]) for one in search.population]
    assert kept[:2] == [(tuple(first[1].tolist()), 0.9), (tuple(first[3].tolist()), 0.8)]
    assert len(kept) == 6


def test_evolution_keeps_its_size_when_few_are_told():
    search = made(population=8)
    run(search, 1, 8)
    run(search, 3, 2)
    assert len(search.population) == 8
    assert len({tuple(one) for one in search.population}) == 8


@pytest.mark.parametrize("sampler", OPTUNAS)
def test_every_sampler_resumes_exactly_and_is_silent(sampler, capfd, recwarn):
    initial = [SPACE.base("l1"), SPACE.base("taylor")]
    one = made(sampler, seed=5, initial=initial, population=5)
    run(one, 2, 5)
    other = made(sampler, seed=5, initial=initial, population=5)
    other.load_state_dict(one.state_dict())
    assert np.array_equal(np.stack(one.ask(3)), np.stack(other.ask(3)))
    run(one, 1, 5)
    run(other, 1, 5)
    assert np.array_equal(np.stack(one.ask(1)), np.stack(other.ask(1)))
    assert "".join(capfd.readouterr()) == ""
    assert not recwarn.list


@pytest.mark.parametrize("sampler", sorted(set(OPTUNAS) - {"random"}))
def test_samplers_learn(sampler):
    search = made(sampler, seed=1, population=6)
    run(search, 2, 6)
    start = search.best[1]
    run(search, 3, 6)
    late = [fitness(genome) for genome in search.ask(6)]
    assert search.best[1] > start
    rng = np.random.default_rng(0)
    assert np.mean(late) > np.mean([fitness(SPACE.random(rng)) for _ in range(100)])


def test_sampling_asks_other_genomes_before_anything_is_told():
    search = made("random")
    assert not np.array_equal(np.stack(search.ask(3)), np.stack(search.ask(3)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population": 1}, "search.population: 1 given"),
        ({"elite": 24}, "search.elite"),
        ({"tournament": 0}, "search.tournament"),
        ({"crossover": 1.1}, "search.crossover: 1.1 given"),
        ({"mutation": -0.1}, "search.mutation"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(BlendsearchError, match=message):
        made(**settings)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "generational"),
        ({"backend": "deap"}, "generational"),
        ({"backend": "optuna"}, "tpe"),
        ({"algorithm": "random"}, "random"),
        ({"backend": "optuna", "algorithm": {"name": "cmaes"}}, "cmaes"),
        ({"objectives": ["flops"], "lowest": 0.2}, "nsga2"),
        ({"objectives": ["flops"], "lowest": 0.2, "backend": "optuna"}, "nsgaii"),
        ({"objectives": ["flops"], "lowest": 0.2, "algorithm": "nsgaii"}, "nsgaii"),
    ],
)
def test_a_search_section_makes_its_algorithm_with_every_setting(given, name):
    others = {"population": 5, "crossover": 0.6, "mutation": 0.2, "elite": 1, "tournament": 4}
    search = SearchConfig(**others, **given)
    algorithm = make_algorithm(search, SPACE, seed=3, initial=[SPACE.base("l1")])
    assert type(algorithm) is algorithm_class(search) is ALGORITHMS.get(name)
    assert algorithm.seed == 3
    assert np.array_equal(algorithm.ask(1), [SPACE.base("l1")])
    for name in (field.name for field in fields(Settings)):
        assert getattr(algorithm.settings, name) == getattr(search, name), name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"algorithm": "tpee"}, "unknown algorithm 'tpee'; did you mean 'tpe'"),
        ({"backend": "dep"}, r"unknown backend 'dep'; did you mean 'deap'\? \(allowed: deap, optuna\)"),
        ({"backend": "dep", "algorithm": "tpe"}, "unknown backend 'dep'"),
        (
            {"backend": "deap", "algorithm": "tpe"},
            "'tpe' is of backend optuna, and backend deap is given; leave one of them out, or name one of deap's: "
            "cma_es, generational, mu_plus_lambda, nsga2",
        ),
    ],
)
def test_what_names_no_algorithm_is_told(given, message):
    with pytest.raises(BlendsearchError, match=message):
        algorithm_class(SearchConfig(**given))


def cmaes(**changes):
    initial = [SPACE.base(criterion) for criterion in ("l1", "l2", "fpgm", "taylor")]
    return made("cmaes", seed=4, initial=initial, population=6, **changes)


def test_optunas_cma_es_writes_no_pickle_and_goes_on_exactly_from_asks_and_tells():
    one = cmaes()
    run(one, 4, 6)
    one.tell([SPACE.base("l2")], [0.5])  # not its own
    asked = one.ask(6)
    assert any("cma:optimizer:0" in told.notes for told in one.told)  # what Optuna pickles
    text = json.dumps(one.state_dict())
    assert "optimizer" not in text
    assert "80059" not in text  # how a pickle of protocol 5 begins, in hexadecimal
    other = cmaes()
    other.load_state_dict(json.loads(text))
    # Not the notes' values: the pickles hold memory that was never written to.
    assert [list(told.notes) for told in other.told] == [list(told.notes) for told in one.told]
    for search in (one, other):
        search.tell(asked, [fitness(genome) for genome in asked])
    for _ in range(3):
        mine, theirs = (np.stack(search.ask(6)) for search in (one, other))
        assert np.array_equal(mine, theirs)
        for search in (one, other):
            search.tell(list(mine), [fitness(genome) for genome in mine])


def test_optunas_cma_es_starts_around_the_best_it_was_told():
    rng = np.random.default_rng(0)
    given = [SPACE.random(rng) for _ in range(20)]
    best = np.full(SPACE.size, 0.9)
    search = made("cmaes", population=40)
    search.tell([*given[:9], best], [0.1] * 9 + [1.0])
    drawn = np.stack(search.ask(40))
    assert np.abs(drawn.mean(0) - 0.9).max() < 0.12  # clipped at 1, so a little below
    assert drawn.std() < 0.15


WIDE = GenomeSpace(
    Clusters(
        "layer",
        {str(n): (str(n),) for n in range(40)},
        {str(n): (("l1", "l2"), ("fpgm", "taylor")) for n in range(40)},
    )
)


@pytest.mark.parametrize(
    ("space", "others"), [(SPACE, 0), (SPACE, 1), (SPACE, 8), (WIDE, 1)], ids=["alone", "two", "nine", "many genes"]
)
def test_optunas_cma_es_starts_around_the_best_of_few_starts(space, others, recwarn):
    best = np.tile([0.3, 0.7], space.size // 2)
    initial = [*[np.full(space.size, 0.5 - 0.05 * number) for number in range(others)], best]
    search = made("cmaes", space, population=4, initial=initial)
    first = search.ask(len(initial))
    assert np.array_equal(np.stack(first), np.stack(initial))  # the starts are evaluated as they are
    search.tell(first, [0.1] * others + [1.0])
    drawn = np.stack(search.ask(480 // space.size))
    for gene in (0, 1):
        assert drawn[:, gene::2].mean() == pytest.approx(best[gene], abs=0.03)
        assert drawn[:, gene::2].std() < 0.18
    assert not recwarn.list
