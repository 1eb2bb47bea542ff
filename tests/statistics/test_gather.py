"""One pass gives what a plain computation over all stored activations gives, and leaves the network alone."""

from __future__ import annotations

import hashlib

import pytest
import torch
from small_networks import Dense, Mixed, OptionA, Tail, conv4, images, mobilenet, randomised
from torch import nn
from torch.nn import functional as F

from blendsearch.compute import Compute
from blendsearch.errors import DataError, UnknownNameError
from blendsearch.statistics import MEASURES, gather
from blendsearch.statistics.accumulators import Shared
from blendsearch.structure import Structure

COUNT = 10
EVERYTHING = MEASURES.names()
NETWORKS = {
    "conv4": (conv4, 8),
    "option A": (OptionA, 8),
    "mixed": (Mixed, 8),
    "dense": (Dense, 8),
    "mobilenet": (mobilenet, 32),
}


def batches(size=4, count=COUNT, side=8, order=None):
    x = images(count, side, seed=3)
    y = torch.arange(count) % 3
    order = list(range(count)) if order is None else order
    return [(x[order[i : i + size]], y[order[i : i + size]]) for i in range(0, count, size)]


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    build, side = NETWORKS[request.param]
    network = randomised(build())
    return network, Structure.of(network, images(size=side)), side


@pytest.fixture(scope="module")
def small():
    network = randomised(conv4())
    return network, Structure.of(network, images())


def assert_same(one, other):
    assert one.samples == other.samples
    assert one.averages.keys() == other.averages.keys()
    for site, averages in one.averages.items():
        assert averages.keys() == other.averages[site].keys()
        for name, value in averages.items():
            near = 1e-5 if name == "activations.correlation" else 1e-6  # zero is nothing special for a correlation
            torch.testing.assert_close(value, other.averages[site][name], rtol=2e-4, atol=near, msg=f"{site} {name}")


def test_batch_size_and_order_do_not_matter(case):
    network, structure, side = case
    reference = gather(network, structure, batches(COUNT, side=side), EVERYTHING)
    shuffled = torch.randperm(COUNT, generator=torch.Generator().manual_seed(5)).tolist()
    for size, order in ((1, None), (3, None), (4, shuffled)):
        assert_same(gather(network, structure, batches(size, side=side, order=order), EVERYTHING), reference)


def test_what_measures_share_is_of_the_maps_they_were_given():
    shared, calls = Shared(lambda *maps: calls.append(1) or sum(maps)), []
    one, other = torch.ones(2), torch.ones(2)
    assert shared(one).equal(shared(one))
    assert len(calls) == 1
    assert shared(one, other).equal(one + other)
    assert shared(one, one.clone()).equal(one + one)
    shared(one)
    del one
    assert shared(3 * torch.ones(2)).equal(3 * torch.ones(2))
    assert len(calls) == 5


LAYER_MEASURES = (
    "activations.contributions",
    "activations.reader_gram",
    "gradients.hessian_gradient",
    "gradients.reader_outputs",
    "gradients.weight_square",
)


def test_what_is_measured_at_layers_does_not_depend_on_batches_either(case):
    network, structure, side = case
    whole, apart = (gather(network, structure, batches(n, side=side), LAYER_MEASURES) for n in (COUNT, 3))
    for name in LAYER_MEASURES:
        for key, expected in whole.layers[name].items():
            scale = float(expected.abs().max())
            torch.testing.assert_close(apart.layers[name][key], expected, rtol=2e-4, atol=1e-5 * scale, msg=name)


def stored_maps(network, structure, x, y):
    """The feature maps of every site and each sample's own gradient, by modules' hooks and one sample at a time."""
    modules = {site: site_module(network, site) for site in {s for g in structure.groups for s in g.sites}}
    maps = {site: [] for site in modules}
    gradients = {site: [] for site in modules}
    for image, label in zip(x, y, strict=True):
        seen = {}
        handles = [
            module.register_forward_hook(lambda m, i, output, site=site, seen=seen: seen.__setitem__(site, output))
            for site, module in modules.items()
        ]
        loss = F.cross_entropy(network(image[None]), label[None])
        for handle in handles:
            handle.remove()
        found = torch.autograd.grad(loss, list(seen.values()))
        for (site, value), gradient in zip(seen.items(), found, strict=True):
            maps[site].append(value.detach()[0])
            gradients[site].append(gradient[0])
    return {s: torch.stack(v) for s, v in maps.items()}, {s: torch.stack(v) for s, v in gradients.items()}


def site_module(network, site):
    if site.index < 0:
        return network.get_submodule(site.module)
    return network.activations[site.index]


class Chain(nn.Module):
    """Every activation is a module of its own, the last convolution has none: hooks can see every site."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.conv2 = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Conv2d(5, 5, 3, padding=1)
        self.bn2, self.conv3, self.head = nn.BatchNorm2d(5), nn.Conv2d(5, 4, 1), nn.Linear(4, 3)
        self.activations = nn.ModuleList([nn.ReLU(), nn.ReLU()])

    def forward(self, x):
        x = self.activations[0](self.bn1(self.conv1(x)))
        x = self.activations[1](self.bn2(self.conv2(x)) + x)
        return self.head(self.conv3(x).mean((2, 3)))


def test_means_are_those_of_all_stored_activations_and_gradients():
    network = randomised(Chain())
    structure = Structure.of(network, images())
    assert {site.index for group in structure.groups for site in group.sites} == {-1, 0, 1}
    (x, y) = batches(COUNT)[0]
    statistics = gather(network, structure, batches(3), EVERYTHING)
    maps, gradients = stored_maps(network, structure, x, y)
    assert maps.keys() == statistics.averages.keys()
    for site, a in maps.items():
        a, g = a.double(), gradients[site].double()
        change = (a * g).sum((2, 3))
        expected = {
            "activations.mean": a.mean((0, 2, 3)),
            "activations.square": (a * a).mean((0, 2, 3)),
            "activations.zeros": (a <= 0).double().mean((0, 2, 3)),
            "activations.map_rank": torch.tensor(
                [[torch.linalg.matrix_rank(m.float()) for m in sample] for sample in a]
            )
            .double()
            .mean(0),
            "gradients.taylor": change.abs().mean(0) / a[0, 0].numel(),
            "gradients.taylor_square": (change**2).mean(0),
            "gradients.norm": g.flatten(2).norm(dim=2).mean(0),
        }
        for name, value in expected.items():
            observed = statistics.averages[site][name]
            assert (observed.dtype, observed.device.type) == (torch.float32, "cpu")
            torch.testing.assert_close(observed.double(), value, rtol=1e-4, atol=1e-7, msg=f"{site} {name}")


def test_weights_norms_and_readers(case):
    network, structure, _ = case
    statistics = gather(network, structure, [], ["weights", "batchnorm"])
    assert statistics.samples == 0
    for group in structure.groups:
        for conv, norm in zip(group.convolutions, group.norms, strict=True):
            assert torch.equal(statistics.weights[conv], network.get_submodule(conv).weight)
            assert len(statistics.weights[conv]) == group.width
            if norm:
                assert torch.equal(statistics.norms[conv].gamma, network.get_submodule(norm).weight)
                assert torch.equal(statistics.norms[conv].var, network.get_submodule(norm).running_var)
        assert all(len(reader) == group.width for reader in statistics.readers[group.name])
        assert statistics.readers[group.name]


def test_readers_are_the_weights_that_see_the_filter():
    network = randomised(Mixed())
    statistics = gather(network, Structure.of(network, images()), [], ["weights"])
    (last,) = statistics.readers["branch"]
    assert torch.equal(last, network.last.weight[:, 6:].transpose(0, 1).flatten(1))
    (head,) = statistics.readers["last"]
    expected = network.head.weight.reshape(3, 5, 16).transpose(0, 1).flatten(1)  # in any order within a filter
    assert torch.equal(head.sort(1).values, expected.sort(1).values)


def test_weights_are_copies(small):
    network, structure = small
    before = network.conv1.weight.detach().clone()
    gather(network, structure, [], ["weights"]).weights["conv1"].zero_()
    assert torch.equal(network.conv1.weight, before)


def test_the_rank_of_maps_is_measured_on_the_first_images_only(small):
    network, structure = small
    many = batches(60, count=150)
    first = [(torch.cat([x for x, _ in many])[:128], torch.cat([y for _, y in many])[:128])]
    some, all_ = (gather(network, structure, data, ["activations.map_rank"]) for data in (first, many))
    for site, averages in some.averages.items():
        assert torch.equal(averages["activations.map_rank"], all_.averages[site]["activations.map_rank"])
    assert all_.samples == 150


def digest(tensor):
    return None if tensor is None else hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest()


def fingerprint(network):
    return (
        [(n, id(t), t._version, t.requires_grad, digest(t)) for n, t in network.state_dict(keep_vars=True).items()],
        [(n, id(p.grad), digest(p.grad)) for n, p in network.named_parameters()],
        [
            (n, m.training, len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for n, m in network.named_modules()
        ],
    )


@pytest.fixture
def lived_in():
    """A network in training mode with gradients, a frozen parameter, a frozen norm and a hook."""
    network = randomised(conv4()).train()
    network.bn3.eval()
    network.conv1.weight.requires_grad_(False)
    network.conv2.weight.grad = torch.ones_like(network.conv2.weight)
    network.conv2.register_forward_hook(lambda module, inputs, output: None)
    return network


def test_the_network_is_untouched(lived_in):
    structure = Structure.of(lived_in, images())
    before, state = fingerprint(lived_in), torch.get_rng_state()
    gather(lived_in, structure, batches(), EVERYTHING)
    assert fingerprint(lived_in) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


def failing():
    yield batches()[0]
    raise KeyboardInterrupt


@pytest.mark.parametrize("data", [failing, lambda: [*batches(), (images(channels=5), torch.zeros(2).long())]])
def test_the_network_is_untouched_when_the_pass_fails(lived_in, data):
    structure = Structure.of(lived_in, images())
    before = fingerprint(lived_in)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        gather(lived_in, structure, data(), EVERYTHING)
    assert fingerprint(lived_in) == before
    assert torch.overrides._len_torch_function_stack() == 0
    assert torch.is_grad_enabled()


def test_it_works_where_gradients_are_off(small):
    network, structure = small
    reference = gather(network, structure, batches(), EVERYTHING)
    with torch.no_grad():
        assert_same(gather(network, structure, batches(), EVERYTHING), reference)


def test_only_what_is_needed_is_gathered(small):
    network, structure = small
    statistics = gather(network, structure, batches(), ["activations.mean", "weights"])
    assert all(set(averages) == {"activations.mean"} for averages in statistics.averages.values())


def test_channels_last_gives_the_same(small):
    network, structure = small
    reference = gather(network, structure, batches(), EVERYTHING)
    assert_same(gather(network, structure, batches(), EVERYTHING, compute=Compute(channels_last=True)), reference)


def test_progress_counts_the_batches(small):
    calls = []
    gather(*small, batches(4), ["activations.mean"], progress=lambda *call: calls.append(call))
    assert [call[1:3] for call in calls] == [(0, 3), (1, 3), (1, 3), (2, 3), (2, 3), (3, 3), (3, 3)]
    assert {call[0] for call in calls} == {"statistics"}


def test_no_batches_is_an_error(small):
    with pytest.raises(DataError, match="the calibration data hold no batch"):
        gather(*small, [], ["activations.mean"])


def test_labels_must_be_integers(small):
    with pytest.raises(DataError, match=r"labels must be integers \[N\]; given torch.float32"):
        gather(*small, [(images(), torch.rand(2))], ["gradients.taylor"])
    with pytest.raises(DataError, match=r"labels must be integers \[N\]; given torch.int64 \(2, 3\)"):
        gather(*small, [(images(), torch.zeros(2, 3).long())], ["gradients.taylor"])


@pytest.mark.parametrize("labels", [torch.tensor([0, 3]), torch.tensor([-1, 0]), torch.tensor([0, 1, 2])], ids=str)
def test_labels_must_fit_the_logits(small, labels):
    with pytest.raises(DataError, match=r"statistics: .* labels from"):
        gather(*small, [(images(), labels)], ["gradients.taylor"])


class Returns(nn.Module):
    """Gives the logits of another network in a form chosen later."""

    def __init__(self, body):
        super().__init__()
        self.body, self.form = body, lambda y: y

    def forward(self, x):
        return self.form(self.body(x))


@pytest.mark.parametrize(
    ("form", "shown"), [(lambda y: y.sum(1), r"returned \(2,\)"), (lambda y: (y, y), "returned tuple")]
)
def test_a_network_must_return_logits(form, shown):
    network = Returns(randomised(conv4()))
    structure = Structure.of(network, images())
    network.form = form
    with pytest.raises(DataError, match=shown):
        gather(network, structure, [(images(), torch.zeros(2).long())], ["gradients.taylor"])


def test_an_unknown_measure_names_the_nearest(small):
    with pytest.raises(UnknownNameError, match=r"did you mean 'activations\.mean'"):
        gather(*small, batches(), ["activations.meen"])


class Overwritten(nn.Module):
    """The output of an activation that does not keep it is scaled in place."""

    def __init__(self):
        super().__init__()
        self.conv, self.last, self.head = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 4, 1), nn.Linear(4, 3)

    def forward(self, x):
        x = F.silu(self.conv(x))
        x.mul_(3.0)
        return self.head(F.relu(self.last(x)).mean((2, 3)))


def test_maps_that_are_overwritten_later_are_seen_as_they_were():
    network = randomised(Overwritten())
    structure = Structure.of(network, images())
    (x, _), *_ = data = batches(COUNT)
    (site,) = structure.group("conv").sites
    observed = gather(network, structure, data, ["activations.mean", "gradients.taylor"]).averages[site]
    a = F.silu(network.conv(x))
    torch.testing.assert_close(observed["activations.mean"], a.mean((0, 2, 3)).detach())
    logits = network.head(F.relu(network.last(a * 3.0)).mean((2, 3)))
    (g,) = torch.autograd.grad(F.cross_entropy(logits, data[0][1], reduction="sum"), [a])
    torch.testing.assert_close(observed["gradients.taylor"], (a * g).mean((2, 3)).abs().mean(0).detach())


def test_an_activation_in_place_is_followed():
    network = randomised(Tail(nn.Conv2d(6, 6, 1), nn.SiLU(inplace=True)))
    structure = Structure.of(network, images())
    statistics = gather(network, structure, batches(), EVERYTHING)
    assert all(len(v) == 6 for averages in statistics.averages.values() for v in averages.values())


def test_a_filter_that_is_read_twice_has_both_readings_in_its_row():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last, self.head = nn.Conv2d(3, 5, 1), nn.Conv2d(10, 4, 1), nn.Linear(4, 3)

        def forward(self, x):
            x = F.relu(self.conv(x))
            return self.head(F.relu(self.last(torch.cat([x, F.max_pool2d(x, 3, 1, 1)], 1))).mean((2, 3)))

    network = randomised(Twice())
    structure = Structure.of(network, images())
    (row,) = gather(network, structure, [], ["weights"]).readers["conv"]
    both = torch.cat([network.last.weight[:, :5, 0, 0], network.last.weight[:, 5:, 0, 0]])
    assert torch.equal(row.sort(1).values, both.T.sort(1).values)
