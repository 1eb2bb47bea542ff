"""Blends with a blend as a member: ranked like a criterion, whole in their file, at home on other networks."""

from __future__ import annotations

import json

import pytest
import torch

from blendsearch.blending import Blend, adapt_blend, rank
from blendsearch.errors import BlendsearchError
from blendsearch.experiment.members import blend_scores
from blendsearch.models.zoo import MODELS
from blendsearch.structure import Structure

MIX = Blend("network", {"network": {"l1": 1.0, "apoz": 0.5}}, found_on={"name": "first"})
OUTER = Blend("network", {"network": {"taylor": 0.7, "mix": 0.4, "l1": 0.0}}, members={"mix": MIX})


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(0)
    return {name: {"a": torch.randn(9, generator=generator), "b": torch.randn(4, generator=generator)}
            for name in ("l1", "apoz", "taylor")}  # fmt: skip


def test_a_member_is_ranked_like_a_criterion(scores):
    found = OUTER.score(scores)
    for group in ("a", "b"):
        inner = rank(1.0 * rank(scores["l1"][group]) + 0.5 * rank(scores["apoz"][group]))
        assert torch.allclose(found[group], 0.7 * rank(scores["taylor"][group]) + 0.4 * inner)
    assert OUTER.terms == ["mix", "taylor"]
    assert OUTER.criteria == ["apoz", "l1", "taylor"]


def test_scores_of_a_member_that_are_known_are_taken(scores):
    known = {"taylor": scores["taylor"], "mix": MIX.score(scores)}
    found, worked_out = OUTER.score(known), OUTER.score(scores)
    assert all(torch.equal(found[group], worked_out[group]) for group in found)


def test_a_blend_of_one_member_is_that_member(scores):
    alone = Blend.single("mix").with_members({"mix": MIX, "other": MIX})
    assert list(alone.members) == ["mix"]
    assert torch.equal(blend_scores(alone, scores)["a"], MIX.score(scores)["a"])
    of_one = Blend.single("mix").with_members({"mix": Blend.single("l1")})
    assert torch.equal(blend_scores(of_one, scores)["a"], scores["l1"]["a"])


def test_the_file_holds_its_members(tmp_path, scores):
    deep = Blend("network", {"network": {"outer": 1.0, "apoz": 0.2}}, members={"outer": OUTER})
    deep.save(tmp_path / "deep.json")
    read = Blend.load(tmp_path / "deep.json")
    assert read == deep
    assert torch.equal(read.score(scores)["a"], deep.score(scores)["a"])
    assert "members" not in MIX.to_dict()  # files without members stay as they were


def test_what_is_missing_or_wrong_is_said(tmp_path, scores):
    with pytest.raises(BlendsearchError, match=r"blend: no scores for apoz \(given: l1, taylor\)"):
        OUTER.score({name: scores[name] for name in ("l1", "taylor")})
    record = OUTER.to_dict()
    record["members"]["mix"]["unit"] = "netwrk"
    (tmp_path / "wrong.json").write_text(json.dumps(record))
    with pytest.raises(BlendsearchError, match=r"wrong\.json: members\.mix: unit: 'netwrk' given"):
        Blend.load(tmp_path / "wrong.json")


def test_members_are_fitted_by_where_they_were_found():
    def structure(name):
        network = MODELS.get(name)(num_classes=10, in_channels=3, image_size=8)
        return Structure.of(network, torch.randn(2, 3, 8, 8))

    shallow, deep = structure("resnet20"), structure("resnet32")
    groups = {g.name: {"stage": g.stage, "inner": g.inner, "width": g.width} for g in shallow.groups}
    weights = {name: {"l1": float(number), "l2": 1.0} for number, name in enumerate(shallow.widths, start=1)}
    inner = Blend("layer", weights, {name: (name,) for name in shallow.widths}, found_on={"groups": groups})
    outer = Blend("network", {"network": {"mix": 1.0, "taylor": 0.5}}, members={"mix": inner})
    with pytest.raises(BlendsearchError, match="does not cover"):
        outer.check_covers(list(deep.widths))
    fitted = adapt_blend(outer, deep)
    fitted.blend.check_covers(list(deep.widths))
    assert fitted.blend.members["mix"] == adapt_blend(inner, deep).blend
    assert "its member mix: same stages, other depth" in fitted.rule
