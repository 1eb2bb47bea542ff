"""Genomes and the blends they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blendsearch.blending import Blend, Clusters, rank_all
from blendsearch.criteria.elimination import DropLoss, Reader
from blendsearch.errors import BlendsearchError
from blendsearch.evolution.genome import GenomeSpace

CLUSTERS = Clusters(
    "stage",
    {"stage1": ("conv1", "conv2"), "stage2": ("conv3",)},
    {"stage1": (("l1", "l2", "fpgm"), ("taylor",)), "stage2": (("l1", "taylor"), ("l2",), ("fpgm",))},
)
SPACE = GenomeSpace(CLUSTERS)
CRITERIA = ("l1", "l2", "fpgm", "taylor")


def test_names_and_size():
    assert SPACE.size == len(SPACE.names) == 10
    assert SPACE.names[:4] == [
        "stage1/cluster0/member",
        "stage1/cluster0/factor",
        "stage1/cluster1/member",
        "stage1/cluster1/factor",
    ]


def test_decode_worked_by_hand():
    genome = np.array([0.5, 0.25, 0.9, 0.0, 1.0, 0.75, 0.0, 0.5, 0.0, 0.0])
    blend = SPACE.decode(genome)
    assert blend.weights == {"stage1": {"l2": 0.25}, "stage2": {"taylor": 0.75, "l2": 0.5}}
    assert blend.groups == CLUSTERS.groups
    assert blend.unit == "stage"


@pytest.mark.parametrize(("gene", "member"), [(0.0, "l1"), (0.34, "l2"), (0.99, "fpgm"), (1.0, "fpgm")])
def test_member_genes_share_the_interval(gene, member):
    genome = np.full(SPACE.size, 0.5)
    genome[0] = gene
    assert member in SPACE.decode(genome).weights["stage1"]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_base_ranks_as_the_criterion_does(criterion):
    rng = np.random.default_rng(0)
    scores = {
        name: {group: torch.from_numpy(rng.normal(size=5)) for group in ("conv1", "conv2", "conv3")}
        for name in CRITERIA
    }
    blend = SPACE.decode(SPACE.base(criterion))
    assert blend.weights == {unit: {criterion: 1.0} for unit in ("stage1", "stage2")}
    for group, values in blend.score(scores).items():
        assert torch.equal(values, rank_all(scores)[criterion][group])


def test_encode_undoes_decode():
    rng = np.random.default_rng(1)
    for _ in range(50):
        genome = SPACE.random(rng)
        blend = SPACE.decode(genome)
        assert SPACE.decode(SPACE.encode(blend)) == blend
        assert SPACE.signature(SPACE.encode(blend)) == SPACE.signature(genome)


def test_encode_scales_great_factors_down():
    blend = Blend("stage", {"stage1": {"l1": 4.0}, "stage2": {"l1": 1.0, "l2": 2.0}}, CLUSTERS.groups)
    decoded = SPACE.decode(SPACE.encode(blend))
    assert decoded.weights == {"stage1": {"l1": 1.0}, "stage2": {"l1": 0.25, "l2": 0.5}}


def test_great_factors_take_exponents_along():
    """Else a search would start from another blend than the one that it was given."""
    aware = GenomeSpace(CLUSTERS, set_aware=True)
    blend = Blend("stage", {"stage1": {"l1": 4.0}, "stage2": {"l1": 1.0}}, CLUSTERS.groups, alpha={"stage1": 1.0})
    decoded = aware.decode(aware.encode(blend))
    assert (decoded.weights, decoded.alpha) == ({"stage1": {"l1": 1.0}, "stage2": {"l1": 0.25}}, {"stage1": 0.25})
    torch.manual_seed(0)
    data = torch.randn(40, 6).double().relu()
    losses = {g: DropLoss(6, [Reader(data.T @ data, torch.randn(6, 3).double())]) for g in ("conv1", "conv2", "conv3")}
    scores = {"l1": {group: torch.rand(6) for group in losses}}
    given, found = blend.score(scores, losses), decoded.score(scores, losses)
    for group in losses:
        assert given[group].argsort().tolist() == found[group].argsort().tolist()


def test_a_unit_without_factors_weighs_its_clusters_alike():
    genome = np.zeros(SPACE.size)
    genome[1] = 0.5
    blend = SPACE.decode(genome)
    assert blend.weights["stage1"] == {"l1": 0.5}
    assert blend.weights["stage2"] == {"l1": 1.0, "l2": 1.0, "fpgm": 1.0}


def test_all_alike_beside_the_losses_sums_up_to_the_tilt_in_every_unit():
    aware = GenomeSpace(CLUSTERS, set_aware=True)
    blend = aware.alike(tilt=2.5)
    # A unit of two clusters would need factors of 1.25; the exponent is as much less.
    assert {unit: sum(own.values()) / blend.alpha[unit] for unit, own in blend.weights.items()} == pytest.approx(
        dict.fromkeys(CLUSTERS.members, 2.5)
    )
    assert blend.alpha == {"stage1": pytest.approx(0.8), "stage2": 1.0}
    assert aware.decode(aware.encode(blend)) == blend
    assert set(aware.alike().weights["stage2"].values()) == {1.0}
    assert not aware.alike().set_aware


def test_signature_overlooks_members_of_no_weight():
    first, second = np.full(SPACE.size, 0.5), np.full(SPACE.size, 0.5)
    first[1] = second[1] = 0.0
    second[0] = 1.0
    assert SPACE.signature(first) == SPACE.signature(second)
    second[1] = 0.1
    assert SPACE.signature(first) != SPACE.signature(second)


@pytest.mark.parametrize(
    ("blend", "message"),
    [
        (Blend.single("hrank"), "'hrank' is in no cluster of unit 'stage1' .there: fpgm, l1, l2, taylor"),
        (Blend("network", {"network": {"l1": 1.0, "l2": 1.0}}), "two criteria of one cluster"),
        (Blend("layer", {"conv1": {"l1": 1.0}}, {"conv1": ("conv1",)}), "no factors for unit 'stage1'"),
    ],
)
def test_blends_that_do_not_fit(blend, message):
    with pytest.raises(BlendsearchError, match=message):
        SPACE.encode(blend)


def test_params_name_every_gene():
    genome = SPACE.random(np.random.default_rng(2))
    assert list(SPACE.params(genome)) == SPACE.names
    assert np.array_equal(list(SPACE.params(genome).values()), genome)


def test_a_unit_needs_clusters():
    with pytest.raises(BlendsearchError, match="no criteria to choose from in stage2"):
        GenomeSpace(Clusters("stage", CLUSTERS.groups, {"stage1": (("l1",),), "stage2": ()}))


@pytest.mark.parametrize("genome", [np.zeros(3), np.full(10, 1.5), np.full(10, np.nan)])
def test_genomes_that_do_not_fit(genome):
    with pytest.raises(BlendsearchError, match="genome"):
        SPACE.decode(genome)


GROUPS = ("conv1", "conv2", "conv3")
WITH_KEPT = GenomeSpace(CLUSTERS, GROUPS)


def test_weights_of_groups_follow_the_blends_genes():
    assert WITH_KEPT.size == SPACE.size + 3
    assert WITH_KEPT.names == [*SPACE.names, "conv1/keep", "conv2/keep", "conv3/keep"]
    genome = np.concatenate([np.full(SPACE.size, 0.5), [0.5, 1.0, 0.25]])
    blend = WITH_KEPT.decode(genome)
    assert blend.keep == {"conv1": 1.0, "conv2": 4.0, "conv3": 0.5}
    assert blend.weights == SPACE.decode(genome[: SPACE.size]).weights


def test_weights_come_back_from_encoding():
    rng = np.random.default_rng(3)
    for _ in range(5):
        blend = WITH_KEPT.decode(WITH_KEPT.random(rng))
        again = WITH_KEPT.decode(WITH_KEPT.encode(blend))
        assert again.keep == pytest.approx(blend.keep)
    assert WITH_KEPT.decode(WITH_KEPT.base("l1")).keep == dict.fromkeys(GROUPS, 1.0)
    assert WITH_KEPT.decode(WITH_KEPT.base("l1", {"conv2": 100.0})).keep["conv2"] == 4.0


def test_genomes_with_other_weights_have_other_signatures():
    first = WITH_KEPT.base("l1")
    second = first.copy()
    second[-1] = 0.6
    assert WITH_KEPT.signature(first) != WITH_KEPT.signature(second)


def test_random_weights_are_near_to_equal():
    rng = np.random.default_rng(0)
    genes = np.array([WITH_KEPT.random(rng)[SPACE.size :] for _ in range(500)])
    assert abs(genes.mean() - 0.5) < 0.02
    assert 0.08 < genes.std() < 0.16
