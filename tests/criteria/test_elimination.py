"""Backward elimination with refit, against brute-force least squares: drop each subset, refit, compare."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from small_networks import Mixed, OptionA, conv4, images, randomised
from torch import nn
from torch.nn import functional as F

from blendsearch.criteria import DropLoss, Reader, drop_losses, measures_of, score_groups
from blendsearch.criteria.elimination import NEEDS, RIDGE, _fewest_columns, reader_keys
from blendsearch.statistics import gather, readers
from blendsearch.statistics.patches import at_positions
from blendsearch.structure import Structure

WIDTH = 5


def system(rows, outputs, seed):
    """Return inputs [samples, filters x rows] that are correlated, and weights."""
    draw = np.random.default_rng(seed)
    mixed = draw.normal(size=(60, WIDTH * rows)) @ draw.normal(size=(WIDTH * rows, WIDTH * rows))
    return mixed, draw.normal(size=(WIDTH * rows, outputs))


def reader(inputs, weights):
    return Reader(torch.tensor(inputs.T @ inputs / len(inputs)), torch.tensor(weights))


def refitted_error(inputs, weights, gone):
    """Return the least mean squared error, ridge included, of outputs that do without the rows of some filters.

    By least squares over stacked rows: samples, and the ridge's pull to the old weights, which dropped rows pay too.
    """
    rows = len(weights) // WIDTH
    kept = [row for row in range(len(weights)) if row // rows not in gone]
    ridge = RIDGE * np.square(inputs).sum(0).mean() / len(inputs)
    design = np.concatenate([inputs / np.sqrt(len(inputs)), np.sqrt(ridge) * np.eye(len(weights))])
    wanted = design @ weights
    solution = np.linalg.lstsq(design[:, kept], wanted, rcond=None)[0]
    return np.square(wanted - design[:, kept] @ solution).sum()


def greedy(readers):
    """Return the filters in the order of a brute-force backward elimination, and the error of every step."""
    gone, order, errors = [], [], []
    for _ in range(WIDTH):
        left = [filter for filter in range(WIDTH) if filter not in gone]
        trials = {f: sum(refitted_error(*one, [*gone, f]) for one in readers) for f in left}
        gone.append(min(trials, key=trials.get))
        order.append(gone[-1])
        errors.append(trials[gone[-1]])
    return order, errors


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("count", [1, 2])
def test_losses_and_places_are_those_of_refitting_every_subset(rows, count):
    readers = [system(rows, outputs=2 + number, seed=7 * number + rows) for number in range(count)]
    loss = DropLoss(WIDTH, [reader(*one) for one in readers])
    alone = [sum(refitted_error(*one, [filter]) for one in readers) for filter in range(WIDTH)]
    np.testing.assert_allclose(loss.losses().numpy(), alone, rtol=1e-8)
    order, errors = greedy(readers)
    found = loss.eliminate()
    place = found.place.tolist()
    assert [place.index(turn) for turn in range(WIDTH)] == order
    np.testing.assert_allclose(found.error[order].numpy(), errors, rtol=1e-8)


def test_after_forced_drops_the_next_is_the_one_that_costs_the_refitted_rest_least():
    """A tilt forces the first two drops; the third is left to the losses, given these two."""
    inputs, weights = system(2, 3, seed=5)
    for first, second in itertools.permutations(range(WIDTH), 2):
        tilt = torch.zeros(WIDTH)
        tilt[first], tilt[second] = -2e3, -1e3
        place = DropLoss(WIDTH, [reader(inputs, weights)]).eliminate(1.0, tilt).place
        assert (place[first], place[second]) == (0, 1)
        left = [filter for filter in range(WIDTH) if filter not in (first, second)]
        costs = {filter: refitted_error(inputs, weights, [first, second, filter]) for filter in left}
        assert place[min(costs, key=costs.get)] == 2


def test_the_exponent_weighs_the_losses_against_the_tilt():
    inputs, weights = system(1, 3, seed=2)
    loss = DropLoss(WIDTH, [reader(inputs, weights)])
    tilt = torch.tensor([0.3, -0.1, 0.9, 0.0, 0.2])
    assert torch.equal(loss.eliminate(0.0, tilt).place, tilt.argsort().argsort().double())
    cost = np.log(loss.losses().numpy()) * 0.5 + tilt.double().numpy()
    assert loss.eliminate(0.5, tilt).place.argmin() == cost.argmin()
    assert torch.equal(loss.eliminate(1.0).place, loss.eliminate(1.0, torch.full((WIDTH,), 0.7)).place)


def test_dead_filters_go_first_and_of_equal_ones_the_lower_index_stays():
    inputs, weights = system(1, 3, seed=3)
    weights[[1, 3]] = 0
    place = DropLoss(WIDTH, [reader(inputs, weights)]).eliminate().place
    assert place[3] == 0
    assert place[1] == 1


def test_a_wide_reader_loses_columns_that_tell_nothing():
    """More outputs than rows: W W^T is all that the losses look at."""
    weights = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    fewer = _fewest_columns(weights)
    assert fewer.shape == (4, 4)
    torch.testing.assert_close(fewer @ fewer.T, weights @ weights.T)


def test_a_gram_matrix_that_rounding_made_indefinite_gets_a_higher_ridge():
    inputs, weights = system(2, 3, seed=5)
    one = reader(inputs * 1e-3, weights)
    indefinite = Reader(one.gram - 0.5 * torch.eye(len(weights)) * torch.linalg.eigvalsh(one.gram)[-1], one.weights)
    found = DropLoss(WIDTH, [indefinite]).eliminate()
    assert bool(found.error.isfinite().all())
    assert bool((found.error > 0).all())


def test_a_gram_matrix_that_is_not_finite_gives_no_numbers():
    inputs, weights = system(2, 3, seed=5)
    inputs[0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        found = DropLoss(WIDTH, [reader(inputs, weights)]).eliminate()
    assert bool(found.error.isnan().all())


def test_a_variance_is_never_below_zero():
    network = randomised(conv4())
    for layer in (network.conv1, network.bn1):
        nn.init.zeros_(layer.weight)
    nn.init.constant_(network.bn1.bias, 0.7)
    structure = Structure.of(network, images())
    data = [(images(64, seed=3), torch.zeros(64).long())]
    grams = gather(network, structure, data, ["activations.reader_gram"]).layers["activations.reader_gram"]
    assert all(bool((gram.diagonal() >= 0).all()) for gram in grams.values())


def test_it_travels_without_what_it_remembers():
    loss = DropLoss(WIDTH, [reader(*system(1, 3, seed=3))])
    place = loss.eliminate().place
    copy = pickle.loads(pickle.dumps(loss))
    assert not copy._known
    assert copy._systems is None
    assert torch.equal(copy.eliminate().place, place)


def covariance_of(rows):
    """Return the covariance of rows [samples, D], shrunk to its diagonal by (D / samples)^2."""
    rows = rows - rows.mean(0)
    share = min(1.0, (rows.shape[1] / len(rows)) ** 2)
    covariance = rows.T @ rows / len(rows)
    return covariance * (1 - share) + covariance.diagonal().diag() * share


def gathered(network, size, needs=NEEDS, count=6):
    structure = Structure.of(network, images(size=size))
    x, y = images(count, size, seed=4), torch.arange(count) % 3
    return structure, gather(network, structure, [(x[:4], y[:4]), (x[4:], y[4:])], needs), x, y


def test_the_statistics_of_a_network_are_those_of_its_unfolded_inputs():
    """conv2 of Conv-4 reads conv1: covariance and Fisher information computed from everything stored."""
    network = randomised(conv4(), seed=2)
    structure, statistics, x, y = gathered(network, 6)
    with torch.no_grad():
        given = F.relu(network.bn1(network.conv1(x)))
    rows = F.unfold(given.double(), 3, padding=1).transpose(1, 2).flatten(0, 1)
    covariance = covariance_of(rows)
    (key,) = reader_keys(structure.group("conv1"), statistics)
    torch.testing.assert_close(
        statistics.layers["activations.reader_gram"][key].double(), covariance, rtol=1e-4, atol=1e-5
    )
    weights = network.conv2.weight.detach().flatten(1).T
    torch.testing.assert_close(statistics.layers["weights.readers"][key], weights)
    found = []

    def keep(module, inputs, out):
        out.register_hook(found.append)

    handle = network.conv2.register_forward_hook(keep)
    with torch.enable_grad():
        F.cross_entropy(network(x), y, reduction="sum").backward()
    handle.remove()
    expected = found[0].double().square().sum((0, 2, 3)) / len(x)
    torch.testing.assert_close(statistics.layers["gradients.reader_outputs"][key].double(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("build", [OptionA, Mixed], ids=["option A", "mixed"])
def test_every_group_has_its_readers_and_a_place_for_each_filter(build):
    network = randomised(build(), seed=1)
    structure, statistics, _, _ = gathered(network, 8, measures_of(["obs", "obs_fisher"]))
    for name in ("obs", "obs_fisher"):
        scores = score_groups(structure, statistics, [name])[name]
        for group in structure.groups:
            assert len(set(scores[group.name].tolist())) == group.width
    losses = drop_losses(structure, statistics)
    assert set(losses) == set(structure.widths)
    stream = structure.group("stem") if build is OptionA else structure.group("left")
    assert len(losses[stream.name].readers) > 1


def test_dropping_by_the_statistics_costs_the_loss_that_they_foretell():
    """Filter by filter: zero it in Conv-4's conv3, refit conv4 by lstsq on all positions, read the weighted error."""
    network = randomised(conv4(), seed=2)
    structure, statistics, x, _ = gathered(network, 8, count=12)
    group = structure.group("conv3")
    found = DropLoss.of(group, statistics).losses()
    (key,) = reader_keys(group, statistics)
    importance = statistics.layers["gradients.reader_outputs"][key].double()
    with torch.no_grad():
        given = F.max_pool2d(F.relu(network.bn2(network.conv2(F.relu(network.bn1(network.conv1(x)))))), 2)
        given = F.relu(network.bn3(network.conv3(given)))
        rows = F.unfold(given.double(), 3, padding=1).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(covariance_of(rows))
    root = values.clamp(min=0).sqrt()[:, None] * vectors.T  # as many rows as columns, with the same covariance
    weights = network.conv4.weight.detach().double().flatten(1).T * importance.sqrt()
    for filter in range(group.width):
        kept = [row for row in range(len(weights)) if row // 9 != filter]
        ridge = RIDGE * root.square().sum(0).mean()
        design = torch.cat([root, ridge.sqrt() * torch.eye(len(weights), dtype=torch.double)])
        wanted = design @ weights
        solution = torch.linalg.lstsq(design[:, kept], wanted).solution
        error = (wanted - design[:, kept] @ solution).square().sum()
        assert found[filter].item() == pytest.approx(error.item(), rel=1e-3)


def test_wide_readers_take_their_taps_apart(monkeypatch):
    """Beyond the stated size the Gram matrix is that of the filters, the mean over taps, and taps become columns."""
    monkeypatch.setattr(readers, "WIDEST", 20)
    network = randomised(conv4(), seed=2)
    structure, statistics, x, _ = gathered(network, 6)
    (key,) = reader_keys(structure.group("conv1"), statistics)
    with torch.no_grad():
        given = F.relu(network.bn1(network.conv1(x))).double()
    rows = F.unfold(given, 3, padding=1).unflatten(1, (4, 9)).permute(1, 2, 0, 3).flatten(1)
    covariance = covariance_of(rows.T)
    torch.testing.assert_close(
        statistics.layers["activations.reader_gram"][key].double(), covariance, rtol=1e-4, atol=1e-5
    )
    expected = network.conv2.weight.detach().permute(1, 2, 3, 0).flatten(1)
    torch.testing.assert_close(statistics.layers["weights.readers"][key], expected)
    loss = DropLoss.of(structure.group("conv1"), statistics)
    inverse = torch.linalg.inv(covariance + RIDGE * covariance.diagonal().mean() * torch.eye(4, dtype=torch.double))
    importance = statistics.layers["gradients.reader_outputs"][key].double()
    energy = (network.conv2.weight.detach().double().square() * importance[:, None, None, None]).sum((0, 2, 3))
    torch.testing.assert_close(loss.losses(), energy / inverse.diagonal(), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": (3, 1), "stride": (1, 2), "padding": (2, 0)},
    ],
)
def test_a_transposed_convolution_gives_patches_times_weights(options):
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(3, 5, bias=False, **options)
    x = torch.randn(2, 3, 6, 5)
    expected = layer(x).detach()
    weights, patches = at_positions(layer, x, torch.arange)
    given = torch.einsum("ikp,iko->po", patches, weights)
    torch.testing.assert_close(given.reshape(-1, 2, 5).permute(1, 2, 0).unflatten(2, expected.shape[2:]), expected)
