"""Fixed blends beside the one that is found: what they are made of, and that they are retrained on equal terms."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_campaign import tiny_space

from blendsearch.blending import Blend, rank_all
from blendsearch.campaigns.search import rivals as module
from blendsearch.campaigns.search.rivals import LayerPass, mix_hesso
from blendsearch.campaigns.search.run import run_search
from blendsearch.evolution.fitness import Evaluation
from blendsearch.structure import Plan

pytestmark = pytest.mark.usefixtures("without_report")
NAMES = ["mean of ranks", "HESSO default", "criterion per layer"]
CRITERIA = ["l1", "l2", "taylor", "fisher", "random"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    space = tiny_space(criteria=CRITERIA, retraining={"epochs": 1, "batch_size": 64, "lr": 0.05, "seeds": 2})
    return space, run_search(space, tmp_path_factory.mktemp("run") / "tiny")


def test_the_mean_of_ranks_orders_as_borda_counts():
    torch.manual_seed(0)
    scores = {name: {"conv1": torch.randn(7), "conv2": torch.randn(5)} for name in ("a", "b", "c")}
    found = Blend.mean_of_ranks(list(scores)).score_ranked(rank_all(scores))
    for group, blended in found.items():
        # How many filters each one beats, summed over the criteria: Borda's points.
        points = sum((one[group][:, None] > one[group][None, :]).sum(1) for one in scores.values())
        assert (blended.argsort(stable=True).tolist()) == points.argsort(stable=True).tolist()


def test_hesso_has_five_parts_of_a_fifth_of_which_two_are_one_criterion_and_one_is_missing():
    blend, note = mix_hesso(["random", "taylor", "l2", "fisher"])
    assert blend.weights["network"] == {"l2": 0.4, "taylor": 0.2, "fisher": 0.2}
    assert note == "without cosine similarity, which no criterion of this campaign measures"
    blend, note = mix_hesso(["taylor", "fisher"])
    assert blend.weights["network"] == {"taylor": 0.2, "fisher": 0.2}
    assert note.startswith("without magnitude, average magnitude and cosine similarity, which")
    assert mix_hesso(["cosine", "taylor", "l1"])[0] is None  # `cosine` is another one


class ByLayer:
    """Fitness that knows how good each criterion is in each layer; plans are made of the criteria's numbers."""

    def __init__(self, worth):
        self.worth, self.known = worth, {}

    def __call__(self, plans):
        found = []
        for plan in plans:
            value = sum(self.worth[layer][kept[0]] for layer, kept in plan.keep.items())
            found.append(Evaluation(plan, value, 0.5, 10, repeated=plan.digest in self.known))
            self.known[plan.digest] = value
        return found


class Planned:
    """Stands for planner and allocation: a plan keeps the filter whose number is that of the layer's criterion."""

    structure = budget = None

    def group_scores(self, blend):
        return {layer: next(iter(factors)) for layer, factors in blend.weights.items()}

    def plan(self, structure, scores, budget):
        return Plan({layer: ("abc".index(name),) for layer, name in scores.items()}, dict.fromkeys(scores, 3))


class Problem:
    def __init__(self, worth):
        self.planner, self.fitness = Planned(), ByLayer(worth)


def test_one_pass_takes_each_layers_best_choice_and_counts_its_cost():
    worth = {"one": [0.1, 0.3, 0.2], "two": [0.5, 0.4, 0.1], "three": [0.0, 0.1, 0.2]}
    problem = Problem(worth)
    work = LayerPass(problem, {layer: (layer,) for layer in worth}, problem.planner)
    work.run("a", {"one": ["a", "b"], "two": ["a", "b", "c"], "three": ["c", "b"]})
    values = [round(value, 6) for _, _, value in work.tried]
    # Start a/a/a; then b for one (0.8); b, c for two, with b kept in one; then c, b for three, with a kept in two.
    assert values == [0.6, 0.8, 0.7, 0.4, 1.0, 0.9]
    best = max(work.tried, key=lambda entry: entry[2])[0]
    assert {layer: next(iter(factors)) for layer, factors in best.weights.items()} == {
        "one": "b",
        "two": "a",
        "three": "c",
    }
    assert (work.evaluations, work.passes, work.seconds) == (6, 60, 3.0)


def test_what_a_pass_cost_does_not_depend_on_what_is_known_already():
    """A resumed run knows fewer plans than one that was never stopped."""
    worth = {"one": [0.1, 0.3, 0.2], "two": [0.5, 0.4, 0.1]}
    costs = []
    for known in (False, True):
        problem = Problem(worth)
        if known:
            problem.fitness([Plan({"one": (1,), "two": (0,)}, {"one": 3, "two": 3})])
        work = LayerPass(problem, {layer: (layer,) for layer in worth}, problem.planner)
        work.run("a", {"one": ["a", "b"], "two": ["a", "c"]})
        costs.append((work.evaluations, work.passes, work.seconds))
    assert costs[0] == costs[1] == (3, 30, 1.5)


def test_rivals_are_pruned_and_retrained_on_equal_terms(finished):
    _, campaign = finished
    summary = campaign.summary
    assert list(summary.rivals) == NAMES
    assert list(summary.comparison.rivals) == NAMES
    assert summary.rivals_left_out == {}
    for name, rival in summary.rivals.items():
        assert rival.flops_ratio == pytest.approx(summary.criteria["l1"].flops_ratio)
        assert rival.steps == summary.blend.steps
        assert rival.test_accuracy_std is not None
        difference = summary.comparison.rivals[name].difference
        assert difference == pytest.approx(summary.blend.test_accuracy - rival.test_accuracy)
    assert summary.rivals["HESSO default"].note.startswith("without cosine similarity")


def test_the_criterion_of_each_layer_is_no_worse_by_the_proxy_than_the_first_criterion(finished):
    _, campaign = finished
    record = json.loads((campaign.run_dir / "records/rivals.json").read_text())
    blend = Blend.from_dict(record["rivals"]["criterion per layer"]["blend"])
    assert all(len(factors) == 1 for factors in blend.weights.values())
    assert campaign.summary.rivals["criterion per layer"].proxy >= max(
        one.proxy for one in campaign.summary.criteria.values()
    )
    clusters = json.loads((campaign.run_dir / "records/clusters.json").read_text())["members"]
    assert 0 < campaign.summary.rivals["criterion per layer"].evaluations <= 1 + sum(map(len, clusters.values()))
    for layer, factors in blend.weights.items():
        (own,) = [cluster for cluster in clusters[layer] if set(factors) <= set(cluster)]
        proxies = {name: campaign.summary.criteria[name].proxy for name in own}
        assert proxies[next(iter(factors))] == max(proxies.values())


def test_the_criterion_that_the_proxy_would_have_chosen_is_compared_not_retrained_again(finished):
    _, campaign = finished
    found, criteria = campaign.summary.comparison.without_search, campaign.summary.criteria
    assert criteria[found.name].proxy == max(one.proxy for one in criteria.values())
    assert found.difference == pytest.approx(campaign.summary.blend.test_accuracy - criteria[found.name].test_accuracy)
    files = [file.name for file in (campaign.run_dir / "records/retrained").iterdir()]
    assert sum(f"-{found.name}-seed" in file for file in files) == 2


def test_a_finished_campaign_gets_its_rivals_later(finished, tmp_path, monkeypatch):
    space, campaign = finished
    without = tiny_space({"rivals": False}, criteria=CRITERIA, retraining=space.to_dict()["retraining"])
    less = run_search(without, tmp_path / "run").summary
    assert less.rivals == less.comparison.rivals == {}
    again = []
    retrain = "blendsearch.experiment.retraining.retrain"
    original = __import__("blendsearch.experiment.retraining", fromlist=["retrain"]).retrain

    def noted(setup, repetition):
        again.append(repetition.name)
        return original(setup, repetition)

    monkeypatch.setattr(retrain, noted)
    grown = run_search(space, tmp_path / "run", resume=True).summary
    assert sorted(set(again)) == sorted(NAMES)
    assert grown.comparison == campaign.summary.comparison
    for name, rival in grown.rivals.items():
        assert rival.model_copy(update={"seconds": None}) == campaign.summary.rivals[name].model_copy(
            update={"seconds": None}
        )


def test_of_some_rivals_only_those_are_chosen_and_a_finished_campaign_gets_the_others_later(finished, tmp_path):
    space, campaign = finished
    changes = {"criteria": CRITERIA, "retraining": space.to_dict()["retraining"]}
    some = run_search(tiny_space({"rivals": ["hesso"]}, **changes), tmp_path / "run").summary
    assert list(some.rivals) == list(some.comparison.rivals) == ["HESSO default"]
    record = json.loads((tmp_path / "run/records/rivals.json").read_text())
    assert list(record["rivals"]) == ["HESSO default"]
    grown = run_search(space, tmp_path / "run", resume=True).summary
    assert grown.comparison == campaign.summary.comparison
    less = run_search(tiny_space({"rivals": ["mean_of_ranks"]}, **changes), tmp_path / "run", resume=True).summary
    assert list(less.rivals) == ["mean of ranks"]
    assert list(less.comparison.rivals) == ["mean of ranks"]


class Kill(Exception):
    """Stands for the process being killed."""


def test_killed_while_rivals_are_chosen_and_resumed_ends_the_same(finished, tmp_path):
    space, campaign = finished

    def killer(name, done, total, detail=""):
        if name == "rivals":
            raise Kill

    with pytest.raises(Kill):
        run_search(space, tmp_path / "run", progress=killer)
    again = run_search(space, tmp_path / "run", resume=True).summary
    assert again.comparison == campaign.summary.comparison


def test_what_was_chosen_is_not_chosen_again(finished, monkeypatch):
    space, campaign = finished
    monkeypatch.setattr(module, "_choose_by_layer", None)
    assert run_search(space, campaign.run_dir, resume=True).summary.comparison == campaign.summary.comparison


def test_a_rival_that_cannot_be_is_left_out_by_name(tmp_path):
    search = {"generations": 0, "random_search": False}
    few = run_search(
        tiny_space(search, criteria=["l1", "taylor"], clusters={"count": "auto"}), tmp_path / "two"
    ).summary
    assert list(few.rivals) == ["mean of ranks", "criterion per layer"]
    assert few.rivals_left_out["HESSO default"].startswith("without magnitude, average magnitude, cosine similarity")
    one = run_search(tiny_space(search, criteria=["l1"], clusters={"count": "auto"}), tmp_path / "one").summary
    assert one.rivals == {}
    assert set(one.rivals_left_out) == set(NAMES)


def test_under_evolved_shares_each_rival_has_the_better_start(tmp_path):
    campaign = run_search(
        tiny_space({"random_search": False, "ablation": False}, allocation="evolved"), tmp_path / "run"
    )
    assert {one.allocation for one in campaign.summary.rivals.values()} <= {"uniform", "global_threshold"}
