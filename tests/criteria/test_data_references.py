"""Criteria that need data, each against an independent computation over everything stored."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch_pruning as tp
from scipy import stats
from small_networks import Mixed, conv4, images, randomised
from torch import nn
from torch.nn import functional as F

from blendsearch.compute import generator
from blendsearch.criteria import measures_of, score_groups
from blendsearch.criteria.reconstruction import greedy_elimination
from blendsearch.statistics import gather
from blendsearch.statistics.accumulators import ClassMoments, Histogram
from blendsearch.statistics.patches import at_positions, gram, weight_gradients
from blendsearch.statistics.spectra import matrix_rank, nuclear_norm_shares
from blendsearch.structure import Structure

COUNT = 9
CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4")
NAMES = [
    "activation_l2", "activation_correlation", "bn_taylor", "chip", "class_separability", "entropy", "grasp", "obd",
    "snip", "taylor_weight", "thinet",
]  # fmt: skip


@pytest.fixture(scope="module")
def network():
    return randomised(conv4(), seed=2)


@pytest.fixture(scope="module")
def data():
    return images(COUNT, seed=4), torch.arange(COUNT) % 3


@pytest.fixture(scope="module")
def scores(network, data):
    x, y = data
    structure = Structure.of(network, images())
    found = gather(network, structure, [(x[:4], y[:4]), (x[4:], y[4:])], measures_of(NAMES))
    return score_groups(structure, found, NAMES)


@pytest.fixture(scope="module")
def maps(network, data):
    """The feature maps after each ReLU, [N, C, H, W], float64."""
    x, found = data[0], {}
    with torch.no_grad():
        for i, name in enumerate(CONVOLUTIONS, start=1):
            x = F.relu(getattr(network, f"bn{i}")(getattr(network, name)(x)))
            found[name] = x.double().numpy()
            x = F.max_pool2d(x, 2) if i in (2, 4) else x
    return found


# Feature maps


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_activation_l2_by_numpy(scores, maps, name):
    expected = np.linalg.norm(maps[name].reshape(*maps[name].shape[:2], -1), axis=2).mean(0)
    np.testing.assert_allclose(scores["activation_l2"][name], expected, rtol=1e-5)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_chip_by_a_singular_value_decomposition_for_every_zeroed_row(scores, maps, name):
    expected = np.zeros(maps[name].shape[1])
    for image in maps[name]:
        rows = image.reshape(len(image), -1)
        for i in range(len(rows)):
            without = rows.copy()
            without[i] = 0
            expected[i] += np.linalg.norm(rows, "nuc") - np.linalg.norm(without, "nuc")
    np.testing.assert_allclose(scores["chip"][name], expected / COUNT, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 6, 20), (3, 6, 6), (3, 20, 6), (2, 5, 1)])
def test_nuclear_norm_shares_of_degenerate_matrices(shape):
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu()
    rows[0, 1], rows[0, 2], rows[1] = 0, rows[0, 3], 0
    for matrix, found in zip(rows.double().numpy(), nuclear_norm_shares(rows).numpy(), strict=True):
        for i in range(len(matrix)):
            without = matrix.copy()
            without[i] = 0
            expected = np.linalg.norm(matrix, "nuc") - np.linalg.norm(without, "nuc")
            assert found[i] == pytest.approx(expected, abs=1e-6)
    assert nuclear_norm_shares(rows)[0, 1] == 0


@pytest.mark.parametrize("shape", [(7, 9), (9, 7), (8, 8), (1, 1), (1, 5)])
def test_matrix_rank_is_that_of_the_singular_values(shape):
    draw = torch.Generator().manual_seed(1)
    maps = torch.randn(40, *shape, generator=draw).relu()
    maps[:5] = 0
    maps[5:10] = 1
    maps[10:20] = torch.randn(10, shape[0], 2, generator=draw) @ torch.randn(10, 2, shape[1], generator=draw)
    maps[20:25] *= 1e-20
    maps[25:30, : shape[0] // 2] = 0
    maps[30] = torch.ones(shape).triu()
    maps[31, 0] = 0
    maps[32:, -1] = maps[32:, 0]
    assert torch.equal(matrix_rank(maps), torch.linalg.matrix_rank(maps))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_entropy_by_scipy_and_numpy_histograms(scores, maps, name):
    for score, pooled in zip(scores["entropy"][name], maps[name].mean((2, 3)).T, strict=True):
        bound = 2.0 ** np.ceil(np.log2(pooled.max()))
        counts, _ = np.histogram(pooled, bins=256, range=(-bound, bound))
        assert float(score) == pytest.approx(stats.entropy(counts), rel=1e-5)


def test_the_histogram_grows_to_what_it_would_have_been():
    values = torch.tensor([0.0, 0.01, -0.3, 0.99, 1.0, -1.0, 5.5, -7.99, 1e-6, 3.0])
    expected, _ = np.histogram(values.double().numpy(), bins=256, range=(-8, 8))
    for seed in range(5):
        order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
        histogram = Histogram()
        for value in values[order]:
            histogram.add(value.view(1, 1, 1, 1), value, torch.zeros(1))
        assert histogram.value()[0].tolist() == expected.tolist()


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_activation_correlation_by_numpy(scores, maps, name):
    correlation = np.abs(np.corrcoef(maps[name].mean((2, 3)).T)) - np.eye(maps[name].shape[1])
    expected = -correlation.sum(1) / (len(correlation) - 1)
    np.testing.assert_allclose(scores["activation_correlation"][name], expected, rtol=1e-3)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_class_separability_by_loops(scores, maps, data, name):
    pooled, labels = maps[name].mean((2, 3)), data[1].numpy()

    def ratio(values, label):
        own, rest = values[labels == label], values[labels != label]
        return (own.mean() - rest.mean()) ** 2 / (own.var() + rest.var())

    expected = [np.mean([ratio(values, label) for label in range(3)]) for values in pooled.T]
    np.testing.assert_allclose(scores["class_separability"][name], expected, rtol=1e-3)


def test_class_moments_take_classes_as_they_come():
    a = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1, 1)
    moments = ClassMoments()
    moments.add(a[:1], a, torch.tensor([1]))
    moments.add(a[1:], a, torch.tensor([3, 1]))
    expected = [[[0, 2, 0, 1], [0, 2.5 - 7 / 3, 0, 2 - 7 / 3], [0, 2.25, 0, 0]]]
    torch.testing.assert_close(moments.value(), torch.tensor(expected).double())


# Gradients


def filter_sums(values):
    return values.flatten(1).sum(1)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_snip_and_taylor_weight_are_torch_prunings(network, data, scores, name):
    copied = copy.deepcopy(network)
    graph = tp.DependencyGraph().build_dependency(copied, images())
    F.cross_entropy(copied(data[0]), data[1]).backward()
    conv = copied.get_submodule(name)
    group = graph.get_pruning_group(conv, tp.prune_conv_out_channels, list(range(conv.out_channels)))
    snip = tp.importance.GroupTaylorImportance(group_reduction="first", normalizer=None)
    torch.testing.assert_close(scores["snip"][name], snip(group), rtol=1e-4, atol=1e-6)
    expected = filter_sums((conv.weight * conv.weight.grad).square()).detach()
    torch.testing.assert_close(scores["taylor_weight"][name], expected, rtol=1e-4, atol=1e-6)


def test_bn_taylor_is_the_slope_of_the_loss_as_the_norm_is_switched_off(network, data, scores):
    precise, x, step = copy.deepcopy(network).double(), data[0].double(), 1e-6
    for name in CONVOLUTIONS:
        norm = precise.get_submodule(name.replace("conv", "bn"))
        state = [norm.weight.detach().clone(), norm.bias.detach().clone()]
        for j, score in enumerate(scores["bn_taylor"][name]):
            losses = []
            for factor in (1 + step, 1 - step):
                with torch.no_grad():
                    norm.weight[j], norm.bias[j] = state[0][j] * factor, state[1][j] * factor
                    losses.append(F.cross_entropy(precise(x), data[1]).item())
                    norm.weight[j], norm.bias[j] = state[0][j], state[1][j]
            assert float(score) == pytest.approx(abs(losses[0] - losses[1]) / (2 * step), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_obd_by_single_samples(network, data, scores, name):
    weight = network.get_submodule(name).weight
    squares = torch.zeros_like(weight)
    for image, label in zip(*data, strict=True):
        (gradient,) = torch.autograd.grad(F.cross_entropy(network(image[None]), label[None]), weight)
        squares += gradient.square() / COUNT
    expected = filter_sums(weight.detach().square() * squares / 2)
    torch.testing.assert_close(scores["obd"][name], expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", ["conv2", "conv4"])
def test_grasp_is_the_change_of_the_gradients_norm(network, data, scores, name):
    """Central differences of half the squared norm of the gradient, as each filter is scaled away."""
    precise, x, step = copy.deepcopy(network).double(), data[0].double(), 1e-5
    weights = [p for n, p in precise.named_parameters() if p.dim() > 1]
    weight = precise.get_submodule(name).weight

    def energy(j, factor):
        with torch.no_grad():
            before = weight[j].clone()
            weight[j] *= factor
        gradients = torch.autograd.grad(F.cross_entropy(precise(x), data[1]), weights)
        with torch.no_grad():
            weight[j] = before
        return sum(g.square().sum().item() for g in gradients) / 2

    expected = [(energy(j, 1 + step) - energy(j, 1 - step)) / (2 * step) for j in range(len(weight))]
    np.testing.assert_allclose(scores["grasp"][name], expected, rtol=1e-3, atol=1e-5)


class PaddedBySize(nn.Conv2d):
    """Pads in `forward`, more on one side, so that a stride of two halves any image; as TensorFlow's do."""

    def forward(self, x):
        wide = [max((-(-n // 2) - 1) * 2 + 3 - n, 0) for n in (x.shape[3], x.shape[2])]
        x = F.pad(x, (wide[0] // 2, wide[0] - wide[0] // 2, wide[1] // 2, wide[1] - wide[1] // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride)


def test_patches_are_what_a_convolution_sees_that_pads_in_its_forward():
    conv, x = PaddedBySize(4, 6, 3, stride=2), images(2, channels=4)
    weights, patches = at_positions(conv, x, torch.arange)
    made = torch.einsum("cko,cks->so", weights, patches) + conv.bias
    torch.testing.assert_close(made, conv(x).permute(2, 3, 0, 1).flatten(0, 2))


@pytest.mark.parametrize("count", [3, 16, 49])
def test_few_and_many_positions_give_the_pixels_that_lie_there(count):
    conv, x = nn.Conv2d(5, 4, 3, padding=1, stride=(1, 2), dilation=(2, 1), bias=False), images(3, channels=5)
    chosen = torch.randperm(conv(x)[0, 0].numel(), generator=torch.Generator().manual_seed(0))[:count]
    weights, patches = at_positions(conv, x, lambda positions: chosen)
    made = torch.einsum("cko,cks->so", weights, patches).unflatten(0, (len(chosen), 3))
    torch.testing.assert_close(made, conv(x).flatten(2).permute(2, 0, 1)[chosen])


@pytest.mark.parametrize("rows", [1, 7, 64, 131])
def test_a_gram_matrix_by_bands_is_the_plain_product(rows):
    given = torch.randn(rows, 50, generator=torch.Generator().manual_seed(0))
    found = gram(given)
    torch.testing.assert_close(found, given @ given.T, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found, found.T)


@pytest.mark.parametrize(
    "conv",
    [
        PaddedBySize(4, 6, 3, stride=2),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2),
        nn.Conv2d(4, 6, (1, 3), padding="same", padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 6, 3, groups=2),
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        nn.ConvTranspose2d(4, 6, (3, 2), padding=(1, 0)),
    ],
    ids=str,
)
def test_weight_gradients_are_those_of_single_samples(conv):
    x = images(5, channels=4)
    output = conv(x)
    upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    found = torch.cat(list(weight_gradients(conv, x, upstream, at_most=1500)))
    for i in range(5):
        (expected,) = torch.autograd.grad(conv(x[i : i + 1]), conv.weight, upstream[i : i + 1])
        torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-5)


# Reconstruction


def test_greedy_elimination_by_brute_force():
    made = torch.randn(7, 30, generator=torch.Generator().manual_seed(3)).double()
    gone = []
    while len(gone) < 7:
        left = [i for i in range(7) if i not in gone]
        gone.append(min(left, key=lambda i: made[[*gone, i]].sum(0).square().sum().item()))
    assert greedy_elimination(made @ made.T).argsort().tolist() == gone


def test_contributions_sum_to_the_output_of_the_reader():
    """Every output position of a reader on 8 x 8 inputs with stride 2 is taken when there are few."""
    network = randomised(Mixed())
    structure = Structure.of(network, images())
    x = images(3, seed=8)
    found = gather(network, structure, [(x, torch.zeros(3).long())], ["activations.contributions"])
    products = found.layers["activations.contributions"]["last"].double()
    with torch.no_grad():
        inputs = []
        network.head.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
        network(x)
        columns = network.head.weight.T.reshape(5, 16, 3)
        made = torch.einsum("ncp,cpo->cno", inputs[0].reshape(3, 5, 16), columns).flatten(1).double()
    expected = made @ made.T
    torch.testing.assert_close(products, expected / expected.trace(), rtol=1e-4, atol=1e-6)


def test_contributions_of_a_convolution_at_sampled_positions(network, data, scores):
    """Each contribution by running the reader on one filter's maps alone."""
    structure = Structure.of(network, images())
    found = gather(network, structure, [data], ["activations.contributions"]).layers["activations.contributions"]
    with torch.no_grad():
        maps = F.relu(network.bn1(network.conv1(data[0])))
        places = torch.randperm(64, generator=generator(0, "contributions", 64))[:10]
        made = []
        for j in range(maps.shape[1]):
            alone = maps * (torch.arange(maps.shape[1]) == j).float().view(1, -1, 1, 1)
            made.append(F.conv2d(alone, network.conv2.weight, padding=1).flatten(2)[:, :, places].flatten())
    made = torch.stack(made).double()
    expected = made @ made.T
    torch.testing.assert_close(found["conv1"].double(), expected / expected.trace(), rtol=1e-4, atol=1e-6)
    assert torch.equal(scores["thinet"]["conv1"], greedy_elimination(expected))


class Unfolded(nn.Module):
    """A convolution whose filters only a transposed convolution reads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.up = nn.ConvTranspose2d(5, 4, 2, stride=2, bias=False)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(F.relu(self.up(F.relu(self.conv(x)))).mean((2, 3)))


def test_contributions_to_a_transposed_convolution():
    """Each contribution by running the reader on one filter's maps alone."""
    network = randomised(Unfolded())
    structure = Structure.of(network, images())
    x = images(3, seed=8)
    found = gather(network, structure, [(x, torch.zeros(3).long())], ["activations.contributions"])
    with torch.no_grad():
        maps = F.relu(network.conv(x))
        size = 4 * maps.shape[2] * maps.shape[3]
        places = torch.randperm(size, generator=generator(0, "contributions", size))[:10]
        made = []
        for j in range(5):
            alone = maps * (torch.arange(5) == j).float().view(1, -1, 1, 1)
            made.append(network.up(alone).flatten(2)[:, :, places].flatten())
    made = torch.stack(made).double()
    expected = made @ made.T
    products = found.layers["activations.contributions"]["conv"].double()
    torch.testing.assert_close(products, expected / expected.trace(), rtol=1e-4, atol=1e-6)
