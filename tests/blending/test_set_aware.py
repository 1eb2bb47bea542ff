"""Set-aware blends: the exponent's arithmetic, their file, other units, other networks, members, genomes."""

from __future__ import annotations

import copy
import random
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from blendsearch.blending import Blend, Clusters, rank_all, with_unit
from blendsearch.criteria import DropLoss, Reader
from blendsearch.errors import BlendsearchError
from blendsearch.evolution.algorithms.variation import cross, mutate
from blendsearch.evolution.genome import GenomeSpace

WIDTHS = {"conv1": 6, "conv2": 5}
FACTORS = {"stage1": {"l1": 0.4, "taylor": 0.2}, "stage2": {"taylor": 1.0}}
GROUPS = {"stage1": ("conv1",), "stage2": ("conv2",)}
BLEND = Blend("stage", FACTORS, GROUPS, alpha={"stage1": 0.7})


@pytest.fixture(scope="module")
def scores():
    draw = torch.Generator().manual_seed(0)
    return {c: {g: torch.randn(w, generator=draw) for g, w in WIDTHS.items()} for c in ("l1", "taylor")}


@pytest.fixture(scope="module")
def losses():
    """Inputs that are uncorrelated, so that a drop costs the same whatever went before: w^2 h each."""
    draw = torch.Generator().manual_seed(1)
    return {
        group: DropLoss(width, [Reader(torch.eye(width), torch.randn(width, 3, generator=draw))])
        for group, width in WIDTHS.items()
    }


def test_without_an_exponent_it_ranks_as_before_to_the_bit(scores, losses):
    plain, zero = replace(BLEND, alpha={}), replace(BLEND, alpha={"stage1": 0.0, "stage2": 0.0})
    for group, values in plain.score(scores).items():
        assert torch.equal(zero.score(scores, losses)[group], values)
    assert not zero.set_aware
    assert BLEND.set_aware


def test_the_place_is_by_the_exponents_logarithm_of_the_loss_plus_standardised_ranks(scores, losses):
    """Where losses do not depend on what went before, the order is that of one sum, worked out here by SciPy."""

    def standardised(criterion):
        ranks = scipy.stats.rankdata(scores[criterion]["conv1"].numpy())
        return (ranks - ranks.mean()) / ranks.std()

    weights = losses["conv1"].readers[0].weights.double().square().sum(1).numpy()
    harm = 0.7 * np.log(weights * (1 + 1e-3)) + 0.4 * standardised("l1") + 0.2 * standardised("taylor")
    found = BLEND.score(scores, losses)
    assert found["conv1"].dtype == torch.float32
    assert found["conv1"].tolist() == (scipy.stats.rankdata(harm) - 1).tolist()
    assert torch.equal(found["conv2"], rank_all(scores)["taylor"]["conv2"])


def test_an_exponent_alone_is_the_elimination(scores, losses):
    whole = Blend("stage", {"stage1": {}, "stage2": {"l1": 0.0}}, GROUPS, alpha=dict.fromkeys(GROUPS, 1.0))
    for blend in (Blend.elimination(), whole):
        assert blend.criteria == []
        for group, values in blend.score({}, losses).items():
            assert torch.equal(values, losses[group].eliminate().place.float())


def test_it_cannot_be_scored_without_losses(scores):
    with pytest.raises(BlendsearchError, match="set-aware, and there is no drop loss of group 'conv1'"):
        BLEND.score(scores)


def test_a_member_brings_its_exponent(scores, losses):
    outer = Blend("network", {"network": {"found": 0.5, "l1": 0.5}}, members={"found": BLEND})
    assert outer.set_aware
    inner = rank_all({"found": BLEND.score(scores, losses)})["found"]["conv1"]
    expected = 0.5 * inner + 0.5 * rank_all(scores)["l1"]["conv1"]
    torch.testing.assert_close(outer.score(scores, losses)["conv1"], expected)


def test_what_has_a_say_in_a_group():
    assert BLEND.says("conv1") == {"l1": 0.4, "taylor": 0.2, "drop loss": 0.7}
    assert BLEND.says("conv2") == {"taylor": 1.0}


def test_its_file_comes_back_and_one_of_schema_1_is_read(tmp_path):
    BLEND.save(tmp_path / "blend.json")
    assert Blend.load(tmp_path / "blend.json") == BLEND
    record = replace(BLEND, alpha={}).to_dict()
    assert record["schema"] == 2
    assert "alpha" not in record
    assert Blend.from_dict({**record, "schema": 1}) == replace(BLEND, alpha={})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": {"stage3": 1.0}}, "blend: alpha: unit 'stage3' is not among those of weights"),
        ({"alpha": {"stage1": 1.5}}, "blend: alpha.stage1: 1.5 given, a number from 0 to 1 expected"),
        ({"alpha": {"stage1": True}}, "blend: alpha.stage1: True given, a number from 0 to 1 expected"),
        ({"alpha": {"stage1": float("nan")}}, "blend: alpha.stage1: nan given, a number from 0 to 1 expected"),
        ({"alpha": [1.0]}, r"blend: alpha: \[1.0\] given, unit -> exponent expected"),
        ({"alpha": {"stage1": 0.0}, "weights": {**FACTORS, "stage1": {}}}, "blend: weights.stage1: {} given"),
        ({"schema": 3}, "blend: schema: 3 given, only versions 1 and 2 can be read"),
    ],
)
def test_mistakes_of_a_file_are_one_clear_line(change, message):
    with pytest.raises(BlendsearchError, match=message):
        Blend.from_dict({**BLEND.to_dict(), **change})


def test_exponents_go_with_the_factors_to_other_units():
    layers = with_unit(BLEND, "layer", {"conv1": ("conv1",), "conv2": ("conv2",)})
    assert layers.alpha == {"conv1": 0.7, "conv2": 0.0}
    network = with_unit(BLEND, "network", {"network": ("conv1", "conv2")})
    assert network.alpha == {"network": pytest.approx(0.35)}
    assert with_unit(replace(BLEND, alpha={}), "network", {"network": ("conv1", "conv2")}).alpha == {}


CLUSTERS = Clusters("stage", GROUPS, {"stage1": (("l1", "l2"), ("taylor",)), "stage2": (("taylor",),)})
SPACE = GenomeSpace(CLUSTERS, ("conv1", "conv2"), set_aware=True)


def test_a_genome_holds_an_exponent_for_each_unit():
    assert SPACE.names[6:] == ["stage1/alpha", "stage2/alpha", "conv1/keep", "conv2/keep"]
    genome = np.array([0.0, 0.25, 0.0, 0.5, 0.0, 0.0, 0.7, 1.0, 0.5, 0.5])
    blend = SPACE.decode(genome)
    assert blend.weights == {"stage1": {"l1": 0.25, "taylor": 0.5}, "stage2": {}}
    assert blend.alpha == {"stage1": 0.7, "stage2": 1.0}
    assert SPACE.decode(SPACE.encode(blend)) == blend
    other = genome.copy()
    other[6] = 0.8
    assert SPACE.signature(other) != SPACE.signature(genome)


def test_a_unit_without_exponent_and_factors_weighs_its_clusters_alike():
    genome = np.zeros(SPACE.size)
    assert SPACE.decode(genome).weights["stage1"] == {"l1": 1.0, "taylor": 1.0}


def test_a_search_without_exponents_refuses_a_set_aware_blend():
    with pytest.raises(BlendsearchError, match=r"set blend\.set_aware: true"):
        GenomeSpace(CLUSTERS).encode(BLEND)


def test_random_genomes_have_an_exponent_in_about_half_of_their_units():
    rng = np.random.default_rng(0)
    drawn = np.array([SPACE.random(rng) for _ in range(400)])
    exponents = drawn[:, SPACE.alpha_genes]
    assert 0.4 < (exponents > 0).mean() < 0.6
    with_one = drawn[exponents[:, 0] > 0][:, [1, 3]].mean()
    assert with_one < 0.6 * drawn[exponents[:, 0] == 0][:, [1, 3]].mean()
    assert ((drawn >= 0) & (drawn <= 1)).all()


def test_crossover_and_mutation_reach_exponents_and_stay_in_the_cube():
    random.seed(0)
    rng = np.random.default_rng(0)
    moved = mixed = 0
    for _ in range(200):
        one, other = list(SPACE.random(rng)), list(SPACE.random(rng))
        before, before_other = copy.copy(one), copy.copy(other)
        cross(one, other, space=SPACE)
        mixed += one[6] not in (before[6], before_other[6])
        before = copy.copy(one)
        mutate(one, space=SPACE)
        moved += one[SPACE.alpha_genes] != before[SPACE.alpha_genes]
        assert all(0 <= gene <= 1 for gene in (*one, *other))
    assert moved > 20
    assert mixed > 20
