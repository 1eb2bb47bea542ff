"""What is particular to each of DEAP's algorithms; all pass contracts/test_search_algorithm_contract.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
from deap import cma

from blendsearch.blending import Clusters
from blendsearch.errors import BlendsearchError
from blendsearch.evolution.algorithms import ALGORITHMS, Settings, algorithms_of
from blendsearch.evolution.algorithms.evolutionary import Individual
from blendsearch.evolution.genome import KEPT_SPREAD, GenomeSpace

CLUSTERS = Clusters(
    "stage",
    {"one": ("a",), "two": ("b",)},
    {"one": (("l1", "l2", "fpgm"), ("taylor",)), "two": (("l1", "l2"), ("fpgm", "taylor"))},
)
SPACE = GenomeSpace(CLUSTERS)
WITH_KEPT = GenomeSpace(CLUSTERS, kept=("a", "b"))


def fitness(genome):
    return -float(np.abs(genome - 0.8).sum())


def run(search, generations, size):
    for _ in range(generations):
        genomes = search.ask(size)
        search.tell(genomes, [fitness(genome) for genome in genomes])


DEAPS = [algorithm.name for algorithm in algorithms_of("deap")]


def evolution(algorithm, space=SPACE, options=None, **settings):
    shared = Settings(**{"population": 8, **settings})
    return ALGORITHMS.get(algorithm)(space, seed=0, settings=shared, **(options or {}))


def random_genomes(count, seed=0, space=SPACE):
    rng = np.random.default_rng(seed)
    return [space.random(rng) for _ in range(count)]


@pytest.mark.parametrize("algorithm", DEAPS)
def test_each_gets_nearer_to_a_known_optimum_than_chance_with_shares_searched_too(algorithm):
    search = evolution(algorithm, WITH_KEPT)
    run(search, 30, 8)
    chance = max(fitness(genome) for genome in random_genomes(30 * 8, space=WITH_KEPT))
    assert search.best[1] > chance


@pytest.mark.parametrize("algorithm", DEAPS)
def test_each_goes_on_exactly_from_text_after_many_generations_told_in_part(algorithm):
    one = evolution(algorithm, WITH_KEPT)
    for size in (8, 8, 5, 1, 11, 8):
        run(one, 1, size)
    one.ask(3)
    other = evolution(algorithm, WITH_KEPT)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for size in (5, 8, 8):
        run(one, 1, size)
        run(other, 1, size)
        assert json.dumps(one.state_dict()) == json.dumps(other.state_dict())


@pytest.mark.parametrize("algorithm", DEAPS)
def test_none_depends_on_or_changes_numpys_global_generator(algorithm):
    def offspring(users_seed):
        search = evolution(algorithm)
        run(search, 2, 8)
        np.random.seed(users_seed)  # noqa: NPY002
        genomes = np.stack(search.ask(8))
        assert np.random.random() == np.random.RandomState(users_seed).random()  # noqa: NPY002
        return genomes

    assert np.array_equal(offspring(1), offspring(2))


def test_a_state_of_another_algorithm_is_refused():
    state = evolution("cma_es").state_dict()
    with pytest.raises(BlendsearchError, match="algorithm: 'cma_es' given, 'mu_plus_lambda' expected"):
        evolution("mu_plus_lambda").load_state_dict(state)


def test_mu_plus_lambda_keeps_the_best_of_all_told():
    search = evolution("mu_plus_lambda", population=4)
    told = []
    for _ in range(5):
        genomes = search.ask(6)
        told += [(fitness(genome), tuple(genome.tolist())) for genome in genomes]
        search.tell(genomes, [fitness(genome) for genome in genomes])
    kept = [(one.value, tuple(one)) for one in search.population]
    assert kept == sorted(set(told), reverse=True)[:4]


def test_mu_plus_lambda_asks_parents_again_where_neither_crossed_nor_mutated():
    search = evolution("mu_plus_lambda", crossover=0.0, mutation=0.0)
    run(search, 1, 8)
    parents = {tuple(one) for one in search.population}
    assert {tuple(genome.tolist()) for genome in search.ask(20)} <= parents


def test_mu_plus_lambda_makes_new_blends_of_a_single_parent():
    search = evolution("mu_plus_lambda", crossover=1.0, mutation=0.0)
    search.tell([SPACE.base("l1")], [0.5])
    offspring = {SPACE.signature(genome) for genome in search.ask(10)}
    assert len(offspring) == 10
    assert SPACE.signature(SPACE.base("l1")) not in offspring


def test_mu_plus_lambda_refuses_shares_above_one_together():
    with pytest.raises(BlendsearchError, match=r"crossover 0\.7 and mutation 0\.4 given, at most 1 together"):
        evolution("mu_plus_lambda", mutation=0.4)
    evolution("mu_plus_lambda", mutation=0.3)


def test_cma_es_updates_as_deap_does_from_the_best_of_the_first_genomes():
    search = evolution("cma_es")
    first = random_genomes(9)
    search.tell(first, [fitness(genome) for genome in first])
    start = max(first, key=fitness)
    reference = cma.Strategy(start, 0.3, lambda_=8)
    for seed in (1, 2, 3):
        genomes = random_genomes(8, seed)
        search.tell(genomes, [fitness(genome) for genome in genomes])
        reference.update([Individual(genome, fitness(genome)) for genome in genomes])
    own = search.strategy
    assert np.array_equal(own.centroid, reference.centroid)
    assert np.array_equal(own.C, reference.C)
    assert own.sigma == min(reference.sigma, 0.5)


def test_cma_es_draws_from_its_distribution_and_reaches_both_sides():
    search = evolution("cma_es", WITH_KEPT)
    centre = np.full(WITH_KEPT.size, 0.5)
    search.tell([centre] * 8, [0.0] * 8)
    genomes = np.stack(search.ask(4000))
    assert (genomes == 0.0).any()
    assert (genomes == 1.0).any()
    assert np.allclose(genomes.mean(axis=0), 0.5, atol=0.02)
    kept = genomes[:, WITH_KEPT.blend_size :]
    assert np.allclose(kept.std(axis=0), KEPT_SPREAD, rtol=0.05)
    inside = ((genomes > 0) & (genomes < 1)).mean(axis=0)[: WITH_KEPT.blend_size]
    assert np.allclose(inside, 0.904, atol=0.02)  # within 0.5 / 0.3 standard deviations


def test_cma_es_draws_the_same_whatever_signs_a_processor_gives_the_axes():
    search = evolution("cma_es", WITH_KEPT)
    run(search, 6, 8)
    again = evolution("cma_es", WITH_KEPT)
    again.load_state_dict(search.state_dict())
    strategy = again.strategy
    signs = np.where(np.arange(len(strategy.diagD)) % 2, -1.0, 1.0)
    strategy.B, strategy.BD = strategy.B * signs, strategy.BD * signs
    assert np.allclose(np.stack(again.ask(4)), np.stack(search.ask(4)), atol=1e-12)


def test_cma_es_starts_as_wide_as_it_is_told():
    search = evolution("cma_es", WITH_KEPT, {"sigma": 0.1})
    centre = np.full(WITH_KEPT.size, 0.5)
    search.tell([centre] * 8, [0.0] * 8)
    genomes = np.stack(search.ask(4000))
    assert np.allclose(genomes[:, : WITH_KEPT.blend_size].std(axis=0), 0.1, rtol=0.05)
    assert np.allclose(genomes[:, WITH_KEPT.blend_size :].std(axis=0), KEPT_SPREAD / 3, rtol=0.05)


@pytest.mark.parametrize("sigma", [0, -0.1, 0.6, "wide", True])
def test_cma_es_refuses_a_width_that_is_none(sigma):
    with pytest.raises(BlendsearchError, match=r"search\.algorithm\.sigma: .* given, above 0\.001 and at most 0\.5"):
        evolution("cma_es", options={"sigma": sigma})


def test_cma_es_starts_anew_from_the_best_when_it_has_shrunk_to_a_point():
    search = evolution("cma_es")
    run(search, 2, 8)
    best = search.best[0]
    updates = []
    for _ in range(60):
        search.tell([best] * 8, [search.best[1]] * 8)
        strategy = search.strategy
        assert 0 < strategy.sigma <= 0.5
        assert np.isfinite(strategy.BD).all()
        updates.append(strategy.update_count)
    started = updates.index(0)
    assert started > 5
    assert np.allclose(search.strategy.centroid, best, atol=1e-12)
    assert np.stack(search.ask(50)).std(axis=0).max() > 1e-3
