"""Blends under other units."""

from __future__ import annotations

import pytest
import torch

from blendsearch.blending import Blend, with_unit
from blendsearch.errors import BlendsearchError

STAGES = {"stage1": ("a", "b", "c"), "stage2": ("d",)}
LAYERS = {group: (group,) for group in "abcd"}
BLEND = Blend("stage", {"stage1": {"l1": 0.1, "l2": 0.7}, "stage2": {"l2": 0.4}}, STAGES, keep={"a": 2.0})
SCORES = {
    name: {group: torch.rand(7, generator=torch.Generator().manual_seed(10 * i + j)) for j, group in enumerate("abcd")}
    for i, name in enumerate(("l1", "l2"))
}


def test_a_finer_unit_ranks_exactly_as_before():
    finer = with_unit(BLEND, "layer", LAYERS)
    assert finer.weights == {"a": {"l1": 0.1, "l2": 0.7}, "b": {"l1": 0.1, "l2": 0.7}, "c": {"l1": 0.1, "l2": 0.7},
                             "d": {"l2": 0.4}}  # fmt: skip
    for group, values in BLEND.score(SCORES).items():
        assert torch.equal(values, finer.score(SCORES)[group])
    assert finer.keep == BLEND.keep


def test_back_to_the_coarser_unit_is_the_same_to_the_last_bit():
    assert with_unit(with_unit(BLEND, "layer", LAYERS), "stage", STAGES) == BLEND


def test_a_coarser_unit_is_the_mean_over_groups():
    coarser = with_unit(BLEND, "network", {"network": tuple("abcd")})
    assert coarser.weights["network"] == pytest.approx({"l1": 3 * 0.1 / 4, "l2": (3 * 0.7 + 0.4) / 4})


def test_a_network_level_blend_covers_any_groups():
    finer = with_unit(Blend.single("l1"), "layer", LAYERS)
    assert finer.weights == {group: {"l1": 1.0} for group in "abcd"}


def test_groups_that_are_not_covered_are_named():
    with pytest.raises(BlendsearchError, match="does not cover e"):
        with_unit(BLEND, "layer", {"e": ("e",)})
