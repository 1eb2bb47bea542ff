"""Blends as genomes of other units."""

from __future__ import annotations

import numpy as np
import pytest

from blendsearch.blending import Blend, Clusters, with_unit
from blendsearch.errors import BlendsearchError
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.refine import Dropped, check_known, distinct, refine_blend

STAGES = {"stage1": ("a", "b"), "stage2": ("c",)}
LAYERS = {group: (group,) for group in "abc"}
COARSE = GenomeSpace(
    Clusters("stage", STAGES, {"stage1": (("l1", "l2"), ("taylor",)), "stage2": (("l1",), ("l2", "taylor"))}),
    kept=("a", "b", "c"),
)
FINE = GenomeSpace(
    Clusters(
        "layer",
        LAYERS,
        {"a": (("l1", "taylor"), ("l2",)), "b": (("l1",), ("l2", "taylor")), "c": (("l1", "l2"), ("taylor",))},
    ),
    kept=("a", "b", "c"),
)


def test_a_blend_of_the_same_unit_is_encoded_exactly():
    rng = np.random.default_rng(0)
    for _ in range(20):
        genome = COARSE.random(rng)
        again, dropped = refine_blend(COARSE, COARSE.decode(genome))
        assert not dropped
        found, first = COARSE.decode(again), COARSE.decode(genome)
        assert found.weights == first.weights
        assert found.keep == pytest.approx(first.keep)


def test_a_refined_genome_is_the_blend_where_clusters_allow():
    blend = Blend("stage", {"stage1": {"l2": 0.5, "taylor": 0.25}, "stage2": {"taylor": 1.0}}, STAGES, keep={"a": 2.0})
    genome, dropped = refine_blend(FINE, blend)
    found = FINE.decode(genome)
    assert found.weights == {"a": {"taylor": 0.25, "l2": 0.5}, "b": {"l2": 0.5}, "c": {"taylor": 1.0}}
    assert dropped == [Dropped("b", "taylor", 0.25, "l2")]
    assert found.keep == pytest.approx({"a": 2.0, "b": 1.0, "c": 1.0})


def test_the_larger_factor_stays():
    blend = Blend("stage", {"stage1": {"l1": 0.2, "taylor": 0.3}, "stage2": {"l2": 0.1, "l1": 0.9}}, STAGES)
    genome, dropped = refine_blend(FINE, blend)
    assert FINE.decode(genome).weights == {"a": {"taylor": 0.3}, "b": {"l1": 0.2, "taylor": 0.3}, "c": {"l1": 0.9}}
    assert [(one.unit, one.criterion, one.kept) for one in dropped] == [("a", "l1", "taylor"), ("c", "l2", "l1")]


def test_criteria_travel_to_every_unit_as_they_start_there():
    for name in ("l1", "l2", "taylor"):
        genome, dropped = refine_blend(FINE, COARSE.decode(COARSE.base(name)))
        assert not dropped
        assert np.array_equal(genome, FINE.base(name))


def test_a_finer_blend_is_averaged():
    blend = Blend("layer", {"a": {"l2": 1.0}, "b": {"l2": 0.5}, "c": {"l1": 0.5}}, LAYERS)
    assert COARSE.decode(refine_blend(COARSE, blend)[0]).weights == {"stage1": {"l2": 0.75}, "stage2": {"l1": 0.5}}


def test_weights_travel_unchanged():
    rng = np.random.default_rng(1)
    genome = COARSE.random(rng)
    again, _ = refine_blend(FINE, with_unit(COARSE.decode(genome), "layer", LAYERS))
    assert again[FINE.blend_size :] == pytest.approx(genome[COARSE.blend_size :])


def test_genomes_that_decode_alike_count_once():
    one, other = FINE.base("l1"), FINE.base("l1")
    other[2] = 0.9  # the member of a cluster with factor 0
    assert len(distinct(FINE, [one, other, FINE.base("l2")])) == 2


def test_unknown_criteria_are_named_with_the_remedy():
    blend = Blend("network", {"network": {"l1": 1.0, "hrank": 0.5, "apoz": 0.1}})
    with pytest.raises(
        BlendsearchError, match=r"^here: the blend uses apoz, hrank, not among .* add to criteria: apoz"
    ):
        check_known(blend, ["l1", "l2"], "here")
    check_known(blend, ["l1", "hrank", "apoz"], "here")
