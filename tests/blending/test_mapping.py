"""Blends on other networks than the one they were found on."""

from __future__ import annotations

import pytest
import torch

from blendsearch.blending import Blend, adapt_blend
from blendsearch.errors import BlendsearchError
from blendsearch.models.zoo import MODELS
from blendsearch.structure import Structure


def structure_of(name, scope="all", **arguments):
    network = MODELS.get(name)(num_classes=10, in_channels=3, image_size=8, **arguments)
    return Structure.of(network, torch.randn(2, 3, 8, 8), scope=scope)


@pytest.fixture(scope="module")
def shallow():
    return structure_of("resnet20")


@pytest.fixture(scope="module")
def deep():
    return structure_of("resnet32")


def noted(structure):
    groups = {g.name: {"stage": g.stage, "inner": g.inner, "width": g.width} for g in structure.groups}
    return {"model": "resnet20", "groups": groups}


def layer_blend(structure):
    """A blend whose factors tell the layer: the first has l1 1, the second 2, and so on."""
    weights = {name: {"l1": float(number), "l2": 1.0} for number, name in enumerate(structure.widths, start=1)}
    keep = {name: float(number) for number, name in enumerate(structure.widths, start=1)}
    groups = {name: (name,) for name in structure.widths}
    return Blend("layer", weights, groups, found_on=noted(structure), keep=keep)


def test_the_same_layers_need_no_match(shallow):
    blend = layer_blend(shallow)
    fitted = adapt_blend(blend, shallow)
    assert fitted.blend is blend
    assert not fitted.matched
    assert fitted.rule.startswith("same layers")


def test_groups_that_the_space_leaves_out_do_not_make_another_network(shallow):
    assert adapt_blend(layer_blend(shallow), structure_of("resnet20", scope="inner")).rule.startswith("same layers")


def test_one_blend_for_a_whole_network_goes_anywhere(shallow):
    blend = Blend.single("l1")
    assert adapt_blend(blend, shallow).blend is blend


@pytest.mark.parametrize(("source", "target"), [("shallow", "deep"), ("deep", "shallow")])
def test_another_depth_takes_the_nearest_relative_depth(source, target, request):
    there, here = (request.getfixturevalue(name) for name in (source, target))
    fitted = adapt_blend(layer_blend(there), here)
    assert set(fitted.matched) == set(here.widths)
    assert "nearest relative depth" in fitted.rule
    for stage in here.stages:
        for inner in (True, False):
            own, others = (
                [g.name for g in structure.groups if g.stage == stage and g.inner == inner]
                for structure in (here, there)
            )
            for number, group in enumerate(own):
                # Written anew: place on a scale from 0 to 1, the nearest one there, the earlier at a tie.
                depth = number / (len(own) - 1) if len(own) > 1 else 0.5
                distances = [abs(k / max(1, len(others) - 1) - depth) for k in range(len(others))]
                nearest = others[min(range(len(others)), key=lambda k: (round(distances[k], 9), k))]
                assert fitted.matched[group] == nearest
                assert fitted.blend.weights[group] == layer_blend(there).weights[nearest]
                assert fitted.blend.keep[group] == layer_blend(there).keep[nearest]
    assert fitted.matched["layer1.0.conv1"] == "layer1.0.conv1"
    fitted.blend.check_covers(list(here.widths))


def test_a_stage_level_blend_goes_by_stage_even_if_its_file_does_not_say_more(shallow, deep):
    weights = {stage: {"l1": float(number)} for number, stage in enumerate(shallow.stages, start=1)}
    for found_on in ({}, noted(shallow)):
        fitted = adapt_blend(Blend("stage", weights, shallow.stages, found_on=found_on), deep)
        assert fitted.blend.weights == weights
        assert {unit: set(groups) for unit, groups in fitted.blend.groups.items()} == {
            stage: set(groups) for stage, groups in deep.stages.items()
        }


def test_weights_of_a_network_level_blend_are_matched_too(shallow, deep):
    keep = layer_blend(shallow).keep
    fitted = adapt_blend(Blend("network", {"network": {"l1": 1.0}}, keep=keep, found_on=noted(shallow)), deep)
    assert fitted.blend.keep == {group: keep[source] for group, source in fitted.matched.items()}


def test_another_architecture_gets_the_mean(shallow):
    target = structure_of("conv4", width=4)
    fitted = adapt_blend(layer_blend(shallow), target)
    count = len(shallow.widths)
    assert fitted.blend.unit == "network"
    assert fitted.blend.weights == {"network": {"l1": pytest.approx((count + 1) / 2), "l2": 1.0}}
    assert fitted.blend.keep == dict.fromkeys(target.widths, 1.0)
    assert "another network" in fitted.rule
    assert "of resnet20" in fitted.rule
    assert "equal shares" in fitted.rule


def test_a_file_that_does_not_know_its_stages_gets_the_mean(shallow, deep):
    blend = Blend("layer", layer_blend(shallow).weights, layer_blend(shallow).groups)
    assert "does not say in which stages" in adapt_blend(blend, structure_of("conv4", width=4)).rule
    assert adapt_blend(blend, deep).blend.unit == "network"


@pytest.mark.parametrize("groups", [["conv1"], {"conv1": "stage1"}, {"conv1": {"inner": True}}])
def test_a_damaged_note_is_one_line(groups, deep):
    blend = Blend("layer", {"x": {"l1": 1.0}}, {"x": ("x",)}, found_on={"groups": groups})
    with pytest.raises(BlendsearchError, match=r"found_on\.groups: group -> \{stage, inner\} expected"):
        adapt_blend(blend, deep)
