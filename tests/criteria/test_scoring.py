"""How scores are combined, checked and registered."""

from __future__ import annotations

import pytest
import torch
from small_networks import Mixed, NormWithActivation, Tail, conv4, images, randomised
from torch import nn

from blendsearch.criteria import (
    CRITERIA,
    Criterion,
    ScoringSetup,
    applicable,
    combine,
    measures_of,
    names,
    rank,
    register_criterion,
    score_applicable,
    score_groups,
    score_network,
)
from blendsearch.criteria.base import FAMILIES, ConvolutionCriterion
from blendsearch.criteria.parts import distinct
from blendsearch.errors import BlendsearchError, UnknownNameError
from blendsearch.statistics import gather
from blendsearch.structure import Structure


@pytest.fixture(scope="module")
def mixed():
    network = randomised(Mixed())
    structure = Structure.of(network, images())
    return structure, gather(network, structure, [(images(), torch.tensor([0, 2]))], measures_of(names()))


@pytest.fixture
def broken():
    """Registers criteria under the name `broken` for one test."""
    yield register_criterion
    CRITERIA.unregister("broken")


def test_one_convolution_keeps_its_scores():
    assert combine([torch.tensor([3.0, 1.0])]).tolist() == [3.0, 1.0]


def test_several_convolutions_give_the_mean_of_their_ranks():
    small, large = torch.tensor([0.1, 0.3, 0.2]), torch.tensor([100.0, 300.0, 900.0])
    torch.testing.assert_close(combine([small, large]), torch.tensor([0.0, 0.75, 0.75]))
    torch.testing.assert_close(combine([small, large]), (rank(small) + rank(large)) / 2)


def test_a_coupled_group_ranks_its_convolutions_not_who_only_passes_them_on(mixed):
    structure, statistics = mixed
    observed = score_groups(structure, statistics, ["l1"])["l1"]
    left, right = (statistics.weights[name].flatten(1).abs().sum(1) for name in ("left", "right"))
    torch.testing.assert_close(observed["left"], (rank(left) + rank(right)) / 2)
    assert observed["branch"].shape == (4,)


def test_every_criterion_scores_every_group(mixed):
    structure, statistics = mixed
    usable = [name for name in names() if name not in applicable(names(), structure, statistics)]
    scores = score_groups(structure, statistics, usable)
    assert {name: {g: len(s) for g, s in groups.items()} for name, groups in scores.items()} == dict.fromkeys(
        usable, structure.widths
    )


def test_a_network_without_norms_says_which_criteria_do_not_apply():
    network = randomised(nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 5, 1), nn.Flatten(2)))
    structure = Structure.of(network, images())
    statistics = gather(network, structure, [], ["weights"])
    assert applicable(["l1", "bn_scale"], structure, statistics) == {
        "bn_scale": "group '0' has no batch norm with a scale"
    }
    with pytest.raises(BlendsearchError, match=r"criterion 'bn_scale': group '0' has no batch norm"):
        score_groups(structure, statistics, ["bn_scale"])


def test_where_only_some_groups_have_norms_the_scale_of_the_others_is_that_of_their_weights():
    network = randomised(Tail(nn.Conv2d(6, 5, 1), nn.ReLU(), last=5))
    structure = Structure.of(network, images())
    statistics = gather(network, structure, [], ["weights"])
    assert applicable(["bn_scale", "bn_activation"], structure, statistics) == {
        "bn_activation": "group 'middle.0' has no batch norm with a scale"
    }
    scores = score_groups(structure, statistics, ["bn_scale"])["bn_scale"]
    assert torch.equal(scores["first"], network.norm.weight.detach().abs())
    assert torch.allclose(scores["middle.0"], network.middle[0].weight.detach().flatten(1).norm(dim=1))


def scores_of(network, count=6):
    """All criteria that apply to a network, and why others do not."""
    data = [(images(count, seed=3), torch.arange(count) % 3)]
    return score_applicable(network.eval(), Structure.of(network, images()), data, names(), ScoringSetup())


def test_a_norm_that_holds_its_activation_gets_the_scores_of_norm_and_activation():
    def build(*norms):
        parts = (nn.Conv2d(6, 5, 3), nn.Conv2d(5, 4, 3), nn.Conv2d(4, 5, 1))
        return Tail(*(module for conv, norm in zip(parts, norms, strict=True) for module in (conv, *norm)), last=5)

    together = randomised(build([NormWithActivation(5)], [NormWithActivation(4)], [NormWithActivation(5)]))
    apart = build(*([nn.BatchNorm2d(width), nn.ReLU()] for width in (5, 4, 5)))
    apart.load_state_dict(dict(zip(apart.state_dict(), together.state_dict().values(), strict=True)))
    observed, other = scores_of(together), scores_of(apart)
    expected = {n: dict(zip(observed.scores[n], groups.values(), strict=True)) for n, groups in other.scores.items()}
    assert observed.left_out.keys() == other.left_out.keys() == {"subjective"}
    for name in names():
        if name not in other.left_out and not CRITERIA.get(name).seeded:
            torch.testing.assert_close(observed.scores[name], expected[name], msg=lambda m, n=name: f"{n}: {m}")


def test_images_of_one_class_leave_out_what_tells_classes_apart():
    network = randomised(conv4()).eval()
    data = [(images(6, seed=3), torch.ones(6, dtype=torch.long))]
    wanted = ["class_separability", "activation_mean"]
    found = score_applicable(network, Structure.of(network, images()), data, wanted, ScoringSetup())
    assert list(found.scores) == ["activation_mean"]
    assert found.left_out["class_separability"].startswith("all calibration images are of one class")


def test_measures_of():
    assert measures_of(["l1", "activation_std", "fisher"]) == {
        "weights",
        "activations.mean",
        "activations.square",
        "gradients.taylor_square",
    }
    with pytest.raises(UnknownNameError, match="criteria: unknown criterion 'taylr'; did you mean 'taylor'"):
        measures_of(["taylr"])


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda group: torch.ones(group.width + 1), r"group 'left' got scores of shape \(7,\), allowed \(6,\)"),
        (lambda group: torch.full((group.width,), torch.nan), "group 'left' got scores that are not finite"),
        (lambda group: torch.full((group.width,), torch.inf), "group 'left' got scores that are not finite"),
    ],
)
def test_scores_that_break_the_contract_are_refused(mixed, broken, score, message):
    class Broken(Criterion):
        name, needs, source = "broken", (), "here"

        def score(self, group, statistics):
            return score(group)

    broken(Broken)
    with pytest.raises(BlendsearchError, match=f"criterion 'broken': {message}"):
        score_groups(*mixed, ["broken"])


def test_scores_that_are_not_finite_leave_a_criterion_out_by_name(broken):
    class Broken(ConvolutionCriterion):
        name, needs, source = "broken", (), "here"

        def convolution(self, name, statistics):
            return torch.full((len(statistics.weights[name]),), torch.inf)

    broken(Broken)
    network = randomised(Mixed())
    given = network, Structure.of(network, images()), [], ["broken", "l1"], ScoringSetup()
    found = score_applicable(*given)
    assert found.left_out == {"broken": "group 'left' got scores that are not finite"}
    assert set(found.scores) == {"l1"}
    with pytest.raises(BlendsearchError, match=r"^criterion 'broken': group 'left' got scores that are not finite$"):
        score_network(*given)


def test_registration_says_what_is_missing(broken):
    class NoSource(Criterion):
        name, needs = "broken", ()

    class WrongNeed(Criterion):
        name, needs, source = "broken", ("weight",), "here"

    class Taken(Criterion):
        name, needs, source = "l1", (), "here"

    with pytest.raises(BlendsearchError, match="criterion NoSource: has no 'source'"):
        broken(NoSource)
    with pytest.raises(BlendsearchError, match="needs 'weight'; allowed families: weights, batchnorm"):
        broken(WrongNeed)
    with pytest.raises(BlendsearchError, match="criterion 'l1' is already registered"):
        broken(Taken)


@pytest.mark.parametrize("name", names())
def test_every_criterion_cites_its_source_and_explains_itself(name):
    criterion = CRITERIA.get(name)
    assert criterion.name == name
    assert criterion.source
    assert criterion.__doc__
    assert criterion().family in (*FAMILIES, "none")


def test_a_group_knows_what_its_score_was_made_of_and_its_scale():
    network = randomised(Mixed())
    structure = Structure.of(network, images())
    batches = [(images(), torch.tensor([0, 2]))]
    asked = ["l1", "activation_mean", "group_norm", "random"]
    for rule, words in {
        "mean_rank": "mean rank of 2 {}s, 0 to 1",
        "mean": "mean {name} of 2 {}s",
        "sum": "sum of {name} of 2 {}s",
        "max": "largest {name} of 2 {}s",
    }.items():
        found = score_applicable(network, structure, batches, asked, ScoringSetup(group_rule=rule))
        weights = {
            name: network.get_submodule(name).weight.detach().flatten(1).abs().sum(1) for name in ("left", "right")
        }
        assert found.parts["l1"]["left"].scores.keys() == weights.keys()
        for name, expected in weights.items():
            torch.testing.assert_close(found.parts["l1"]["left"].scores[name], expected)
        assert found.scales["l1"]["left"] == words.format("convolution", name="l1")
        assert found.scales["l1"]["branch"] == "l1 of its one convolution"
        assert torch.equal(found.parts["l1"]["branch"].scores["branch"], found.scores["l1"]["branch"])
        assert found.scales["activation_mean"]["branch"] == "activation_mean of its one feature map"
        assert found.scales["group_norm"]["left"] == "group_norm of the whole group"
        assert found.parts["group_norm"] == found.parts["random"] == {}


def test_a_criterion_that_makes_its_score_another_way_claims_no_parts(broken, mixed):
    class Broken(ConvolutionCriterion):
        name, needs, source = "broken", ("weights",), "nobody"

        def score(self, group, statistics):
            return torch.arange(float(group.width))

    broken(Broken)
    structure, statistics = mixed
    assert score_groups(structure, statistics, ["broken"])["broken"]["branch"].tolist() == [0, 1, 2, 3]
    network = randomised(Mixed())
    found = score_applicable(network, structure, [], ["broken"], ScoringSetup())
    assert found.parts == {"broken": {}}
    assert found.scales["broken"]["left"] == "broken of the whole group"


def test_parts_of_equal_names_stay_apart():
    assert distinct(["conv1", "conv2", "conv1", "conv1"]) == ["conv1", "conv2", "conv1 (2)", "conv1 (3)"]


def test_scoring_tells_how_far_it_is_also_within_an_elimination():
    network = randomised(Mixed())
    structure = Structure.of(network, images())
    told = []
    batches = [(images(), torch.tensor([0, 2]))] * 3
    score_applicable(
        network, structure, batches, ["l1", "obs", "grasp", "lrp_gamma"], ScoringSetup(),
        lambda *given: told.append(given),
    )  # fmt: skip
    tasks = {task: [step for step in told if step[0] == task] for task in dict.fromkeys(step[0] for step in told)}
    assert list(tasks) == ["statistics", "further passes", "scores"]
    assert [done for _, done, *_ in tasks["statistics"]] == sorted(done for _, done, *_ in tasks["statistics"])
    assert tasks["statistics"][-1][1:3] == (3, 3)
    details = [detail for *_, detail in tasks["statistics"] if detail]
    assert any("relevance of 2 of 2" in detail for detail in details)
    assert tasks["further passes"][0] == ("further passes", 0, 2, "gradients.hessian_gradient")
    steps = len(structure.groups) * 3 + sum(structure.widths.values())
    assert tasks["scores"][-1][1:3] == (steps, steps)
    assert [done for _, done, *_ in tasks["scores"]] == sorted(done for _, done, *_ in tasks["scores"])
    dropped = [step for step in tasks["scores"] if step[3:] == ("obs of branch",)]
    assert len(dropped) == 1 + structure.widths["branch"]


def test_batches_of_which_nobody_knows_how_many_there_are():
    network = randomised(Mixed())
    structure = Structure.of(network, images())
    told = []
    batches = ((images(), torch.tensor([0, 2])) for _ in range(2))
    score_applicable(
        network, structure, batches, ["activation_mean"], ScoringSetup(), lambda *given: told.append(given)
    )
    totals = [total for task, _, total, *_ in told if task == "statistics"]
    assert set(totals[:-1]) == {0}
    assert totals[-1] == 2
