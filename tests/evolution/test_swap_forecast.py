"""What swaps are forecast to change, against regressions solved anew for each of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import Mixed, OptionA, conv4, images, mobilenet, randomised

from blendsearch.evolution.swap_forecast import forecast_ends, forecast_swaps
from blendsearch.statistics import readers as readers_module
from blendsearch.statistics.readers import readers_of
from blendsearch.structure import Plan, Structure
from blendsearch.training import Compensation
from blendsearch.training.sensitivity import sensitivities

NETWORKS = {"conv4": (conv4, 8), "option A": (OptionA, 8), "mixed": (Mixed, 8)}


def made(build, side, keep):
    network = randomised(build(), seed=1)
    structure = Structure.of(network, images(size=side))
    compensation = Compensation(network, structure, images(24, side, seed=3), positions=10_000, ridge=1e-2)
    plan = Plan({g.name: tuple(n for n in range(g.width) if keep(n)) for g in structure.groups}, structure.widths)
    x = images(6, side, seed=9)

    def losses(network):
        yield network(x).square().sum(1)

    return network, structure, plan, sensitivities(compensation, network, plan, losses)


@pytest.fixture(params=NETWORKS)
def built(request):
    return made(*NETWORKS[request.param], lambda number: number % 3 != 1)


def solved(one, stay, strength):
    """Return a regression's weights [D, C_out] on some rows, and its weighted squared error but for a constant."""
    gram = one.moments.gram.double() + strength * torch.eye(len(one.start), dtype=torch.double)
    cross = one.moments.cross.double() + strength * one.start.double()
    weights = torch.zeros_like(cross)
    weights[stay] = torch.linalg.solve(gram[stay][:, stay], cross[stay])
    return weights, -float(((cross * weights).sum(0) * one.curvature).sum())


def by_hand(network, group, plan, found, gone, come):
    """Return slope and error of a swap, each reader's regression solved before and after; None for no filter."""
    slope = error = 0.0
    for _, member in readers_of(network, group):
        one = found[member.module]
        taps = len(one.start) // len(one.left)
        after = one.left.clone()
        for index, root in zip(member.index, member.root, strict=True):
            if root == gone:
                after[index] = False
            if root == come:
                after[index] = True
        rows = [left.repeat(taps).nonzero().flatten() for left in (one.left, after)]
        strength = one.ridge * float(one.moments.gram.diagonal()[rows[0]].double().mean())
        (first, least), (second, less) = (solved(one, stay, strength) for stay in rows)
        slope -= float((one.slope.double() * (second - first)).sum())
        error -= less - least
    return slope, error


def test_every_swap_is_what_solving_anew_gives(built):
    network, structure, plan, found = built
    tables = forecast_swaps(network, structure.groups, plan, found)
    assert tables
    for name, table in tables.items():
        kept = plan.keep[name]
        assert table.gone.tolist() == list(kept)
        assert sorted([*table.gone, *table.come]) == list(range(plan.widths[name]))
        wanted = np.array(
            [[by_hand(network, structure.group(name), plan, found, a, b) for b in table.come] for a in table.gone]
        )
        assert table.slope == pytest.approx(wanted[..., 0], abs=1e-6 * np.abs(wanted[..., 0]).max())
        assert table.error == pytest.approx(wanted[..., 1], abs=1e-6 * np.abs(wanted[..., 1]).max())


def test_who_leaves_or_comes_alone_is_what_solving_anew_gives(built):
    network, structure, plan, found = built
    ends = forecast_ends(network, structure.groups, plan, found)
    assert set(ends) == set(forecast_swaps(network, structure.groups, plan, found))
    for name, one in ends.items():
        group = structure.group(name)
        assert one.stay.tolist() == list(plan.keep[name])
        assert sorted([*one.stay, *one.out]) == list(range(plan.widths[name]))
        lost = np.array([by_hand(network, group, plan, found, filter, None) for filter in one.stay])
        gained = np.array([by_hand(network, group, plan, found, None, filter) for filter in one.out])
        for observed, wanted in ((one.lost, lost), (one.gained, gained)):
            assert observed == pytest.approx(wanted, abs=1e-6 * np.abs(wanted).max())
        assert (one.lost[:, 1] <= 0).all()
        assert (one.gained[:, 1] >= 0).all()


def test_of_wide_groups_those_that_cost_least_and_bring_most(built):
    network, structure, plan, found = built
    whole = forecast_swaps(network, structure.groups, plan, found)
    for name, table in forecast_swaps(network, structure.groups, plan, found, nearest=2).items():
        assert len(table.gone) == min(2, len(whole[name].gone))
        assert len(table.come) == min(2, len(whole[name].come))
        rows = [whole[name].gone.tolist().index(filter) for filter in table.gone]
        columns = [whole[name].come.tolist().index(filter) for filter in table.come]
        assert table.slope == pytest.approx(whole[name].slope[rows][:, columns])
        assert table.error == pytest.approx(whole[name].error[rows][:, columns])


def test_who_comes_again_for_who_went_changes_nothing_on_average():
    """A filter that is another one's double: to swap them is worth nothing."""
    network = randomised(conv4(), seed=1)
    with torch.no_grad():
        first, norm = network.conv1, network.bn1
        for tensor in (first.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor[1] = tensor[0]
    structure = Structure.of(network, images())
    compensation = Compensation(network, structure, images(24, 8, seed=3), positions=10_000, ridge=1e-6)
    name = structure.groups[0].name
    plan = Plan(
        {g.name: (0, 2, 3) if g.name == name else tuple(range(g.width)) for g in structure.groups}, structure.widths
    )
    found = sensitivities(compensation, network, plan, lambda net: [net(images(6, 8, seed=9)).square().sum(1)])
    table = forecast_swaps(network, structure.groups, plan, found)[name]
    assert table.come.tolist() == [1]
    sizes = np.abs(table.error[1:]).max()
    assert abs(table.error[0, 0]) < 1e-3 * sizes


def test_groups_with_a_reader_that_is_not_refitted_or_too_wide_have_no_forecast(monkeypatch):
    network, structure, plan, found = made(mobilenet, 32, lambda number: number % 2)
    tables = forecast_swaps(network, structure.groups, plan, found)
    assert {group.name for group in structure.groups} > set(tables) > set()
    for group in structure.groups:
        known = "classifier.1" not in {
            member.module for _, member in readers_of(network, group)
        }  # of 24 images 1280 rows
        known = known and all(member.module in found for _, member in readers_of(network, group))
        assert (group.name in tables) == (known and len(plan.keep[group.name]) < group.width), group.name
    monkeypatch.setattr(readers_module, "WIDEST", 1)
    assert forecast_swaps(network, structure.groups, plan, found) == {}
    whole = Plan({name: tuple(range(width)) for name, width in plan.widths.items()}, plan.widths)
    assert forecast_swaps(network, structure.groups, whole, found) == {}
