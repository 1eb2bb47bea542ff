"""Blends: their arithmetic, their file, and what a file may not hold."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import scipy.stats
import torch

from blendsearch.blending import Blend, rank_all
from blendsearch.errors import BlendsearchError

SCORES = {
    "l1": {"conv1": torch.tensor([5.0, 1.0, 3.0]), "conv2": torch.tensor([0.0, 1.0])},
    "taylor": {"conv1": torch.tensor([1.0, 1.0, 7.0]), "conv2": torch.tensor([2.0, 2.0])},
    "random": {"conv1": torch.tensor([1.0, 2.0, 3.0]), "conv2": torch.tensor([2.0, 3.0])},
}
BLEND = Blend(
    "stage",
    {"stage1": {"l1": 0.25, "taylor": 0.1}, "stage2": {"taylor": 1.0, "random": 0.0}},
    {"stage1": ("conv1",), "stage2": ("conv2", "conv3")},
    {"data": "digits", "seed": 3},
)
RECORD = BLEND.to_dict()


def test_score_is_the_weighted_sum_of_ranks():
    def ranks(criterion, group):
        values = SCORES[criterion][group].numpy()
        return (scipy.stats.rankdata(values) - 1) / (len(values) - 1)

    result = BLEND.score(SCORES)
    assert list(result) == ["conv1", "conv2"]
    expected = 0.25 * ranks("l1", "conv1") + 0.1 * ranks("taylor", "conv1")
    np.testing.assert_allclose(result["conv1"].numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(result["conv2"].numpy(), ranks("taylor", "conv2"), rtol=1e-6)
    assert all(scores.dtype == torch.float32 for scores in result.values())


def test_scoring_ranked_scores_is_the_same():
    for group, scores in BLEND.score_ranked(rank_all(SCORES)).items():
        assert torch.equal(scores, BLEND.score(SCORES)[group])


def test_single_ranks_as_the_criterion_does_on_any_groups():
    result = Blend.single("l1").score(SCORES)
    for group, scores in rank_all(SCORES)["l1"].items():
        assert torch.equal(result[group], scores)


def test_scores_are_not_changed():
    before = copy.deepcopy(SCORES)
    BLEND.score(SCORES)
    assert all(torch.equal(SCORES[c][g], before[c][g]) for c in before for g in before[c])


def test_criteria_are_those_with_a_factor():
    assert BLEND.criteria == ["l1", "taylor"]


def test_uncovered_groups_are_named():
    scores = {name: {**groups, "head": torch.ones(2)} for name, groups in SCORES.items()}
    with pytest.raises(BlendsearchError, match=r"stage-level blend does not cover head \(covered: conv1"):
        BLEND.score(scores)


def test_missing_criteria_are_named():
    with pytest.raises(BlendsearchError, match=r"no scores for taylor \(given: l1\)"):
        BLEND.score({"l1": SCORES["l1"]})
    with pytest.raises(BlendsearchError, match="not every criterion has scores for conv2"):
        BLEND.score({**SCORES, "l1": {"conv1": SCORES["l1"]["conv1"]}})


@pytest.mark.parametrize("blend", [BLEND, Blend.single("l1")], ids=["stage", "network"])
def test_file_round_trip(blend, tmp_path):
    path = tmp_path / "deep" / "blend.json"
    blend.save(path)
    assert Blend.load(path) == blend
    assert json.loads(path.read_text())["schema"] == 2
    assert [file.name for file in path.parent.iterdir()] == ["blend.json"]


def test_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "blend.json"
    BLEND.save(path)
    unwritable = Blend("network", {"network": {"l1": 1.0}}, found_on={"data": object()})
    with pytest.raises(BlendsearchError, match="JSON cannot"):
        unwritable.save(path)
    assert Blend.load(path) == BLEND
    assert [file.name for file in tmp_path.iterdir()] == ["blend.json"]


def changed(**parts):
    return {**RECORD, **parts}


def without(key):
    return {name: value for name, value in RECORD.items() if name != key}


def factors(**given):
    return changed(weights={**RECORD["weights"], "stage1": given})


MISTAKES = {
    "negative": (factors(l1=-0.5), r"weights.stage1.l1: factor -0.5 given"),
    "nan": (factors(l1=float("nan")), "factor nan given"),
    "infinite": (factors(l1=float("inf")), "factor inf given"),
    "beyond float32": (factors(l1=1e39), r"factor 1e\+39 given, 0 or a number from 1e-30 to 1e\+30 expected"),
    "vanishing": (factors(l1=1e-40), "factor 1e-40 given, 0 or a number"),
    "text": (factors(l1="1"), "factor '1' given"),
    "boolean": (factors(l1=True), "factor True given"),
    "all_zero": (factors(l1=0.0), "every factor is 0"),
    "no_factors": (factors(), "weights.stage1"),
    "no_weights": (changed(weights={}), "weights"),
    "unknown_key": (changed(weight={}), "unknown key 'weight'; did you mean 'weights'"),
    "missing_key": (without("found_on"), "found_on missing"),
    "newer_schema": (changed(schema=3), "schema: 3 given, only versions 1 and 2"),
    "no_schema": (without("schema"), "schema: None given"),
    "true_schema": (changed(schema=True), "schema: True given"),
    "unit": (changed(unit="stages"), "unit: 'stages' given, .*did you mean 'stage'"),
    "unit_list": (changed(unit=["stage"]), "unit"),
    "other_units": (changed(groups={"stage1": ["conv1"]}), "differ in stage2"),
    "network_units": (changed(unit="network"), "one unit 'network', given: stage1, stage2"),
    "no_group": (changed(groups={"stage1": ["a"], "stage2": []}), "groups.stage2: none given, at least one"),
    "criterion_as_member": (changed(members={"apoz": changed()}), "members.apoz: the name of a criterion given"),
    "group_twice": (changed(groups={"stage1": ["a"], "stage2": ["a"]}), "'a' is already in unit 'stage1'"),
    "group_text": (changed(groups={"stage1": "a", "stage2": ["b"]}), "list of group names"),
    "groups_list": (changed(groups=[]), "groups"),
    "found_on": (changed(found_on="here"), "found_on"),
    "list": ([1], "list given, a mapping"),
}


@pytest.mark.parametrize(("record", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_of_a_file_are_one_clear_line(record, message, tmp_path):
    path = tmp_path / "blend.json"
    path.write_text(json.dumps(record))
    with pytest.raises(BlendsearchError, match=message) as error:
        Blend.load(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"members": ' * 60 + b"1" + b"}" * 60, b"7" * 5000],
    ids=["half", "binary", "endless", "deep", "long"],
)
def test_what_is_no_json_is_said(content, tmp_path):
    path = tmp_path / "blend.json"
    path.write_bytes(content)
    with pytest.raises(BlendsearchError, match="not a blend file") as caught:
        Blend.load(path)
    assert "\n" not in str(caught.value)


def test_an_integer_beyond_all_floats_is_no_factor():
    with pytest.raises(BlendsearchError, match="a finite number of 0 or more expected"):
        Blend("network", {"network": {"l1": 10**400}})


def test_missing_file_is_said(tmp_path):
    with pytest.raises(BlendsearchError, match="cannot read the blend"):
        Blend.load(tmp_path / "none.json")


def test_a_blend_made_in_python_is_checked_too():
    with pytest.raises(BlendsearchError, match="factor -1"):
        Blend("network", {"network": {"l1": -1.0}})
