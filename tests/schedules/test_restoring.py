"""Where returned filters point, worked out by hand and by dot products; and what is reset around them."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Dense, Mixed, Tail, conv4, images, mobilenet, randomised
from torch import nn
from torch.nn import functional as F

from blendsearch.compute import generator
from blendsearch.schedules.restoring import bring_back, fresh_directions, least_overlapping
from blendsearch.structure import Plan, Structure


def rows(count, size, seed=0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_new_directions_are_orthogonal_to_survivors_to_old_values_and_to_each_other():
    survivors, old = rows(5, 27), rows(4, 27, 1)
    new = fresh_directions(survivors, old, generator(0))
    assert new.shape == old.shape
    assert (new @ F.normalize(torch.cat([survivors, old])).T).abs().max() < 1e-12
    torch.testing.assert_close(new @ new.T, torch.eye(4, dtype=torch.float64))


def test_repeated_and_dead_rows_take_no_room():
    survivors = torch.cat([rows(2, 6), 3 * rows(2, 6), torch.zeros(3, 6)])  # two directions in seven rows
    new = fresh_directions(survivors.float(), rows(2, 6, 1), generator(0))
    assert (new @ survivors.T).abs().max() < 1e-5
    torch.testing.assert_close(new @ new.T, torch.eye(2, dtype=torch.float64))


def test_the_seed_draws_the_direction():
    given = rows(2, 9), rows(1, 9, 1)
    first, again, other = (fresh_directions(*given, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert (first @ other.T).abs().max() < 0.999


def test_without_a_null_space_the_least_overlapping_direction_is_taken():
    """In the plane, rows at 0 and 60 degrees: least overlap at 120, where the squared cosines sum to 1/2."""
    survivors = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    old = torch.tensor([[0.5, 3**0.5 / 2]], dtype=torch.float64)
    new = fresh_directions(survivors, 7 * old, generator(0))
    torch.testing.assert_close(new[0].abs(), torch.tensor([0.5, 3**0.5 / 2], dtype=torch.float64))
    assert float(new[0].prod()) < 0
    assert float((new @ torch.cat([survivors, old]).T).square().sum()) == pytest.approx(0.5)


def test_the_null_space_is_used_up_first_then_the_least_overlap():
    """Five dimensions, three of them taken: two of three returned filters find room, the third cannot."""
    survivors, old = rows(2, 5), torch.cat([rows(1, 5, 1), rows(2, 2, 2) @ rows(2, 5)])
    given = F.normalize(torch.cat([survivors, old]))
    new = fresh_directions(survivors, old, generator(0))
    assert (new[:2] @ given.T).abs().max() < 1e-10
    assert abs(float(new[0] @ new[1])) < 1e-10
    stacked = torch.cat([given, new[:2]])
    smallest = torch.linalg.svd(stacked).S[-1]
    assert float((stacked @ new[2]).norm()) == pytest.approx(float(smallest))
    assert smallest > 0.1
    assert new[2].norm() == pytest.approx(1.0)


def test_least_overlap_beats_any_drawn_direction():
    given = F.normalize(rows(12, 4))
    best = (given @ least_overlapping(given)).square().sum()
    assert best <= (given @ F.normalize(rows(4, 500, 5), dim=0)).square().sum(0).min()


@pytest.fixture
def returned():
    """A Conv-4, the same after six of its filters came back, and the plan without them."""
    network = randomised(conv4(8))
    structure = Structure.of(network, images())
    keep = {"conv2": (0, 1, 3, 4, 5, 7), "conv3": tuple(i for i in range(16) if i not in (2, 3, 8, 11))}
    plan = Plan(keep, {"conv2": 8, "conv3": 16})
    after = copy.deepcopy(network)
    bring_back(after, structure, plan, 0)
    return network, after, plan


def test_returned_filters_of_a_network(returned):
    before, after, plan = returned
    kept, lost = list(plan.keep["conv3"]), [2, 3, 8, 11]
    new = after.conv3.weight[lost].flatten(1)
    survivors, old = after.conv3.weight[kept].flatten(1), before.conv3.weight[lost].flatten(1)
    for given in (survivors, old):
        assert (F.normalize(new) @ F.normalize(given).T).abs().max() < 1e-5
    torch.testing.assert_close(new.norm(dim=1), survivors.norm(dim=1).mean().expand(4))


def test_norms_and_readers_of_returned_filters_are_reset_and_nothing_else(returned):
    before, after, plan = returned
    lost, kept = [2, 6], list(plan.keep["conv2"])
    expected = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    for name, value in expected.items():
        assert (getattr(after.bn2, name)[lost] == value).all()
        assert torch.equal(getattr(after.bn2, name)[kept], getattr(before.bn2, name)[kept])
    readers = list(plan.keep["conv3"])
    assert (after.conv3.weight[readers][:, lost] == 0).all()
    assert torch.equal(after.conv3.weight[readers][:, kept], before.conv3.weight[readers][:, kept])
    assert torch.equal(after.conv2.weight[kept], before.conv2.weight[kept])
    assert torch.equal(after.conv1.weight, before.conv1.weight)


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (conv4, 8),
        (Mixed, 8),
        (Dense, 8),
        (mobilenet, 32),
        (lambda: Tail(nn.ConvTranspose2d(6, 8, 2), nn.PReLU(8), nn.Conv2d(8, 5, 3), nn.ReLU(), last=5), 8),
    ],
    ids=["conv4", "mixed", "dense", "mobilenet", "transposed"],
)
def test_a_network_computes_what_it_did_without_the_returned_filters(build, size):
    network = randomised(build())
    structure = Structure.of(network, images(size=size))
    plan = Plan({name: tuple(range(0, width, 2)) for name, width in structure.widths.items()}, structure.widths)
    x = images(size=size, seed=3)
    with torch.no_grad():
        expected = structure.slice(network, plan)(x)
        bring_back(network, structure, plan, 0)
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


def test_the_returned_filters_learn_from_the_second_step_on(returned):
    _, after, _ = returned
    optimizer = torch.optim.SGD(after.parameters(), lr=0.1)
    gradients = []
    for _ in range(2):
        after.train()
        optimizer.zero_grad()
        F.cross_entropy(after(images(8)), torch.arange(8) % 3).backward()
        gradients.append(after.conv2.weight.grad[[2, 6]].abs().sum().item())
        optimizer.step()
    assert gradients[0] == 0
    assert gradients[1] > 0
