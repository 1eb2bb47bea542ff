"""The latency table: reading between its points, smoothing, and measuring without touching the network."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator
from small_networks import Mixed, NormWithActivation, OptionA, Tail, conv4, images, mobilenet, priced
from torch import nn

from blendsearch.compute import Compute
from blendsearch.errors import StructureError
from blendsearch.structure import LatencyTable, Plan, Structure, side_by_side
from blendsearch.structure import latency as module
from blendsearch.structure.latency import LayerTable, monotone, table_of
from blendsearch.structure.trace import trace


@pytest.fixture(scope="module")
def table():
    draw = np.random.default_rng(0)
    return LayerTable((1, 4, 8), (2, 3, 9, 16), tuple(map(tuple, draw.integers(1000, 9000, (3, 4)).tolist())))


def test_between_the_points_it_is_bilinear(table):
    reference = RegularGridInterpolator((table.inputs, table.outputs), np.array(table.nanoseconds, dtype=float))
    for i in range(1, 9):
        for o in range(2, 17):
            assert table.at(i, o) == pytest.approx(float(reference((i, o))), abs=1)


def test_beyond_the_points_it_is_flat(table):
    assert table.at(1, 1) == table.at(1, 2)
    assert table.at(20, 99) == table.nanoseconds[-1][-1]


def test_a_side_that_never_changes_has_one_point():
    one = LayerTable((3,), (1, 5), ((100, 500),))
    assert [one.at(3, o) for o in (1, 2, 5)] == [100, 200, 500]


def test_monotone_leaves_what_is_and_mends_what_is_not():
    sound = np.arange(12.0).reshape(3, 4)
    assert np.array_equal(monotone(sound), sound)
    noisy = np.random.default_rng(1).random((5, 5))
    mended = monotone(noisy)
    assert (np.diff(mended, axis=0) >= 0).all()
    assert (np.diff(mended, axis=1) >= 0).all()
    assert np.array_equal(monotone(np.array([[1.0, 5.0, 3.0]])), np.array([[1.0, 4.0, 4.0]]))


@pytest.mark.parametrize("whole", [8e-6, 3e-6])
def test_layers_and_rest_add_up_to_the_whole_network(whole):
    grids = {"a": ([3], [1, 2]), "b": ([1, 2], [4])}
    table = table_of(grids, {"a": np.array([[1e-6, 2e-6]]), "b": np.array([[2e-6], [3e-6]])}, whole, 1, "cpu")
    assert table.whole == round(whole * 1e9)
    assert table.rest + table.layers["a"].at(3, 2) + table.layers["b"].at(2, 4) == table.whole
    assert table.rest == (3000 if whole > 5e-6 else 0)


def test_rounding_layers_leaves_nothing_out_of_the_whole():
    """Three halves of a nanosecond, each rounded up."""
    seconds = {name: np.array([[2.0000006e-6]]) for name in "abc"}
    grids = {name: ([1], [1]) for name in "abc"}
    table = table_of(grids, seconds, 6.0e-6 + 1e-10, 1, "cpu")
    assert table.rest + sum(layer.at(1, 1) for layer in table.layers.values()) == table.whole
    draw = np.random.default_rng(0)
    for _ in range(200):
        seconds = {name: np.array([[draw.uniform(1e-6, 2e-6)]]) for name in "abc"}
        table = table_of(grids, seconds, draw.uniform(2e-6, 7e-6), 1, "cpu")
        assert table.rest + sum(layer.at(1, 1) for layer in table.layers.values()) == table.whole
        assert table.rest >= 0


def test_json_round_trip():
    structure = priced(Structure.of(conv4().eval(), images()))
    table = structure.cost.latency_table
    assert LatencyTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table
    with pytest.raises(StructureError, match="schema 9 given, allowed: 1"):
        LatencyTable.from_dict({"schema": 9})


def test_more_filters_never_cost_less():
    structure = priced(Structure.of(mobilenet().eval(), images(size=32)))
    draw = random.Random(0)
    for _ in range(20):
        counts = {name: draw.randint(1, width) for name, width in structure.widths.items()}
        for name in counts:
            more = {**counts, name: min(counts[name] + 3, structure.widths[name])}
            assert structure.cost.latency(more) >= structure.cost.latency(counts)


def test_without_a_table_latency_is_an_error():
    cost = Structure.of(conv4().eval(), images()).cost
    with pytest.raises(StructureError, match="latency: no table was measured"):
        cost.ratio("latency", cost.widths)


def test_a_sliced_network_is_read_from_the_same_table():
    network = conv4(width=8).eval()
    structure = priced(Structure.of(network, images()))
    keep = {"conv1": (0, 3), "conv2": (1,), "conv3": tuple(range(9)), "conv4": tuple(range(16))}
    plan = Plan(keep, structure.widths)
    smaller = structure.again(structure.slice(network, plan), plan)
    assert "conv2" not in smaller.widths
    assert smaller.cost.latency(smaller.widths) == structure.cost.latency(plan.counts)


class Clock:
    """Stands in for the clock: a run takes as many nanoseconds as the weights it has."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr(module, "_seconds", self.seconds)
        monkeypatch.setattr(module, "_prepared", self.prepared)

    def prepared(self, network, batch, compute):
        with torch.no_grad():
            network.eval()(batch)  # it fits its input
        return network

    def seconds(self, network, compute):
        return 1e-9 * sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear))


def grouped(out):
    """A network whose second convolution has four groups."""
    return Tail(nn.Conv2d(6, 8, 1), nn.ReLU(), nn.Conv2d(8, out, 3, groups=4), nn.BatchNorm2d(out), nn.ReLU(), last=out)


@pytest.mark.parametrize("build", [conv4, Mixed, OptionA, lambda: grouped(8), lambda: grouped(12)])
def test_every_layer_is_measured_as_it_is_in_a_sliced_network(build, monkeypatch):
    """Weights are linear in both channel counts, so a table of them is exact between its points, too."""
    Clock(monkeypatch)
    network = build().eval()
    structure = Structure.of(network, images())
    table = structure.measure_latencies(network, compute=Compute(), images=2)
    assert table.rest == 0
    draw = random.Random(3)
    for _ in range(5):
        counts = {name: draw.randint(1, width) for name, width in structure.widths.items()}
        sliced = structure.slice(network, Plan({g: tuple(range(c)) for g, c in counts.items()}, structure.widths))
        weights = sum(m.weight.numel() for m in sliced.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        assert structure.cost.latency(counts) == pytest.approx(weights, abs=len(table.layers))


def test_measuring_for_real_leaves_the_network():
    for network in (conv4().train(), Tail(nn.ConvTranspose2d(6, 8, 3, 2), nn.ReLU(), last=8).train()):
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        structure = Structure.of(network, images())
        table = structure.measure_latencies(network, compute=Compute(), images=1)
        assert structure.cost.latency(structure.widths) == table.whole > 0
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
        assert all(part.training for part in network.modules())


def test_side_by_side_times_each_network():
    times = side_by_side([conv4(4), conv4(8)], images(), compute=Compute(), images=1, rounds=2)
    assert len(times) == 2
    assert all(0 < seconds < 1 for seconds in times)


def test_a_norm_that_holds_its_activation_is_measured_with_its_layer_and_not_activated_again():
    network = Tail(nn.Conv2d(6, 5, 3), NormWithActivation(5), last=5)
    parts = module.blocks(network, trace(network, images()), {"first": {}, "middle.0": {}})
    assert [part.modules for part in parts.values()] == [("first", "norm"), ("middle.0", "middle.1")]
    assert [part.activated for part in parts.values()] == [True, False]
