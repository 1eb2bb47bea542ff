"""Relevance is conserved through any network, equals zennit's, and gradients equal plain loops."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
import torchvision
import zennit.composites
import zennit.rules
from small_networks import AddInPlace, Dense, Mixed, OptionA, Tail, conv4, images, randomised
from torch import nn
from torch.nn import functional as F

from blendsearch.compute import Compute
from blendsearch.errors import StructureError, UnknownNameError
from blendsearch.models.zoo import MODELS
from blendsearch.statistics import gather
from blendsearch.statistics.composites import SHARED_BIAS_EPSILON, Composite
from blendsearch.statistics.contributions import Contributions, LinearPart, Rule, in_proportion
from blendsearch.statistics.redistribution import Redistribution
from blendsearch.statistics.relevance import (
    COMPOSITES,
    GRADIENT_X_INPUT,
    INTEGRATED_GRADIENTS,
    LayerwiseRelevance,
    RelevanceGatherer,
)
from blendsearch.structure import Structure

COUNT = 3
LABELS = torch.tensor([0, 2, 1])
ALL = [*COMPOSITES.names(), GRADIENT_X_INPUT, INTEGRATED_GRADIENTS]


def zoo(name):
    return MODELS.get(name)(num_classes=3, in_channels=3, image_size=16)


def layerwise(network, side=8):
    """Return a pass over a copy of the network, its structure and images."""
    structure = Structure.of(network, images(size=side))
    sites = {site for group in structure.groups for site in group.sites}
    x = images(COUNT, side, seed=3)
    mine = RelevanceGatherer(network, sites, structure.trace.norm, [], Compute()).folded_copy(x)
    return LayerwiseRelevance(mine, sites), structure, x


def true_logits(network, x):
    with torch.no_grad():
        return network(x).gather(1, LABELS[:, None])[:, 0]


NETWORKS = {
    "conv4": (conv4, 8),
    "vgg16_bn": (lambda: zoo("vgg16_bn"), 16),
    "resnet20": (lambda: zoo("resnet20"), 16),
    "torchvision resnet18": (lambda: torchvision.models.resnet18(num_classes=3), 32),
}


@pytest.fixture(scope="module", params=NETWORKS)
def large(request):
    build, side = NETWORKS[request.param]
    network = randomised(build())
    return network, *layerwise(network, side)


@pytest.mark.parametrize("composite", COMPOSITES.names())
def test_relevance_is_conserved_at_every_stage_and_at_the_input(large, composite):
    network, run, structure, x = large
    expected = true_logits(network, x)
    found, arrived = next(run(x, LABELS, [COMPOSITES.get(composite)()]))
    torch.testing.assert_close(arrived.sum((1, 2, 3)), expected, rtol=0.01, atol=0)
    for group in structure.groups:
        for site in group.sites:
            # Inside a residual block a part goes around by the shortcut; elsewhere all relevance passes.
            if not group.inner or not hasattr(network, "layer1"):
                torch.testing.assert_close(found[site].sum(1), expected, rtol=0.01, atol=0)
    assert len({group.stage for group in structure.groups}) > 1


class Twice(nn.Module):
    """A layer called twice, additions of every kind, a gate, an in-place scaling, poolings by function and method."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.again = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.Conv2d(6, 6, 3, padding=1),
        )
        self.last, self.gate, self.head = nn.Conv2d(6, 5, 1), nn.Linear(5, 5), nn.Linear(4, 3)
        self.free = nn.Conv2d(5, 4, 1)  # the only one that can be pruned
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.act(self.norm(self.stem(x)))
        x = torch.add(x, F.relu(self.again(x)))
        x = F.relu(self.again(x) + x * 0.5 + 1.0, inplace=True)
        x *= 2.0
        x = F.avg_pool2d(x, 2) - F.relu(-x[:, :, ::2, ::2])
        x = F.relu(self.last(x)).div(3)
        x = torch.sigmoid(self.gate(x.mean(dim=(2, 3))))[:, :, None, None] * x
        return self.head(F.adaptive_avg_pool2d(F.relu(self.free(x)), 1).flatten(1))


@pytest.mark.parametrize("composite", ["relevance.lrp_epsilon_plus", "relevance.lrp_gamma"])
@pytest.mark.parametrize("build", [Twice, AddInPlace, OptionA])
def test_relevance_is_conserved_whatever_way_the_network_is_written(build, composite):
    network = randomised(build())
    run, _, x = layerwise(network)
    arrived = next(run(x, LABELS, [COMPOSITES.get(composite)()]))[1]
    torch.testing.assert_close(arrived.sum((1, 2, 3)), true_logits(network, x), rtol=0.01, atol=1e-4)


class Pixel(nn.Module):
    """A gate on maps of one pixel, as squeeze and excitation late in a network has them; which operand it is, is given.

    modules: its weights are those of convolutions; else of linear layers, and the gate is brought into shape.
    """

    def __init__(self, first, modules):
        super().__init__()
        self.first, self.modules_ = first, modules
        self.stem, self.signal = nn.Conv2d(3, 6, 8), nn.Conv2d(6, 5, 1)
        self.squeeze, self.excite = (
            (nn.Conv2d(5, 4, 1), nn.Conv2d(4, 5, 1)) if modules else (nn.Linear(5, 4), nn.Linear(4, 5))
        )
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = F.relu(self.signal(F.relu(self.stem(x))))
        gate = F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1) if self.modules_ else x.mean((2, 3))))
        gate = torch.sigmoid(self.excite(gate)).reshape(*x.shape)
        return self.head((gate * x if self.first else x * gate).flatten(1))


@pytest.mark.parametrize("modules", [True, False])
def test_a_gate_takes_no_relevance_though_it_is_as_large_as_its_signal(modules):
    found = []
    for first in (True, False):
        run, _, x = layerwise(randomised(Pixel(first, modules)))
        relevance, _ = next(run(x, LABELS, [COMPOSITES.get("relevance.lrp_epsilon_plus")()]))
        of = {conv: relevance[site] for site in relevance for conv in site.convolutions}
        found.append(of)
        for gate in ("squeeze", "excite"):
            assert gate not in of or not bool(of[gate].any())
    for conv in ("stem", "signal"):
        assert bool(found[0][conv].any())
        torch.testing.assert_close(found[0][conv], found[1][conv])


def plain_network():
    return randomised(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(20, 3, bias=False),
        )
    )  # fmt: skip


BIAS = ["bias"]
EPSILON = (nn.Linear, zennit.rules.Epsilon())
ZENNIT = {
    "relevance.lrp_epsilon_plus": lambda: zennit.composites.EpsilonPlus(zero_params=BIAS),
    "relevance.lrp_alpha_beta": lambda: zennit.composites.EpsilonAlpha2Beta1(zero_params=BIAS),
    "relevance.lrp_alpha1_beta0": lambda: layers(zennit.rules.ZPlus(zero_params=BIAS), (nn.Linear,)),
    "relevance.lrp_gamma": lambda: layers(zennit.rules.Gamma(0.25, zero_params=BIAS), ()),
}


def layers(rule, dense):
    return zennit.composites.LayerMapComposite(
        [*zennit.composites.layer_map_base(), ((zennit.types.Convolution, *dense), rule), EPSILON]
    )


def keep(output, seen, place):
    output.register_hook(lambda relevance: seen.update({place: relevance}))


@pytest.mark.parametrize("composite", COMPOSITES.names())
def test_relevance_is_that_of_zennit_by_itself(composite):
    network = plain_network()
    if composite == "relevance.lrp_gamma":  # the one rule that we choose by another sign where there is a bias
        for layer in (network[0], network[3]):
            nn.init.zeros_(layer.bias)
    run, structure, x = layerwise(network)
    found, arrived = next(run(x, LABELS, [COMPOSITES.get(composite)()]))
    given = x.clone().requires_grad_()
    seen = {}
    for place in (1, 4):
        network[place].register_forward_hook(lambda m, i, o, place=place: keep(o, seen, place))
    with ZENNIT[composite]().context(network) as hooked:
        output = hooked(given)
        start = F.one_hot(LABELS, 3) * output.detach()
        (expected,) = torch.autograd.grad(output, given, start)
    torch.testing.assert_close(arrived, expected, rtol=1e-3, atol=1e-5)
    for group, place in zip(structure.groups, (1, 4), strict=True):
        torch.testing.assert_close(found[group.sites[0]], seen[place].sum((2, 3)), rtol=1e-3, atol=1e-5)


def test_folded_norms_give_the_relevance_of_zennit_on_the_folded_network():
    network = randomised(
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3, bias=False))
    )
    run, _, x = layerwise(network)
    arrived = next(run(x, LABELS, [COMPOSITES.get("relevance.lrp_epsilon_plus")()]))[1]
    given = x.clone().requires_grad_()
    canonizer = zennit.canonizers.SequentialMergeBatchNorm()
    with zennit.composites.EpsilonPlus(zero_params=BIAS, canonizers=[canonizer]).context(network) as hooked:
        output = hooked(given)
        (expected,) = torch.autograd.grad(output, given, F.one_hot(LABELS, 3) * output.detach())
    torch.testing.assert_close(arrived, expected, rtol=1e-3, atol=1e-5)


def dense(layer):
    return LinearPart("linear", F.linear, {"weight": layer.weight, "bias": layer.bias})


def test_a_shared_bias_by_hand():
    layer = nn.Linear(3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, -1.0, 5.0]]))
        layer.bias.fill_(4.0)
    given, arriving = torch.tensor([[3.0, 2.0, 0.0]]), torch.tensor([[8.0]])
    # contributions 6, -2, 0; output 8; of the bias 4, three quarters and one quarter
    observed = Contributions(dense(layer), given).relevance(SHARED_BIAS_EPSILON, arriving)
    torch.testing.assert_close(observed, torch.tensor([[9.0, -1.0, 0.0]]))


def test_a_unit_without_positive_contributions_gives_its_relevance_to_the_negative_ones():
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-1.0, -3.0]]))
        layer.bias.fill_(5.0)
    for name in ("relevance.lrp_alpha1_beta0",):
        rule = COMPOSITES.get(name)().dense
        observed = Contributions(dense(layer), torch.ones(1, 2)).relevance(rule, torch.ones(1, 1))
        torch.testing.assert_close(observed, torch.tensor([[0.25, 0.75]]))


def test_a_norm_that_cannot_be_folded_is_a_scaling():
    network = randomised(Dense())
    run, structure, x = layerwise(network)
    kept = [name for name, module in run.network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert kept, "the norms of a dense block come before the activation and read what others read too"
    found, arrived = next(run(x, LABELS, [COMPOSITES.get("relevance.lrp_epsilon_plus")()]))
    assert torch.isfinite(arrived).all()
    assert set(found) == {site for group in structure.groups for site in group.sites}


def test_a_function_without_rule_is_named_and_its_criteria_are_unavailable():
    class Functional(Tail):
        def forward(self, x):
            return F.softmax(super().forward(x), 1)

    network = randomised(Functional())
    structure = Structure.of(network, images())
    statistics = gather(network, structure, [(images(COUNT), LABELS)], ALL)
    assert set(statistics.unavailable) == set(COMPOSITES.names())
    assert "calls 'softmax' as a function, for which there is no rule" in statistics.unavailable[ALL[0]]
    assert all(set(found) == {GRADIENT_X_INPUT, INTEGRATED_GRADIENTS} for found in statistics.averages.values())


class Computed(Tail):
    """Calls a convolution and a norm as functions, with weights that are computed: centred ones."""

    def forward(self, x):
        weight = self.first.weight - self.first.weight.mean((1, 2, 3), keepdim=True)
        x = F.conv2d(input=x, weight=weight, bias=self.first.bias, padding=1)
        x = F.batch_norm(x, self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias)
        return self.head(self.middle(F.relu(x)).mean((2, 3)))


@pytest.mark.parametrize("composite", COMPOSITES.names())
def test_functions_follow_the_rules_of_the_modules_that_call_them(composite):
    function = randomised(Computed(nn.Conv2d(6, 5, 3, padding=1, padding_mode="reflect"), nn.ReLU(), last=5))
    module = Tail(*function.middle, last=5).eval()
    module.load_state_dict(function.state_dict())
    with torch.no_grad():
        module.first.weight -= module.first.weight.mean((1, 2, 3), keepdim=True)
    x, arrived = images(COUNT, seed=3), []
    for network in (function, module):
        run = LayerwiseRelevance(copy.deepcopy(network).requires_grad_(False), [])
        arrived.append(next(run(x, LABELS, [COMPOSITES.get(composite)()]))[1])
    assert arrived[0].abs().sum() > 0
    torch.testing.assert_close(*arrived)


def test_a_norm_without_running_statistics_is_named():
    network = randomised(conv4())
    network.bn2 = nn.BatchNorm2d(4, track_running_stats=False)
    with pytest.raises(StructureError, match="batch norm 'bn2' keeps no running statistics"):
        layerwise(network)


def test_an_unknown_relevance_names_the_nearest():
    network = randomised(conv4())
    with pytest.raises(UnknownNameError, match=r"did you mean 'relevance\.lrp_gamma'"):
        gather(network, Structure.of(network, images()), [], ["relevance.lrp_gama"])


def feature_maps(network, x):
    """The maps after each ReLU of a Conv-4, and the logits."""
    maps = [F.relu(network.bn1(network.conv1(x)))]
    maps.append(F.relu(network.bn2(network.conv2(maps[-1]))))
    maps.append(F.relu(network.bn3(network.conv3(F.max_pool2d(maps[-1], 2)))))
    maps.append(F.relu(network.bn4(network.conv4(maps[-1]))))
    return maps, network.linear(F.max_pool2d(maps[-1], 2).mean((2, 3)))


def maps_and_gradients(network, image, label):
    maps, logits = feature_maps(network, image[None])
    return list(zip(maps, torch.autograd.grad(logits[0, label], maps), strict=True))


def test_gradient_x_input_is_that_of_a_plain_loop():
    network = randomised(conv4())
    structure = Structure.of(network, images())
    x = images(COUNT, seed=3)
    statistics = gather(network, structure, [(x[:2], LABELS[:2]), (x[2:], LABELS[2:])], [GRADIENT_X_INPUT])
    loops = [
        [(a * g).sum((0, 2, 3)) for a, g in maps_and_gradients(network, *pair)] for pair in zip(x, LABELS, strict=True)
    ]
    for place, group in enumerate(structure.groups):
        expected = torch.stack([sample[place] for sample in loops]).mean(0)
        torch.testing.assert_close(
            statistics.averages[group.sites[0]][GRADIENT_X_INPUT], expected, rtol=1e-4, atol=1e-6
        )


def gathered(network, x, steps):
    structure = Structure.of(network, images())
    sites = [group.sites[0] for group in structure.groups]
    gatherer = RelevanceGatherer(network, sites, {}, [INTEGRATED_GRADIENTS], Compute(), steps=steps)
    gatherer.add(x, LABELS)
    averages = gatherer.averages()
    return [averages[site][INTEGRATED_GRADIENTS] for site in sites]


def test_integrated_gradients_are_those_of_a_plain_loop():
    network, x, steps = randomised(conv4()), images(COUNT, seed=3), 3
    total = [0.0] * 4
    for image, label in zip(x, LABELS, strict=True):
        path = [maps_and_gradients(network, image * k / steps, label) for k in range(steps + 1)]
        for before, now in itertools.pairwise(path):
            for place in range(4):
                (a0, g0), (a1, g1) = before[place], now[place]
                total[place] = total[place] + ((g0 + g1) / 2 * (a1 - a0)).sum((0, 2, 3))
    for observed, expected in zip(gathered(network, x, steps), total, strict=True):
        torch.testing.assert_close(observed, expected.detach() / COUNT, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("need", [GRADIENT_X_INPUT, INTEGRATED_GRADIENTS, "relevance.lrp_epsilon_plus"])
def test_how_many_images_a_pass_takes_at_a_time_changes_nothing(need, monkeypatch):
    network, x = randomised(conv4()), images(COUNT, seed=3)
    structure = Structure.of(network, images())
    whole, apart = (
        [one[need] for one in gather(network, structure, [(x, LABELS)], [need]).averages.values()]
        for part in (COUNT, 2)
        if monkeypatch.setattr("blendsearch.statistics.relevance.PART", part) is None
    )
    torch.testing.assert_close(apart, whole)


def test_integrated_gradients_sum_to_the_difference_of_the_logits():
    network, x = randomised(conv4()), images(COUNT, seed=3)
    expected = (true_logits(network, x) - true_logits(network, torch.zeros_like(x))).mean()
    for observed in gathered(network, x, 100):
        torch.testing.assert_close(observed.sum(), expected, rtol=0.02, atol=0.01)


def test_relevance_is_the_mean_over_samples():
    network = randomised(Mixed())
    run, structure, x = layerwise(network)
    found = next(run(x, LABELS, [COMPOSITES.get("relevance.lrp_epsilon_plus")()]))[0]
    statistics = gather(network, structure, [(x[:1], LABELS[:1]), (x[1:], LABELS[1:])], ["relevance.lrp_epsilon_plus"])
    assert statistics.samples == COUNT
    for site, values in found.items():
        observed = statistics.averages[site]["relevance.lrp_epsilon_plus"]
        torch.testing.assert_close(observed, values.mean(0), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("sizes", [[6], [1, 5], [2, 2, 2]])
def test_lrp_takes_the_first_images_of_each_class_and_gradients_all(sizes):
    network = randomised(conv4())
    structure = Structure.of(network, images())
    x, y = images(6, seed=3), torch.tensor([0, 0, 0, 1, 0, 1])
    needs = ["relevance.lrp_gamma", GRADIENT_X_INPUT]
    capped = gather(
        network, structure, list(zip(x.split(sizes), y.split(sizes), strict=True)), needs, relevance_per_class=2
    )
    first = [0, 1, 3, 5]
    of_first = gather(network, structure, [(x[first], y[first])], needs, relevance_per_class=None)
    of_all = gather(network, structure, [(x, y)], needs, relevance_per_class=None)
    assert capped.samples == 6
    for site, found in capped.averages.items():
        for need, expected in zip(needs, (of_first, of_all), strict=True):
            torch.testing.assert_close(found[need], expected.averages[site][need], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 6, (3, 4), padding="same"),
        nn.Conv2d(4, 6, 3, stride=2, dilation=2, groups=2), nn.ConvTranspose2d(4, 6, 4, stride=2),
    ],
    ids=lambda layer: str(layer),
)  # fmt: skip
@pytest.mark.parametrize("composite", COMPOSITES.names())
def test_every_kind_of_convolution_conserves_relevance(layer, composite):
    # Weights of a seed: alpha-beta loses what arrives where all contributions happen to have one sign.
    layer = randomised(copy.deepcopy(layer))
    x = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    run, given = Redistribution(), x.requires_grad_()
    run.composite = COMPOSITES.get(composite)()
    with run:
        output = layer.requires_grad_(False)(given)
    torch.testing.assert_close(output, layer(x))
    arriving = output.detach()
    (observed,) = torch.autograd.grad(output, given, arriving)
    torch.testing.assert_close(observed.sum(), arriving.sum(), rtol=1e-3, atol=1e-3)


def test_a_strangers_composite_joins_the_pass():
    rule = Rule(in_proportion)
    COMPOSITES.register("relevance.stranger")(lambda: Composite(rule, rule))
    try:
        network = randomised(conv4())
        statistics = gather(network, Structure.of(network, images()), [(images(COUNT), LABELS)], ["relevance.stranger"])
        assert all(set(found) == {"relevance.stranger"} for found in statistics.averages.values())
    finally:
        COMPOSITES.unregister("relevance.stranger")


def test_the_network_keeps_its_weights_hooks_and_forward():
    network = randomised(OptionA())
    before = copy.deepcopy(network.state_dict())
    gather(network, Structure.of(network, images()), [(images(COUNT), LABELS)], ALL)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all("forward" not in vars(module) for module in network.modules())
