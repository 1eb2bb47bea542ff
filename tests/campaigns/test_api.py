"""The Python interface on networks and data of one's own, as the README shows it."""

from __future__ import annotations

import copy
import inspect
import json
import sys
from typing import get_args

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import blendsearch
from blendsearch.allocation import Evolved
from blendsearch.allocation.sensitivity import Sensitivity
from blendsearch.config import StructureConfig
from blendsearch.criteria import CRITERIA
from blendsearch.criteria.base import GROUP_RULES
from blendsearch.errors import BlendsearchError, BudgetError, ConfigError, DataError, StructureError, UnknownNameError
from blendsearch.structure import Structure


class OwnNetwork(nn.Module):
    """Functional ReLU, a residual addition, a hidden linear layer: nothing from the zoo."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.body = nn.Conv2d(12, 12, 3, padding=1)
        self.body_norm = nn.BatchNorm2d(12)
        self.head = nn.Conv2d(12, 20, 3, padding=1)
        self.hidden = nn.Linear(20 * 4 * 4, 16)
        self.out = nn.Linear(16, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.body_norm(self.body(x)) + x)
        x = nn.functional.max_pool2d(torch.relu(self.head(x)), 2)
        return self.out(torch.relu(self.hidden(x.flatten(1))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return OwnNetwork()


@pytest.fixture(scope="module")
def loader():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(24, 3, 8, 8, generator=generator)
    return DataLoader(TensorDataset(images, torch.randint(0, 5, (24,), generator=generator)), batch_size=8)


def test_score_gives_every_filter_of_every_group_a_number(model, loader):
    scores = blendsearch.score(model, loader)
    assert {"l1", "taylor", "hrank"} <= set(scores)
    assert "bn_activation" not in scores  # the head has no batch norm, so it does not apply to this network
    for groups in scores.values():
        assert {name: tuple(tensor.shape) for name, tensor in groups.items()} == {"stem": (12,), "head": (20,)}


def test_score_by_name_only_and_unknown_names(model, loader):
    assert set(blendsearch.score(model, loader, ["l1"])) == {"l1"}
    with pytest.raises(UnknownNameError, match="did you mean 'taylor'"):
        blendsearch.score(model, loader, ["tailor"])
    with pytest.raises(BlendsearchError, match=r"bn_activation.*head"):
        blendsearch.score(model, loader, ["bn_activation"])


def test_prune_meets_the_budget_and_leaves_the_model(model, loader):
    before = copy.deepcopy(model.state_dict())
    pruned = blendsearch.prune(model, loader, by="taylor", budget={"flops": 0.5})
    assert 0.47 < pruned.flops_ratio <= 0.5  # a single filter of this network is 2 to 4 % of the FLOPs
    assert pruned.network(torch.randn(2, 3, 8, 8)).shape == (2, 5)
    assert pruned.network.stem.out_channels == len(pruned.plan.keep["stem"]) < 12
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training


def test_prune_by_scores_of_ones_own_keeps_the_highest(model, loader):
    scores = {"stem": torch.arange(12.0), "head": -torch.arange(20.0)}
    pruned = blendsearch.prune(model, loader, by=scores, budget={"filters": 0.5})
    assert pruned.plan.keep["stem"] == tuple(range(12 - len(pruned.plan.keep["stem"]), 12))
    assert pruned.plan.keep["head"][0] == 0


def test_prune_by_a_blend_and_its_file(model, loader, tmp_path):
    blend = blendsearch.Blend("network", {"network": {"l1": 1.0, "taylor": 0.5}})
    blend.save(tmp_path / "blend.json")
    first = blendsearch.prune(model, loader, by=blend, budget={"params": 0.4})
    second = blendsearch.prune(
        model, loader, by=blendsearch.Blend.load(tmp_path / "blend.json"), budget={"params": 0.4}
    )
    assert first.plan == second.plan
    assert first.params_ratio <= 0.4


def test_a_blend_of_another_network_is_fitted_and_says_how(model, loader):
    other = blendsearch.Blend("layer", {"x": {"l1": 1.0}, "y": {"l2": 0.5}}, {"x": ("x",), "y": ("y",)})
    pruned = blendsearch.prune(model, loader, by=other, device="cpu")
    mean = blendsearch.Blend("network", {"network": {"l1": 0.5, "l2": 0.25}})
    assert pruned.plan == blendsearch.prune(model, loader, by=mean, device="cpu").plan
    assert pruned.rule.startswith("another network: the mean over the layers")
    assert blendsearch.prune(model, loader, by="l1", device="cpu").rule == ""


def test_a_blend_keeps_its_shares_where_they_are_asked_for(model, loader):
    keep = {"stem": 2.0, "head": 0.5}
    blend = blendsearch.Blend("network", {"network": {"l1": 1.0, "l2": 0.4}}, keep=keep)
    counts = blendsearch.prune(model, loader, by=blend, allocation="evolved").plan.counts
    given = Evolved().of(keep, Structure.of(model, torch.zeros(1, 3, 8, 8)))
    assert counts == blendsearch.prune(model, loader, by="l1", allocation=given).plan.counts
    assert counts["stem"] / 12 > counts["head"] / 20
    without = blendsearch.prune(model, loader, by=blend).plan.counts
    assert abs(without["stem"] / 12 - without["head"] / 20) < 0.1


@pytest.mark.parametrize(
    "by", ["l1", blendsearch.Blend.single("l1"), {"stem": torch.arange(12.0), "head": torch.arange(20.0)}]
)
def test_shares_that_nobody_has_are_refused_in_one_line(model, loader, by):
    with pytest.raises(
        ConfigError, match="allocation: 'evolved' takes the layers' shares from a blend's file"
    ) as caught:
        blendsearch.prune(model, loader, by=by, allocation="evolved")
    assert "\n" not in str(caught.value)


def test_a_generator_of_batches_is_read_once_and_enough(model, loader):
    pruned = blendsearch.prune(model, (batch for batch in loader), by="l2")
    assert pruned.plan == blendsearch.prune(model, loader, by="l2").plan


@pytest.mark.parametrize(
    ("by", "error", "words"),
    [
        ("tailor", UnknownNameError, "taylor"),
        (3, BlendsearchError, "a criterion's name, a Blend, or scores"),
        ({"stem": torch.ones(12)}, StructureError, "no scores for group 'head'"),
        ({"stem": torch.ones(11), "head": torch.ones(20)}, StructureError, r"allowed: \(12,\)"),
        ({"steam": torch.ones(12)}, StructureError, "did you mean 'stem'"),
    ],
)
def test_wrong_by_is_one_clear_line(model, loader, by, error, words):
    with pytest.raises(error, match=words) as caught:
        blendsearch.prune(model, loader, by=by)
    assert "\n" not in str(caught.value)


def test_prune_measures_what_the_allocation_needs(model, loader):
    pruned = blendsearch.prune(model, loader, by="l1", allocation="sensitivity", seed=3)
    assert pruned.flops_ratio <= 0.5
    own = Sensitivity(draws=1, images=None)
    first = blendsearch.prune(model, loader, by="l1", allocation=own)
    assert set(own.sensitiveness) == {"stem", "head"}
    assert blendsearch.prune(model, loader, by="l1", allocation=own).plan == first.plan


def test_prune_to_a_latency(model, loader):
    pruned = blendsearch.prune(model, loader, by="l1", budget={"latency": 0.97, "min_keep": 0.0})
    assert sum(pruned.plan.counts.values()) < 12 + 20


def test_impossible_budgets_say_what_is_possible(model, loader):
    with pytest.raises(BudgetError, match="at least"):
        blendsearch.prune(model, loader, by="l1", budget={"flops": 0.001})
    with pytest.raises(BudgetError, match="allowed: flops"):
        blendsearch.prune(model, loader, by="l1", budget={"flop": 0.5})


def test_no_batches_is_an_error(model):
    with pytest.raises(DataError, match="no batch"):
        blendsearch.score(model, [])


def test_a_criterion_of_ones_own_is_like_any_other(model, loader):
    class Last(blendsearch.Criterion):
        name = "last_filters"
        needs = ("weights",)
        source = "this test"

        def score(self, group, statistics):
            return torch.arange(float(group.width))

    blendsearch.register_criterion(Last)
    try:
        assert "last_filters" in blendsearch.criteria.names()
        kept = blendsearch.prune(model, loader, by="last_filters").plan.keep["head"]
        assert kept == tuple(range(20 - len(kept), 20))
    finally:
        CRITERIA.unregister("last_filters")


def test_search_is_a_plain_function(tmp_path):
    parameters = inspect.signature(blendsearch.search).parameters
    objects = ["train", "validation", "test", "budget", "loss", "metric", "train_fn"]
    assert list(parameters) == ["space", *objects, "run_dir", "resume", "progress", "settings"]
    assert inspect.isfunction(blendsearch.search)
    assert all(name in blendsearch.search.__doc__ for name in (*parameters, "Returns", "Raises"))
    assert "blendsearch.search" not in sys.modules
    with pytest.raises(BlendsearchError, match="no such space file"):
        blendsearch.search(tmp_path / "missing.yaml")


def ranked(values):
    return values.argsort().argsort() / (len(values) - 1)


def test_coupled_convolutions_follow_the_group_rule(model, loader):
    stem, body = (layer.weight.detach().flatten(1).norm(dim=1) for layer in (model.stem, model.body))
    by_hand = {"mean_rank": (ranked(stem) + ranked(body)) / 2, "sum": stem + body, "max": torch.maximum(stem, body)}
    found = {rule: blendsearch.score(model, loader, ["l2"], group_rule=rule)["l2"]["stem"] for rule in by_hand}
    for rule, expected in by_hand.items():
        torch.testing.assert_close(found[rule], expected)
        kept = blendsearch.prune(model, loader, by="l2", budget={"filters": 0.5}, group_rule=rule).plan.keep["stem"]
        assert set(kept) == set(expected.topk(len(kept)).indices.tolist())
    assert not torch.allclose(ranked(found["max"]), ranked(found["mean_rank"]))
    with pytest.raises(UnknownNameError, match="unknown group rule 'summ'; did you mean 'sum'"):
        blendsearch.score(model, loader, ["l2"], group_rule="summ")


def test_the_space_allows_the_group_rules_there_are():
    assert get_args(StructureConfig.model_fields["group_rule"].annotation) == tuple(GROUP_RULES)


def test_prune_by_a_persons_ratings(model, loader, tmp_path):
    ratings = {"stem": {0: "drop", 1: 0.1, 2: 0.2}, "head": {19: 1.0}}
    scores = blendsearch.score(model, loader, ratings=ratings)["subjective"]
    assert scores["stem"].tolist() == pytest.approx([0.0, 0.1, 0.2, *[0.5] * 9])
    assert scores["head"].tolist() == [*[0.5] * 19, 1.0]
    kept = blendsearch.prune(model, loader, by="subjective", ratings=ratings, budget={"filters": 0.7}).plan.keep
    assert not {0, 1, 2} & set(kept["stem"])
    assert 19 in kept["head"]
    path = tmp_path / "ratings.json"
    groups = {group: {str(index): rating for index, rating in rated.items()} for group, rated in ratings.items()}
    path.write_text(json.dumps({"schema": 1, "groups": groups}))
    from_file = blendsearch.score(model, loader, ["subjective"], ratings=path)["subjective"]
    assert all(torch.equal(from_file[group], score) for group, score in scores.items())


@pytest.mark.parametrize(
    ("ratings", "words"),
    [
        ({"stem": {12: 1.0}}, "group 'stem' has no filter 12; allowed: 0 to 11"),
        ({"steam": {1: 1.0}}, "did you mean 'stem'"),
        ({"stem": {1: 2.0}}, r"ratings: stem\.1: 2.0 given"),
        ({"stem": {"one": 1.0}}, "'one' is no filter index"),
        ({"stem": [1.0]}, "a mapping from filter index to rating is expected"),
        ([1.0], "ratings: list given; allowed: a path, or group -> filter index -> rating"),
    ],
)
def test_wrong_ratings_are_one_clear_line(model, loader, ratings, words):
    with pytest.raises(DataError, match=words) as caught:
        blendsearch.prune(model, loader, by="subjective", ratings=ratings)
    assert "\n" not in str(caught.value)


def test_without_ratings_subjective_says_so(model, loader):
    with pytest.raises(BlendsearchError, match="criterion 'subjective': no ratings"):
        blendsearch.prune(model, loader, by="subjective")


def test_a_blend_may_be_given_by_its_file(trained, digits, tmp_path):
    batches = list(digits.calibration.batches(125))
    blend = blendsearch.Blend("network", {"network": {"l1": 1.0, "taylor": 0.5}})
    blend.save(tmp_path / "blend.json")
    wanted = blendsearch.prune(trained, batches, by=blend).plan
    for by in (tmp_path / "blend.json", str(tmp_path / "blend.json")):
        assert blendsearch.prune(trained, batches, by=by).plan == wanted


def test_a_budget_that_is_no_mapping_is_one_line(trained, digits):
    with pytest.raises(BudgetError, match=r"budget: 0\.5 given, allowed: a Budget, or a mapping"):
        blendsearch.prune(trained, list(digits.calibration.batches(125)), by="l1", budget=0.5)


@pytest.mark.parametrize(
    ("terms", "error", "words"),
    [
        ({"device": "gpu"}, ConfigError, "compute.device: 'gpu' given, allowed: 'auto', 'cpu', 'cuda' or"),
        ({"device": "cuda:x"}, ConfigError, "compute.device: 'cuda:x' given"),
        ({"device": None}, ConfigError, "compute.device: 'None' given"),
        ({"relevance_per_class": 0}, DataError, "relevance_per_class: 0 given, allowed: a whole number of at least 1"),
        ({"relevance_per_class": 1.5}, DataError, "relevance_per_class: 1.5 given"),
    ],
)
def test_wrong_terms_are_one_clear_line(model, loader, terms, error, words):
    with pytest.raises(error, match=words) as caught:
        blendsearch.score(model, loader, ["l1"], **terms)
    assert "\n" not in str(caught.value)


def test_a_device_may_be_given_as_torch_has_it(model, loader):
    scores = blendsearch.score(model, loader, ["l1"], device=torch.device("cpu"))
    assert list(scores) == ["l1"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_network_of_another_number_format_is_pruned_in_it(model, loader, dtype):
    given = copy.deepcopy(model).to(dtype)
    budget, structure = {"latency": 0.9}, Structure.of(copy.deepcopy(given).float(), next(iter(loader))[0])
    pruned = blendsearch.prune(given, loader, by="taylor", budget=budget, allocation=Sensitivity(images=20))
    assert {p.dtype for p in (*given.parameters(), *pruned.network.parameters())} == {dtype}
    assert pruned.plan.widths == structure.widths
    assert "l1" in blendsearch.score(given, loader)
