"""Networks that run in part without gradients, in other number formats, or under a loss that says nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Tail, images, randomised
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint
from torchvision.ops import SqueezeExcitation

from blendsearch.criteria import CRITERIA, ScoringSetup, names, score_applicable, score_network
from blendsearch.errors import BlendsearchError
from blendsearch.statistics import MEASURES, gather
from blendsearch.statistics.relevance import COMPOSITES, GRADIENT_X_INPUT, INTEGRATED_GRADIENTS
from blendsearch.structure import Structure

COUNT = 6
DATA = [(images(COUNT, seed=3), torch.arange(COUNT) % 3)]
RELEVANCE = [*COMPOSITES.names(), GRADIENT_X_INPUT, INTEGRATED_GRADIENTS]
GRADIENTS = [name for name in MEASURES.names() if name.startswith("gradients.")]
BY_GRADIENTS = {name for name in names() if any(need in GRADIENTS for need in CRITERIA.get(name).needs)}
BY_RELEVANCE = {name for name in names() if any(need in RELEVANCE for need in CRITERIA.get(name).needs)}


class Stem(Tail):
    """The first convolution, its norm and its activation run without gradients, if so."""

    def __init__(self, stem=True, rest=True):
        middle = (nn.Conv2d(6, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.ReLU())
        super().__init__(*middle, last=4)
        self.gradients = (stem, rest)

    def forward(self, x):
        stem, rest = (torch.is_grad_enabled() and wanted for wanted in self.gradients)
        with torch.set_grad_enabled(stem):
            x = F.relu(self.norm(self.first(x)))
        with torch.set_grad_enabled(rest):
            return self.head(self.middle(x).mean((2, 3)))


def applicable_scores(network, structure=None, data=DATA, **options):
    structure = structure or Structure.of(network, images())
    found = score_applicable(network, structure, data, names(), ScoringSetup(), **options)
    for name, groups in found.scores.items():
        assert {group: tuple(score.shape) for group, score in groups.items()} == {
            group: (width,) for group, width in structure.widths.items()
        }, name
    return found


def test_filters_of_a_stem_without_gradients_get_zero_and_the_others_what_they_had():
    free, frozen = randomised(Stem()), randomised(Stem(stem=False))
    structure = Structure.of(free, images())
    needs = [*(name for name in GRADIENTS if name != "gradients.hessian_gradient"), *RELEVANCE]
    expected, observed = (gather(network, structure, DATA, needs) for network in (free, frozen))
    for site, found in expected.averages.items():
        assert found.keys() == observed.averages[site].keys()
        for need, value in found.items():
            reached = torch.zeros_like(value) if site.convolutions == ("first",) else value
            torch.testing.assert_close(observed.averages[site][need], reached, msg=lambda m, n=need: f"{n}: {m}")
    for measure, found in expected.layers.items():
        for key, value in found.items():
            reached = torch.zeros_like(value) if key == "first" else value
            torch.testing.assert_close(observed.layers[measure][key], reached, msg=lambda m, n=measure: f"{n}: {m}")
    assert applicable_scores(frozen, structure).left_out.keys() == {
        "bn_activation",
        "bn_taylor",
        "subjective",
    }


def test_without_any_gradients_the_criteria_that_need_them_are_left_out():
    network, structure = randomised(Stem(False, False)), Structure.of(randomised(Stem()), images())
    found = applicable_scores(network, structure)
    assert found.left_out.keys() >= BY_GRADIENTS | BY_RELEVANCE
    assert found.left_out["taylor"] == "the gradient of the loss is zero at every filter, on all images"
    assert found.left_out["synflow"] == "the network runs without gradients, by which its flow is found"
    assert found.left_out["lrp_gamma"] == "no relevance of the true class arrives at any filter, on all images"
    assert "activation_l2" in found.scores


def test_a_head_of_zeros_is_no_order():
    network = randomised(Stem())
    nn.init.zeros_(network.head.weight)
    left_out = applicable_scores(network).left_out
    of_the_head = {"obs_fisher", "grasp"}  # its weights and outputs do have a gradient
    assert left_out.keys() >= {"synflow"} | BY_RELEVANCE | BY_GRADIENTS - of_the_head


def test_relevance_inside_of_a_gate_is_zero():
    network = randomised(Tail(SqueezeExcitation(6, 4), nn.Conv2d(6, 5, 1), nn.ReLU(), last=5))
    structure = Structure.of(network, images())
    statistics = gather(network, structure, DATA, COMPOSITES.names())
    for site, found in statistics.averages.items():
        assert found.keys() == set(COMPOSITES.names())
        inside = site.convolutions[0].startswith("middle.0.")
        assert all(bool(value.any()) != inside for value in found.values())


class Cast(Tail):
    """Runs in an autocast of its own."""

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x)


def test_an_autocast_of_the_network_changes_scores_only_by_its_rounding():
    middle = nn.Conv2d(6, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 5, 3, padding=1), nn.BatchNorm2d(5)
    cast = randomised(Cast(*middle, nn.Hardswish(), last=5))
    plain = Tail(*copy.deepcopy(cast.middle), last=5)
    plain.load_state_dict(cast.state_dict())
    observed, expected = (applicable_scores(network.eval()) for network in (cast, plain))
    assert observed.left_out == expected.left_out
    for name, groups in expected.scores.items():
        for group, score in groups.items():
            near = 0.05 * float(score.abs().max())
            if not CRITERIA.get(name).greedy:  # a near tie may fall either way
                torch.testing.assert_close(
                    observed.scores[name][group], score, rtol=0.2, atol=near, msg=lambda m, n=name: f"{n}: {m}"
                )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_networks_in_other_formats_are_measured_as_float32_copies(dtype):
    network = randomised(Stem()).to(dtype)
    structure = Structure.of(copy.deepcopy(network).float(), images())
    x, y = DATA[0]
    observed = applicable_scores(network, structure, [(x.to(dtype), y)]).scores
    expected = applicable_scores(copy.deepcopy(network).float(), structure, [(x.to(dtype).float(), y)]).scores
    assert next(network.parameters()).dtype == dtype
    assert observed.keys() == expected.keys()
    assert all(
        torch.equal(observed[name][group], score) for name in expected for group, score in expected[name].items()
    )


@pytest.mark.parametrize("norm", [weight_norm, spectral_norm])
def test_weights_that_are_computed_are_measured_as_they_are(norm):
    settled = Stem()
    network = randomised(Stem())
    norm(network.middle[3])
    weight = network.eval().middle[3].weight.detach().clone()
    state = {name: value for name, value in network.state_dict().items() if "parametrizations" not in name}
    settled.load_state_dict(state | {"middle.3.weight": weight})
    structure = Structure.of(settled, images())
    observed, expected = (applicable_scores(one, structure).scores for one in (network, settled.eval()))
    assert observed.keys() == expected.keys()
    for name, groups in expected.items():
        for group, score in groups.items():
            torch.testing.assert_close(observed[name][group], score, msg=lambda m, n=name: f"{n}: {m}")
    assert torch.equal(network.middle[3].weight, weight)
    assert "weight" not in dict(network.middle[3].named_parameters(recurse=False))


def one_output():
    network = randomised(Stem())
    network.head = nn.Linear(4, 1)
    return network, [(DATA[0][0], torch.zeros(COUNT, dtype=torch.long))]


def test_one_output_leaves_out_what_needs_a_gradient_of_the_loss():
    network, data = one_output()
    found = applicable_scores(network, data=data)
    reason = "the network has one output, whose cross entropy is always zero: the loss has no gradient"
    assert {name: found.left_out[name] for name in BY_GRADIENTS - {"bn_taylor"}} == dict.fromkeys(
        BY_GRADIENTS - {"bn_taylor"}, reason
    )
    assert BY_RELEVANCE | {"l1"} <= found.scores.keys()


@pytest.mark.parametrize("name", ["taylor", "grasp", "snip"])
def test_one_output_is_one_clear_line_for_a_criterion_that_was_asked_for(name):
    network, data = one_output()
    with pytest.raises(BlendsearchError, match=f"^criterion '{name}': the network has one output.*gradient$"):
        score_network(network, Structure.of(network, images()), data, [name], ScoringSetup())


def test_one_output_has_no_drop_losses():
    network, data = one_output()
    with pytest.raises(BlendsearchError, match=r"^set-aware blends: the network has one output.*gradient$"):
        applicable_scores(network, data=data, set_aware=True)


class ByHand(nn.Module):
    def forward(self, x):
        return torch.clamp(x / 6 + 0.5, 0, 1)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_hard_sigmoid_has_second_derivatives(inplace):
    network = randomised(Tail(nn.Conv2d(6, 5, 3), nn.Hardsigmoid(inplace), nn.Conv2d(5, 4, 1), nn.ReLU(), last=4))
    hand = copy.deepcopy(network)
    hand.middle[1] = ByHand()
    structure, need = Structure.of(network, images()), "gradients.hessian_gradient"
    observed, expected = (gather(one, structure, DATA, [need]).layers[need] for one in (network, hand))
    assert all(bool(value.any()) for value in expected.values())
    for conv, value in expected.items():
        torch.testing.assert_close(observed[conv], value)


class Checkpointed(nn.Module):
    """One part of it is computed again in the backward pass, unless its maps are `kept`."""

    def __init__(self, part):
        super().__init__()
        self.stem, self.norm, self.one = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3)
        self.block = nn.Sequential(nn.Conv2d(6, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.ReLU())
        self.head = nn.Linear(4, 3)
        self.part, self.kept = part, False

    def run(self, name, layer, x):
        again = name == self.part and not self.kept and torch.is_grad_enabled()
        return checkpoint(layer, x, use_reentrant=False) if again else layer(x)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = self.run("one", lambda given: F.relu(self.one(given)), x)
        return self.run("head", self.head, self.run("block", self.block, x).mean((2, 3)))


@pytest.mark.parametrize("part", ["one", "block", "head"])
def test_checkpoints_leave_out_what_goes_backward_and_change_no_other_score(part):
    network = randomised(Checkpointed(part)).eval()
    structure = Structure.of(network, images())
    found = score_applicable(network, structure, DATA, names(), ScoringSetup())
    network.kept = True
    expected = score_applicable(network, structure, DATA, names(), ScoringSetup())
    extra = set(found.left_out) - set(expected.left_out)
    assert {"lrp_epsilon_plus", "taylor", "obs_fisher"} <= extra <= BY_GRADIENTS | BY_RELEVANCE | {"synflow"}
    assert all("gradient checkpointing" in found.left_out[name] for name in extra)
    for name, scores in found.scores.items():
        torch.testing.assert_close(dict(scores), dict(expected.scores[name]), msg=name)


def test_checkpoints_are_told_in_a_line_to_who_asks_for_a_gradient():
    network = randomised(Checkpointed("one")).eval()
    with pytest.raises(BlendsearchError, match=r"^criterion 'taylor': gradient checkpointing .*; turn it off[^\n]*$"):
        score_network(network, Structure.of(network, images()), DATA, ["taylor"], ScoringSetup())


def test_checkpoints_that_hide_layers_are_told_in_a_line():
    network = randomised(Checkpointed("block")).eval()
    network.run = lambda name, layer, x: checkpoint(layer, x, use_reentrant=True) if name == "block" else layer(x)
    with pytest.raises(BlendsearchError, match=r"^gradient checkpointing with use_reentrant=True hides"):
        Structure.of(network, images())
